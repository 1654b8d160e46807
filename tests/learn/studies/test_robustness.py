"""The measures of robustness, on answers whose changes are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from genrescope.audio.perturb import choose
from genrescope.errors import AudioSilentError, DataError, GenrescopeError
from genrescope.learn.studies.robustness import Clip, Heard, Named, compare, cut, effects, hear

SR = 8_000


class ByLevel:
    """A recogniser that calls what is loud Rock and what is soft Folk."""

    genres = ("Folk", "Rock")

    def predict(self, y: np.ndarray, *, sr: float) -> Any:
        loud = float(np.abs(y).max())
        if loud == 0:
            raise AudioSilentError("silent")
        rock = 0.9 if loud > 0.2 else 0.1
        return SimpleNamespace(probabilities={"Rock": rock, "Folk": 1 - rock})


def song(path: Path, seconds: float, amplitude: float = 0.5) -> Path:
    t = np.arange(int(seconds * SR)) / SR
    soundfile.write(path, amplitude * np.sin(2 * np.pi * 220 * t), SR)
    return path


CHANGE = Named("x", "X", "rate")


def answers(*first: float) -> np.ndarray:
    p = np.array(first)
    return np.stack([p, 1 - p], axis=1)


def test_the_figures_of_a_change_that_is_known() -> None:
    before = answers(0.9, 0.9, 0.9, 0.6)
    after = answers(0.9, 0.1, 0.6, 0.4)
    effect = compare(
        before,
        after,
        change=CHANGE,
        truth=np.array([0, 0, -1, 1]),
        units=np.array(["a", "a", "b", "c"]),
        threshold=0.8,
    )
    assert (effect.n, effect.n_units, effect.same) == (4, 3, 0.5)
    assert effect.distance == pytest.approx((0 + 0.8 + 0.3 + 0.2) / 4)
    assert (effect.n_sure, effect.sure_before, effect.sure_after) == (3, 0.75, 0.5)
    assert effect.sure_kept == pytest.approx(1 / 3)
    assert effect.sure_turned == pytest.approx(1 / 3)
    assert effect.n_labelled == 3
    assert effect.accuracy_before == pytest.approx(2 / 3)
    assert effect.accuracy_after == pytest.approx(2 / 3)
    assert effect.same_interval is not None
    assert effect.same_interval[0] < 0.5 < effect.same_interval[1]
    assert effect.to_dict()["same_interval"] == list(effect.same_interval)


def test_what_is_not_defined_is_null() -> None:
    effect = compare(answers(0.6), answers(0.6), change=CHANGE)
    values = effect.to_dict()
    assert values["same"] == 1.0
    for name in ("same_interval", "sure_kept", "accuracy_before", "change_interval"):
        assert values[name] is None, name
    with pytest.raises(DataError, match=r"\(1, 2\) and \(2, 2\)"):
        compare(answers(0.6), answers(0.6, 0.5), change=CHANGE)


def test_intervals_resample_whole_songs() -> None:
    """Ten clips of one song say as much as one, so the interval is as wide."""
    rng = np.random.default_rng(0)
    turned = rng.random(12) < 0.4

    def width(copies: int) -> float:
        p = answers(*np.repeat(np.where(turned, 0.1, 0.9), copies))
        units = np.repeat(np.arange(12), copies)
        pair = compare(answers(*[0.9] * len(p)), p, change=CHANGE, units=units).same_interval
        assert pair is not None
        return pair[1] - pair[0]

    assert width(10) == pytest.approx(width(1))


def test_where_nothing_changed_the_interval_still_knows_doubt() -> None:
    p = answers(*[0.9] * 20)
    units = np.arange(20) // 2
    kept = compare(p, p, change=CHANGE, units=units).same_interval
    assert kept == (pytest.approx(0.05 ** (1 / 10)), 1.0)
    lost = compare(p, 1 - p, change=CHANGE, units=units).same_interval
    assert lost == (0.0, pytest.approx(1 - 0.05 ** (1 / 10)))


def test_files_are_cut_into_clips_with_another_place(tmp_path: Path) -> None:
    long, short = song(tmp_path / "long.wav", 86.0), song(tmp_path / "short.wav", 4.0)
    (tmp_path / "no.wav").write_text("no sound")
    clips, failures = cut(
        [long, short, tmp_path / "no.wav"], genres=["Rock", "", ""], artists=["me", "", ""]
    )
    assert [(c.path, c.start, c.other) for c in clips] == [
        (long, 0.0, 30.0),
        (long, 30.0, 60.0),
        (long, 60.0, 30.0),
        (short, 0.0, None),
    ]
    assert [round(c.seconds, 3) for c in clips] == [30, 30, 26, 4]
    assert {(c.genre, c.unit) for c in clips} == {("Rock", "me"), ("", str(short))}
    assert [path.name for path, _ in failures] == ["no.wav"]
    starts = [c.start for c in cut([long], every=20.0)[0]]
    assert starts == [0.0, 20.0, 40.0, 60.0]
    with pytest.raises(DataError, match="every is 0"):
        cut([long], every=0)


def test_clips_are_heard_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    t = np.arange(60 * SR) / SR
    soundfile.write(path, np.where(t < 30, 0.5, 0.05) * np.sin(2 * np.pi * 220 * t), SR)
    silent = song(tmp_path / "silent.wav", 2.0, amplitude=0.0)
    clips, _ = cut([path, silent])
    wanted = choose(["minus-20db", "elsewhere", "mono"])
    heard: list[Heard] = []
    failed: list[tuple[Clip, GenrescopeError]] = []
    for each in hear(ByLevel(), clips, perturbations=wanted, workers=0):  # type: ignore[arg-type]
        failed.append(each) if isinstance(each, tuple) else heard.append(each)
    assert [clip.path for clip, _ in failed] == [silent]
    assert [row.before.argmax() for row in heard] == [1, 0]
    assert [row.after["minus-20db"].argmax() for row in heard] == [0, 0]
    assert [row.after["elsewhere"].argmax() for row in heard] == [0, 1]
    assert all("mono" not in row.after for row in heard), "there is nothing to mix"
    found = effects(heard, genres=ByLevel.genres, threshold=0.8, perturbations=wanted)
    assert [(e.name, e.same) for e in found] == [
        ("elsewhere", 0.0),
        ("minus-20db", 0.5),
    ]
    assert all(e.n_labelled == 0 for e in found)


def test_a_change_that_leaves_nothing_to_recognise_is_told(tmp_path: Path) -> None:
    # Half a step of 16 bits after -20 dB: rounded to silence.
    path = tmp_path / "soft.wav"
    quiet = np.full(2 * SR, 1e-4, dtype=np.float32)
    soundfile.write(path, quiet, SR, subtype="FLOAT")
    (row,) = hear(
        ByLevel(),  # type: ignore[arg-type]
        cut([path])[0],
        perturbations=choose(["minus-20db", "rate-22k"]),
        workers=0,
    )
    assert isinstance(row, Heard)
    assert set(row.after) == {"rate-22k"}
    assert row.failures == {"minus-20db": "silent"}
    names = [e.name for e in effects([row], genres=ByLevel.genres, threshold=None)]
    assert names == ["rate-22k"]
