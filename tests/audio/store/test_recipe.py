"""Recipes: what is stored, how large it is, and by which parameters."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from genrescope.audio.store.recipe import KINDS, Recipe, parse_what, quantise, to_decibels
from genrescope.errors import DataError


def test_a_recipe_is_known_by_the_same_hashes_in_later_versions() -> None:
    """A store of another hash is refused, and would have to be extracted again."""
    assert Recipe().hashes == {
        "mel": "a920bba03d389c58",
        "descriptors": "8c949a11a3447fc0",
        "frames": "3e78f61f6f412586",
    }
    assert Recipe(("mel",), seconds=10, dtype="float16").hashes == {"mel": "d48377f2fd3131c3"}


def test_each_parameter_changes_the_hash_of_what_it_is_for() -> None:
    plain, longer = Recipe().hashes, Recipe(seconds=31).hashes
    assert [kind for kind in KINDS if plain[kind] != longer[kind]] == ["mel", "descriptors"]
    fine = Recipe(dtype="float16").hashes
    assert [kind for kind in KINDS if plain[kind] != fine[kind]] == ["mel"]


def test_arrays_and_their_room() -> None:
    whole = Recipe()
    assert whole.arrays == {
        "mel": ((128, 1292), np.dtype("uint8")),
        "frames": ((128, 128), np.dtype("uint8")),
        "mfcc": ((130, 20), np.dtype("float16")),
    }
    assert whole.row_bytes == 128 * 1292 + 128 * 128 + 2 * 130 * 20 + 4 * 518 + 512
    assert Recipe(("mel",), seconds=1, dtype="float16").row_bytes == 2 * 128 * 44 + 512
    assert Recipe(("descriptors",)).row_bytes == 4 * 518 + 512
    # 512 samples a column, and one more for the first; a started sample counts.
    assert [Recipe(seconds=s).mel_frames for s in (1, 511.9999 * 2 / 22_050 + 1, 600)] == [
        44, 46, 25_840,
    ]  # fmt: skip


def test_it_says_what_it_is() -> None:
    said = Recipe(("frames", "mel"), seconds=2).to_dict()
    assert (said["what"], said["seconds"], said["dtype"]) == (["mel", "frames"], 2.0, "uint8")
    assert isinstance(said["seconds"], float)
    assert list(said["front_ends"]) == ["mel", "frames"]
    assert said["front_ends"]["mel"]["hash"] == Recipe(("mel",), seconds=2).hashes["mel"]


@pytest.mark.parametrize("seconds", [1, 600])
def test_seconds_at_their_bounds(seconds: float) -> None:
    assert Recipe(seconds=seconds).seconds == seconds


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"seconds": 0.99}, r"seconds is 0\.99; from 1 to 600 of each track can be read"),
        ({"seconds": 600.5}, r"seconds is 600\.5; from 1 to 600"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"dtype": "int8"}, "dtype is 'int8'; it must be one of uint8, float16"),
        ({"what": ("mels",)}, "what is 'mels'; give some of mel, descriptors, frames, with commas"),
        ({"what": ()}, "what is nothing; give some of"),
        ({"what": "mel,,frames"}, "what is ''"),
    ],
)
def test_what_is_refused_says_what_there_is(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_kinds_come_in_their_own_order_once_each() -> None:
    assert parse_what(" frames , mel,frames") == ("mel", "frames")
    assert parse_what(["descriptors", " mel "]) == ("mel", "descriptors")


def test_another_recipe_is_refused_parameter_by_parameter() -> None:
    here = Recipe(("mel", "frames"), seconds=2)
    said = json.loads(json.dumps(here.to_dict()))
    here.require_same(said, store="s")
    with pytest.raises(DataError) as caught:
        replace(here, seconds=3, dtype="float16").require_same(said, store="s")
    assert str(caught.value) == (
        "s: made with other parameters: seconds is 2.0 there and 3.0 here; dtype is uint8 there "
        "and float16 here. Features of different parameters are never mixed: give the store's "
        "own, or another --out"
    )
    with pytest.raises(DataError, match="what is mel,frames there and mel here"):
        replace(here, what=("mel",)).require_same(said, store="s")

    mel, frames = said["front_ends"]["mel"], said["front_ends"]["frames"]
    mel["hash"], mel["parameters"]["n_fft"] = "other", 1024
    del mel["parameters"]["power"]
    frames["hash"], frames["version"] = "other", 9
    with pytest.raises(DataError) as caught:
        here.require_same(said, store="s")
    told = str(caught.value)
    assert "n_fft of mel is 1024 there and 2048 here; power of mel is None there and 2 here" in told
    assert "version of frames is 9 there and 1 here" in told
    assert "hop_length" not in told
    said["front_ends"] = {"mel": {"version": 1, "hash": "x", "parameters": mel["parameters"]}}
    mel["parameters"] |= {"n_fft": 2048, "power": 2}
    with pytest.raises(DataError, match="mel has the hash x there and") as caught:
        here.require_same(said, store="s")
    assert "version of frames is None there and 1 here" in str(caught.value)


def test_decibels_as_they_are_stored() -> None:
    db = np.array([-80, -79.9, -40.1, -0.1, 0], dtype=np.float32)
    stored = quantise(db, dtype="uint8")
    assert (stored.dtype, stored.tolist()) == (np.uint8, [0, 0, 127, 255, 255])
    back = to_decibels(stored)
    assert back.dtype == np.float32
    assert back[[0, 4]].tolist() == [-80, 0]
    assert np.abs(back - db).max() <= 0.5 * 80 / 255 + 1e-5
    fine = quantise(db, dtype="float16")
    assert fine.dtype == np.float16
    assert to_decibels(fine).dtype == np.float32
    np.testing.assert_allclose(to_decibels(fine), db, atol=0.035)  # steps of 1/16 dB
