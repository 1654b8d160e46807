"""Statistics: the quick forms give what the plain ones give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genrescope.audio import statistics
from genrescope.audio.frames import N_STATISTICS, READ_BANDS


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 14), st.integers(1, 14)),
        elements=st.floats(-72, 0, width=32),
    ),
    st.sampled_from([5, 9]),
    st.sampled_from([1, 2]),
)
def test_running_median_is_the_median(x: np.ndarray, width: int, axis: int) -> None:
    pad = [(0, 0)] * 3
    pad[axis] = (width // 2, width // 2)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, pad, mode="edge"), width, axis=axis
    )
    np.testing.assert_array_equal(
        statistics._running_median(x, width, axis), np.median(windows, axis=-1)
    )


def test_rows_do_not_depend_on_their_neighbours() -> None:
    rng = np.random.default_rng(1)
    db = rng.uniform(-72, 0, size=(5, READ_BANDS, 128)).astype(np.float32)
    dense = rng.normal(size=(5, 20, 130)).astype(np.float32) * 20
    together = np.concatenate(
        [statistics.frame_statistics(db), statistics.dense_statistics(dense)], axis=1
    )
    assert together.shape == (5, N_STATISTICS)
    for k in range(5):
        alone = np.concatenate(
            [
                statistics.frame_statistics(db[k : k + 1]),
                statistics.dense_statistics(dense[k : k + 1]),
            ],
            axis=1,
        )
        np.testing.assert_allclose(together[k], alone[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, -72.0])
def test_what_never_changes_gives_finite_numbers(value: float) -> None:
    db = np.full((1, READ_BANDS, 128), value, dtype=np.float32)
    dense = np.zeros((1, 20, 130), dtype=np.float32)
    assert np.isfinite(statistics.frame_statistics(db)).all()
    assert np.isfinite(statistics.dense_statistics(dense)).all()
