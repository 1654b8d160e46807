"""Our own features as an encoder and as a front end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from genrescope.audio import frames
from genrescope.audio.encoders.frames_encoder import FramesEncoder, WholeFrames
from tests.audio.encoders.test_contract import sound

SR = 8_000


@pytest.fixture(scope="module")
def long() -> np.ndarray:
    return np.tile(sound(30, SR), 6)  # one window more than are heard by default


def test_the_encoder_says_which_part_of_a_row_it_gives() -> None:
    encoder = FramesEncoder()
    assert encoder.parameters() == {**frames.FRONT_END["parameters"], "columns": "statistics"}
    assert "columns" not in frames.FRONT_END["parameters"]
    assert encoder.n_features == frames.N_STATISTICS == 2_872
    assert (encoder.name, encoder.version) == ("frames", frames.FRONT_END["version"])
    assert encoder.licence == "Apache-2.0"
    assert encoder.about == "2,872 statistics of mel frames and MFCC"


def test_every_window_has_its_row(long: np.ndarray) -> None:
    windows = [long[: 20 * SR], long[5 * SR : 25 * SR]]
    rows = FramesEncoder().encode(windows, sr=SR)
    assert rows.shape == (2, frames.N_STATISTICS)
    for row, y in zip(rows, windows, strict=True):
        whole = frames.describe_samples(y, sr=SR, n_windows=1).features[0]
        np.testing.assert_array_equal(row, whole[: frames.N_STATISTICS])


def test_whole_rows_of_as_many_windows_as_asked_for(long: np.ndarray, tmp_path: Path) -> None:
    front_end = WholeFrames()
    path = tmp_path / "a.wav"
    soundfile.write(path, long, SR, subtype="FLOAT")
    for count in (None, 2):
        wanted = frames.describe_samples(long, sr=SR, n_windows=count or 5)
        in_memory = front_end.describe_samples(long, sr=SR, n_windows=count)
        np.testing.assert_array_equal(in_memory.features, wanted.features)
        of_file = frames.describe_file(path, n_windows=count or 5)
        from_file = front_end.describe_file(path, n_windows=count)
        np.testing.assert_array_equal(from_file.features, of_file.features)
        assert len(from_file.features) == len(in_memory.features) == (count or 5)
    assert front_end.n_features == in_memory.features.shape[1] == frames.N_FEATURES


def test_the_card_section_is_a_copy() -> None:
    front_end = WholeFrames()
    said = front_end.card_section()
    assert said == frames.FRONT_END
    assert said["name"] == front_end.name == "frames"
    assert said["version"] == front_end.version
    said["parameters"].clear()
    said["name"] = "changed"
    assert front_end.card_section() == frames.FRONT_END
    assert frames.FRONT_END["parameters"]
