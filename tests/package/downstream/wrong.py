"""What a checker of types must refuse; each line says with which code."""

from __future__ import annotations

import genrescope
from genrescope import Prediction, Recogniser, read_audio

recogniser = Recogniser.load()
recogniser.predict("a.mp3", 44_100)  # E: [call-arg]
recogniser.predict(3)  # E: [arg-type]
print(genrescope.Recognizer)  # E: [attr-defined]
read_audio("a.mp3", rate=3)  # E: [call-arg]
prediction: Prediction = next(recogniser.predict_many(["a.mp3"]))  # E: [assignment]
name: str = recogniser.predict("a.mp3").genre  # E: [assignment]
