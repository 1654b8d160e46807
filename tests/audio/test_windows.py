"""Which windows of a track are described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from genrescope.audio.windows import (
    Sound,
    describe_file,
    describe_samples,
    describe_windows,
    window_offsets,
)
from genrescope.errors import (
    AudioEmptyError,
    AudioSilentError,
    AudioTooShortError,
    DataError,
)

SR = 1_000


class Loudest:
    """An encoder of one number a window, that remembers what it was given."""

    def __init__(self) -> None:
        self.lengths: list[list[int]] = []
        self.rates: set[int] = set()

    def __call__(self, windows: Sequence[np.ndarray], *, sr: int) -> np.ndarray:
        self.lengths.append([len(window) for window in windows])
        self.rates.add(sr)
        return np.array([[window.max()] for window in windows], np.float32)


def ramp(seconds: float) -> np.ndarray:
    """Samples that say at which second they are."""
    return (np.arange(round(seconds * SR)) / SR).astype(np.float32)


def reader(y: np.ndarray) -> Callable[[float], np.ndarray]:
    return lambda offset: y[round(offset * SR) : round((offset + 30) * SR)]


def test_a_header_that_promises_too_much_is_measured() -> None:
    """Windows go where the sound is, not where a header says."""
    y = np.random.default_rng(0).normal(size=90 * 8_000).astype(np.float32)
    measured = []

    def read(offset: float) -> np.ndarray:
        start = int(offset * 8_000)
        return y[start : start + 240_000]

    def measure() -> float:
        measured.append(True)
        return len(y) / 8_000

    encode = Loudest()
    liar = Sound("liar", read, 8_000, 3_000.0, measure)
    described = describe_windows(liar, encode, n_windows=3, at_once=2)
    assert described.features.shape == (3, 1)
    np.testing.assert_allclose(described.offsets, [0.0, 30.0, 60.0])
    assert described.duration == pytest.approx(90.0)
    assert measured == [True]
    assert encode.lengths == [[240_000, 240_000], [240_000]]
    assert encode.rates == {8_000}


@pytest.mark.parametrize(("missing", "asked"), [(0.4, []), (0.6, [True])])
def test_a_length_is_measured_where_half_a_second_or_more_is_missing(
    missing: float, asked: list[bool]
) -> None:
    y = ramp(60.0 - missing)
    measured: list[bool] = []

    def measure() -> float:
        measured.append(True)
        return len(y) / SR

    described = describe_windows(Sound("a", reader(y), SR, 60.0, measure), Loudest())
    assert measured == asked
    assert described.duration == pytest.approx(60.0 - missing * len(asked))


def test_a_last_window_cut_by_the_end_is_no_reason_to_measure() -> None:
    def measure() -> float:
        raise AssertionError("the length was right")

    described = describe_windows(Sound("a", reader(ramp(20.0)), SR, 20.0, measure), Loudest())
    assert described.window == 20.0
    described = describe_windows(Sound("a", reader(ramp(44.0)), SR, 44.0, measure), Loudest())
    assert described.offsets.tolist() == [7.0]
    assert described.window == 30.0


@pytest.mark.parametrize(
    ("duration", "n_windows", "offsets"),
    [
        (0.0, 5, [0.0]),
        (29.0, 5, [0.0]),
        (31.0, 5, [0.5]),
        (44.0, 5, [7.0]),
        (46.0, 5, [0.0, 16.0]),
        (60.0, 1, [15.0]),
        (100.0, 9, [1.0 + 2 / 3, 35.0, 68.0 + 1 / 3]),
        (600.0, 2, [135.0, 435.0]),
    ],
)
def test_windows_stand_in_the_middle_of_equal_parts(
    duration: float, n_windows: int, offsets: list[float]
) -> None:
    np.testing.assert_allclose(window_offsets(duration, n_windows), offsets, atol=1e-9)


def test_a_window_of_samples_is_30_s_from_its_offset() -> None:
    encode = Loudest()
    described = describe_samples(ramp(100.0), encode, sr=SR)
    assert encode.lengths == [[30_000]] * 3
    assert encode.rates == {SR}
    assert described.offsets.dtype == np.float64
    np.testing.assert_allclose(described.features[:, 0], described.offsets + 30, atol=2e-3)
    assert described.duration == 100.0
    assert described.window == 30.0


def test_windows_are_five_unless_told_otherwise() -> None:
    y = ramp(400.0)
    assert len(describe_samples(y, Loudest(), sr=SR).offsets) == 5
    assert len(describe_samples(y, Loudest(), sr=SR, n_windows=1).offsets) == 1
    assert len(describe_samples(y, Loudest(), sr=SR, n_windows=7).offsets) == 7


@pytest.mark.parametrize(
    ("at_once", "batches"), [(None, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])]
)
def test_windows_are_encoded_so_many_at_once(
    tmp_path: Path, at_once: int | None, batches: list[int]
) -> None:
    how = {} if at_once is None else {"at_once": at_once}
    y = ramp(200.0) / 200
    plain = Loudest()
    describe_windows(Sound("a", reader(y), SR, 200.0), plain, n_windows=5, **how)
    assert [len(lengths) for lengths in plain.lengths] == batches
    sf.write(tmp_path / "a.wav", y, SR, subtype="FLOAT")
    of_samples, of_file = Loudest(), Loudest()
    first = describe_samples(y, of_samples, sr=SR, n_windows=5, **how)
    second = describe_file(tmp_path / "a.wav", of_file, n_windows=5, **how)
    assert [len(lengths) for lengths in of_samples.lengths] == batches
    assert [len(lengths) for lengths in of_file.lengths] == batches
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.offsets, second.offsets)


def test_windows_that_are_silent_have_no_row_and_no_offset() -> None:
    y = np.concatenate([ramp(30.0), np.zeros(30 * SR, np.float32), ramp(30.0)])
    described = describe_samples(y, Loudest(), sr=SR, n_windows=3, at_once=2)
    assert described.offsets.tolist() == [0.0, 60.0]
    assert described.features.shape == (2, 1)


@pytest.mark.parametrize("sign", [1, -1])
def test_silence_is_80_db_below_full_scale(sign: int) -> None:
    y = np.zeros(SR, np.float32)
    y[7] = sign * 1.01e-4
    assert describe_samples(y, Loudest(), sr=SR).features.shape == (1, 1)
    y[7] = sign * 0.99e-4
    with pytest.raises(AudioSilentError) as error:
        describe_samples(y, Loudest(), sr=SR)
    assert str(error.value) == (
        "the array: no sample is louder than -80 dB of full scale in any of the windows that "
        "were looked at; there is nothing to recognise in silence"
    )


def test_half_a_second_is_enough_and_less_is_not() -> None:
    assert describe_samples(ramp(0.5), Loudest(), sr=SR).features.shape == (1, 1)
    with pytest.raises(AudioTooShortError) as error:
        describe_samples(ramp(0.499), Loudest(), sr=SR)
    assert str(error.value) == (
        "the array: 0.499 s of sound, at least 0.5 s is needed to recognise a genre"
    )
    with pytest.raises(AudioTooShortError, match=r"0\.001 s"):
        describe_samples(ramp(0.001), Loudest(), sr=SR)


def test_what_is_long_and_silent_is_not_called_short() -> None:
    """The last of its windows being a short one."""
    quiet = [np.zeros(30 * SR, np.float32), np.zeros(100, np.float32)]
    sound = Sound("quiet", lambda offset: quiet[offset > 0], SR, 60.0)
    with pytest.raises(AudioSilentError, match="quiet: "):
        describe_windows(sound, Loudest())


def test_nothing_at_all_is_empty() -> None:
    with pytest.raises(AudioEmptyError) as error:
        describe_samples(np.empty(0, np.float32), Loudest(), sr=SR)
    assert str(error.value) == "the array: no samples, so there is nothing to recognise"


def test_no_windows_cannot_be_asked_for() -> None:
    with pytest.raises(DataError) as error:
        describe_samples(ramp(1.0), Loudest(), sr=SR, n_windows=0)
    assert str(error.value) == "n_windows is 0; at least 1 window must be looked at"


def test_errors_of_a_file_name_it(tmp_path: Path) -> None:
    sf.write(tmp_path / "quiet.wav", np.zeros(2 * SR), SR)
    with pytest.raises(AudioSilentError) as error:
        describe_file(tmp_path / "quiet.wav", Loudest())
    assert str(error.value).startswith(f"{tmp_path / 'quiet.wav'}: no sample")


def test_a_file_whose_header_claims_too_much_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    sf.write(path, ramp(65.0) / 65, SR, subtype="PCM_24")
    data = bytearray(path.read_bytes())
    data[21:26] = (data[21] & 0xF0).to_bytes() + (300 * SR).to_bytes(4, "big")
    path.write_bytes(data)
    described = describe_file(path, Loudest())
    assert described.duration == 65.0
    np.testing.assert_allclose(described.offsets, [1.25, 33.75])
    np.testing.assert_allclose(described.features[:, 0] * 65, [31.25, 63.75], atol=2e-3)
