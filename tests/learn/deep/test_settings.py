"""The numbers of a training: presets, changes, the learning rate over time."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from genrescope.errors import TrainingError
from genrescope.learn.deep.architectures import find
from genrescope.learn.deep.settings import (
    NO_AUGMENTATION,
    PRESETS,
    TrainSettings,
    read_settings,
    settings_for,
)


@pytest.mark.parametrize(
    ("preset", "optimiser", "batch"), [("cs464-adam", "adam", 32), ("cs464-sgd", "sgd", 16)]
)
def test_the_study_s_settings(preset: str, optimiser: str, batch: int) -> None:
    s = settings_for(find("cs464-cnn"), preset=preset)
    assert (s.optimiser, s.batch, s.learning_rate) == (optimiser, batch, 1e-3)
    assert (s.label_smoothing, s.ema, s.weight_decay, s.clip) == (0, 0, 0, 0)
    assert s.augmentation == NO_AUGMENTATION
    # 5 % less after each epoch, the same within one.
    rates = [s.rate(step, steps=10) for step in range(30)]
    assert rates[:10] == [1e-3] * 10
    assert rates[10:20] == pytest.approx([0.95e-3] * 10)
    assert rates[29] == pytest.approx(0.95**2 * 1e-3)


def test_the_modern_rate_warms_up_and_goes_to_zero() -> None:
    s = TrainSettings(learning_rate=2e-3, epochs=20, warm_up=2)
    rates = [s.rate(step, steps=10) for step in range(200)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[19] == max(rates) == pytest.approx(2e-3)
    assert all(a > b for a, b in itertools.pairwise(rates[20:]))
    assert rates[110] == pytest.approx(1e-3)
    assert 0 < rates[-1] < 1e-6
    short = TrainSettings(learning_rate=1.0, epochs=2, warm_up=10)  # half of it at most
    assert math.isclose(max(short.rate(k, steps=10) for k in range(20)), 1.0)


def test_what_suits_a_network_is_for_the_modern_preset_only() -> None:
    net = find("frame-net")
    modern = settings_for(net)
    assert modern.learning_rate == net.settings["learning_rate"]
    assert modern.augmentation.crop == net.settings["crop"]
    assert settings_for(net, preset="cs464-adam") == PRESETS["cs464-adam"]


def test_changes_reach_both_parts() -> None:
    s = settings_for(find("compact-cnn"), epochs=7, mixup=0.0, batch=None)
    assert (s.epochs, s.augmentation.mixup) == (7, 0.0)
    assert s.batch == PRESETS["modern"].batch
    assert s.augmentation.band_masks == PRESETS["modern"].augmentation.band_masks


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimiser": "lion"}, "choose one of adamw, adam, sgd"),
        ({"schedule": "steps"}, "cosine, exponential"),
        ({"epochs": 0}, "epochs is 0; it must be 1 or more"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"held_out": 1.0}, "between 0 and 1"),
        ({"ema": 1.0}, "below 1"),
        ({"crop": 0.0}, "crop is 0.0; it must be above 0"),
        ({"colour": 3}, "there is no setting 'colour'"),
    ],
)
def test_numbers_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError) as caught:
        settings_for(find("naive-cnn"), **changes)
    assert said in str(caught.value)


def test_a_preset_that_is_none() -> None:
    with pytest.raises(TrainingError, match="modern, cs464-adam, cs464-sgd"):
        settings_for(find("naive-cnn"), preset="best")


def test_settings_are_read_from_text() -> None:
    assert read_settings({"ema": "0.9", "patience": "3", "schedule": "exponential"}) == {
        "ema": 0.9,
        "patience": 3,
        "schedule": "exponential",
    }
    with pytest.raises(TrainingError, match=r"patience is '1\.5', which cannot be read"):
        read_settings({"patience": "1.5"})
    with pytest.raises(TrainingError, match="there is no setting 'augmentation'"):
        read_settings({"augmentation": "none"})
