"""Every number of a training, and the sets of them that have a name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genrescope.errors import TrainingError
from genrescope.learn.deep.architectures import Architecture

__all__ = ["PRESETS", "Augmentation", "TrainSettings", "read_settings", "settings_for"]

OPTIMISERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "exponential")


@dataclass(frozen=True)
class Augmentation:
    """How training tracks are varied; zero switches a part off.

    Attributes
    ----------
    roll : float
        Share of tracks that begin at another frame, with what was in front put behind.
    equaliser_db : float
        Spread of a smooth random equaliser, in dB.
    shift : int
        Bands up or down, at most: a third of a tone each in the middle of the scale.
    band_masks, band_mask : int
        How many stripes of bands are hidden, and how high they are at most.
    time_masks, time_mask : int
        The same over frames (SpecAugment, Park et al. 2019).
    dense_offset : float
        Spread of a constant added to each dense coefficient, in its standard deviations.
    mixup : float
        Shape of the beta distribution that pairs are mixed with (Zhang et al. 2018).
    crop : float
        Share of the frames that is shown, in a row, to networks that take any number.
    """

    roll: float = 1.0
    equaliser_db: float = 2.2
    shift: int = 2
    band_masks: int = 2
    band_mask: int = 14
    time_masks: int = 2
    time_mask: int = 18
    dense_offset: float = 0.15
    mixup: float = 0.3
    crop: float = 1.0


NO_AUGMENTATION = Augmentation(
    roll=0.0, equaliser_db=0.0, shift=0, band_masks=0, time_masks=0, dense_offset=0.0, mixup=0.0
)


@dataclass(frozen=True)
class TrainSettings:
    """How a network is trained.

    Attributes
    ----------
    optimiser : str
        "adamw", "adam" or "sgd".
    learning_rate, weight_decay, momentum : float
        Its numbers; weights with two dimensions or more decay, the momentum is of SGD.
    epochs, batch : int
        Over the training tracks, at most; tracks of a step, over all processes together.
    schedule : str
        "cosine": up over ``warm_up`` epochs, then down to zero on a cosine. "exponential": times
        ``1 - decay`` after each epoch.
    label_smoothing : float
        Share of the label that is spread over all genres.
    ema : float
        Of the running mean of the weights, which is what is kept; 0 keeps the weights themselves.
    clip : float
        Largest norm of the gradient; 0 for any.
    held_out : float
        Share of the training tracks, in whole artists, by which the best epoch is chosen.
    patience : int
        Epochs without a better log-loss on these before it stops; 0 never stops early.
    augmentation : Augmentation
        How the tracks are varied.
    """

    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    epochs: int = 60
    batch: int = 64
    schedule: str = "cosine"
    warm_up: float = 3.0
    decay: float = 0.05
    label_smoothing: float = 0.1
    ema: float = 0.998
    clip: float = 1.0
    held_out: float = 0.1
    patience: int = 20
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name, choices in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in choices:
                raise TrainingError(
                    f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}"
                )
        for name, right, rule in (
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("epochs", self.epochs >= 1, "1 or more"),
            ("batch", self.batch >= 2, "2 or more"),
            ("held_out", 0 < self.held_out < 1, "between 0 and 1"),
            ("ema", 0 <= self.ema < 1, "0 or more and below 1"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "0 or more and below 1"),
            ("decay", 0 <= self.decay < 1, "0 or more and below 1"),
            ("crop", 0 < self.augmentation.crop <= 1, "above 0 and at most 1"),
        ):
            if not right:
                value = getattr(self, name, self.augmentation.crop)
                raise TrainingError(f"{name} is {value}; it must be {rule}")

    def rate(self, step: int, *, steps: int) -> float:
        """The learning rate of a step, where an epoch has ``steps`` of them."""
        import math

        if self.schedule == "exponential":
            return float(self.learning_rate * (1.0 - self.decay) ** (step // steps))
        warm = min(self.warm_up, self.epochs / 2) * steps
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = (step - warm) / max(1.0, self.epochs * steps - warm)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


# The study's: 1e-3, 5 % less after each epoch, nothing done to the tracks. It tried batches of 16
# to 64 and does not say which momentum its SGD had.
_STUDY: dict[str, Any] = {
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "schedule": "exponential",
    "decay": 0.05,
    "label_smoothing": 0.0,
    "ema": 0.0,
    "clip": 0.0,
    "augmentation": NO_AUGMENTATION,
}

#: Settings by name. What suits a network better is added to "modern" only.
PRESETS: dict[str, TrainSettings] = {
    "modern": TrainSettings(),
    "cs464-adam": TrainSettings(optimiser="adam", epochs=50, batch=32, **_STUDY),
    "cs464-sgd": TrainSettings(optimiser="sgd", epochs=50, batch=16, **_STUDY),
}


def settings_for(
    architecture: Architecture, *, preset: str = "modern", **changes: Any
) -> TrainSettings:
    """The settings of a preset, for one network.

    Parameters
    ----------
    architecture : Architecture
        What is trained: "modern" takes its learning rate and what else suits it.
    preset : str
        A key of :data:`PRESETS`.
    **changes
        Fields of :class:`TrainSettings` or of :class:`Augmentation`; None changes nothing.

    Returns
    -------
    TrainSettings

    Raises
    ------
    TrainingError
        If there is no such preset or field, or a value cannot be.

    Examples
    --------
    >>> from genrescope.learn.deep.architectures import find
    >>> settings_for(find("cs464-cnn"), preset="cs464-adam", epochs=5).epochs
    5
    """
    if preset not in PRESETS:
        raise TrainingError(f"there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    found = PRESETS[preset]
    if preset == "modern":
        found = _changed(found, architecture.settings)
    return _changed(found, {name: value for name, value in changes.items() if value is not None})


def _changed(settings: TrainSettings, changes: Mapping[str, Any]) -> TrainSettings:
    inner = {f.name for f in dataclasses.fields(Augmentation)}
    outer = {f.name for f in dataclasses.fields(TrainSettings)} - {"augmentation"}
    for name in changes:
        if name not in inner | outer:
            raise TrainingError(
                f"there is no setting {name!r}; choose one of {', '.join(sorted(inner | outer))}"
            )
    augmentation = dataclasses.replace(
        settings.augmentation, **{k: v for k, v in changes.items() if k in inner}
    )
    rest = {k: v for k, v in changes.items() if k in outer}
    return dataclasses.replace(settings, augmentation=augmentation, **rest)


def read_settings(given: Mapping[str, str]) -> dict[str, Any]:
    """Settings that were written as text, in the types that they have.

    Raises
    ------
    TrainingError
        If there is no such setting, or its text cannot be read.

    Examples
    --------
    >>> read_settings({"mixup": "0", "epochs": "9", "optimiser": "sgd"})
    {'mixup': 0.0, 'epochs': 9, 'optimiser': 'sgd'}
    """
    usual = {**vars(TrainSettings()), **vars(Augmentation())}
    del usual["augmentation"]
    found = {}
    for name, text in given.items():
        if name not in usual:
            raise TrainingError(
                f"there is no setting {name!r}; choose one of {', '.join(sorted(usual))}"
            )
        try:
            found[name] = type(usual[name])(text)
        except ValueError as error:
            raise TrainingError(
                f"setting {name} is {text!r}, which cannot be read; "
                f"write it as in {name}={usual[name]}"
            ) from error
    return found
