"""Speech by the program espeak-ng, where it is installed: somebody reads a short story aloud.

For measuring what a recogniser of music makes of speech; nothing is trained on it.
"""

from __future__ import annotations

import io
import shutil
import subprocess  # nosec: a fixed program, no shell
import wave
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from genrescope.errors import DataError

__all__ = ["PROGRAM", "STORIES", "VOICES", "has_speech", "speak"]

PROGRAM = "espeak-ng"
#: Ways to speak that any language has: women, men, one who croaks, one who whispers.
VOICES = ("", "f2", "f4", "m3", "m7", "croak", "whisper")
#: A story by language.
STORIES: Mapping[str, str] = MappingProxyType(
    {
        "en": "The harbour was quiet that morning. Nobody had told the ferryman that the bridge "
        "was open again, so he waited with his lamp, as he had done every day for thirty years. "
        "Then he went home and slept for two days.",
        "de": "Der Hafen war an diesem Morgen still. Niemand hatte dem Fährmann gesagt, dass die "
        "Brücke wieder offen war, also wartete er mit seiner Lampe, wie seit dreißig Jahren. Dann "
        "ging er nach Hause und schlief zwei Tage lang.",
        "fr": "Le port était calme ce matin-là. Personne n'avait dit au passeur que le pont était "
        "de nouveau ouvert, alors il attendait avec sa lampe, comme depuis trente ans. Puis il "
        "rentra chez lui et dormit pendant deux jours.",
        "es": "El puerto estaba tranquilo aquella mañana. Nadie le había dicho al barquero que el "
        "puente estaba abierto otra vez, así que esperó con su lámpara, como desde hacía treinta "
        "años. Después se fue a casa y durmió dos días.",
        "it": "Il porto era tranquillo quella mattina. Nessuno aveva detto al traghettatore che il "
        "ponte era di nuovo aperto, così aspettava con la sua lampada, come da trent'anni. Poi "
        "tornò a casa e dormì per due giorni.",
        "pl": "Port był tego ranka cichy. Nikt nie powiedział przewoźnikowi, że most jest znowu "
        "otwarty, więc czekał ze swoją lampą, jak od trzydziestu lat. Potem poszedł do domu i spał "
        "przez dwa dni.",
        "sw": "Bandari ilikuwa kimya asubuhi hiyo. Hakuna aliyemwambia mvushaji kwamba daraja "
        "limefunguliwa tena, kwa hiyo alingoja na taa yake, kama kwa miaka thelathini. Kisha "
        "akaenda nyumbani akalala siku mbili.",
        "tr": "Liman o sabah sessizdi. Hiç kimse kayıkçıya köprünün yeniden açıldığını "
        "söylememişti, bu yüzden otuz yıldır yaptığı gibi lambasıyla bekledi. Sonra evine gitti ve "
        "iki gün uyudu.",
    }
)


def has_speech() -> bool:
    """Whether the program is installed."""
    return shutil.which(PROGRAM) is not None


def speak(
    language: str, *, voice: str = "", seconds: float = 30.0, seed: int = 0
) -> tuple[NDArray[np.float32], int]:
    """A story, read aloud.

    Parameters
    ----------
    language : str
        One of :data:`STORIES`.
    voice : str
        One of :data:`VOICES`.
    seconds : float > 0
        At most so long; the story is read again and again.
    seed : int
        Decides height and speed of the voice.

    Returns
    -------
    y : np.ndarray [shape=(n,), float32]
        Mono samples in [-1, 1].
    sr : int
        Sampling rate in Hz.

    Raises
    ------
    DataError
        If the program is not installed or fails, or the language has no story.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise DataError(
            f"the program {PROGRAM} is not installed; on Debian and Ubuntu: "
            f"sudo apt install {PROGRAM}"
        )
    if language not in STORIES or voice not in VOICES:
        raise DataError(
            f"there is no story in {language!r} with the voice {voice!r}; languages are "
            f"{', '.join(STORIES)}, voices {', '.join(repr(v) for v in VOICES)}"
        )
    rng = np.random.default_rng([seed, *f"{language}+{voice}".encode()])
    times = int(seconds / 6) + 1  # at the quickest, a story takes 8 s
    done = subprocess.run(
        [
            *(program, "-v", f"{language}+{voice}" if voice else language),
            *("-p", str(int(rng.integers(20, 80))), "-s", str(int(rng.integers(120, 220)))),
            *("--stdout", " ".join([STORIES[language]] * times)),
        ],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0 or len(done.stdout) < 1000:
        raise DataError(
            f"{PROGRAM} failed ({done.stderr.decode(errors='replace').strip()[:200]}); "
            "is its data for this language installed?"
        )
    with wave.open(io.BytesIO(done.stdout)) as header:
        sr = header.getframerate()
        start = done.stdout.index(b"data") + 8  # the length in a piped header is not the true one
    samples = np.frombuffer(done.stdout[start : start + 2 * int(seconds * sr)], dtype="<i2")
    return samples.astype(np.float32) / np.float32(32768), sr
