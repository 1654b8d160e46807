"""What a store says of itself, and what is said where there is none."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from genrescope.audio.store import description
from genrescope.audio.store.description import (
    PARTITIONED,
    PLAIN,
    check_recipe,
    describe_new,
    open_description,
    read_description,
)
from genrescope.audio.store.place import Place
from genrescope.audio.store.recipe import Recipe
from genrescope.errors import DataError, MissingExtraError


def test_a_new_store_says_what_it_holds_and_what_made_it() -> None:
    recipe = Recipe(("mel",), seconds=2)
    said = describe_new(recipe, version=PLAIN)
    assert said == {
        "format": "genrescope feature store",
        "version": 1,
        **recipe.to_dict(),
        "made_with": {
            name: metadata.version(name)
            for name in ("genrescope", "numpy", "soxr", "soundfile", "av")
        },
    }
    assert describe_new(recipe, version=PARTITIONED)["version"] == 2


def test_run_from_its_source_it_does_not_name_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "genrescope":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(description.metadata, "version", version)
    made_with = describe_new(Recipe(), version=PLAIN)["made_with"]
    assert list(made_with) == ["numpy", "soxr", "soundfile", "av"]


def test_it_is_read_back_from_a_disk_and_from_a_url(tmp_path: Path) -> None:
    said = json.dumps(describe_new(Recipe(), version=PARTITIONED)).encode()
    for where in (str(tmp_path), f"file://{tmp_path}", f"memory://{tmp_path}"):
        Place(where).write("store.json", said)
        place, found = open_description(where)
        assert found == json.loads(said)
        assert place.url == Place(where).url
    assert read_description(tmp_path) == json.loads(said)


def test_no_store_is_said_with_what_makes_one(tmp_path: Path) -> None:
    for where in (tmp_path, f"memory://{tmp_path}"):
        with pytest.raises(DataError) as caught:
            open_description(where)
        assert str(caught.value) == (
            f"{where}: no feature store; `genrescope features extract SOURCE --out {where}` "
            "makes one"
        )


def test_the_folder_is_told_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^s: no feature store"):
        open_description("s")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", r"store\.json: cannot be read \(.*line 1"),
        (b"\xff", r"store\.json: cannot be read \("),
        (b"[]", "not the description of a feature store; give another folder"),
        (b'{"version": 1}', "not the description of a feature store"),
        (
            b'{"format": "genrescope feature store", "version": 3}',
            "format 3; this version of genrescope reads 1 and 2. Extract into another folder",
        ),
        (b'{"format": "genrescope feature store"}', "format None; this version"),
    ],
)
def test_what_is_no_description_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    for where in (str(tmp_path), f"memory://{tmp_path}"):
        Place(where).write("store.json", data)
        with pytest.raises(DataError, match=f"^{where}.*{says}"):
            open_description(where)


def test_a_description_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "store.json").mkdir()
    with pytest.raises(DataError, match=r"Is a directory: .*copy the store again"):
        read_description(tmp_path)


def test_descriptors_without_pyarrow_are_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_recipe(Recipe(("mel", "frames")))
    with pytest.raises(
        MissingExtraError, match=r"Storing descriptors \(all but --what mel,fr"
    ) as c:
        check_recipe(Recipe(("descriptors",)))
    assert "pyarrow" in str(c.value)
    assert "lab" in str(c.value)
