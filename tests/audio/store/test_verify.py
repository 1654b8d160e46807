"""What a check says of a store that is not as it was left."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.descriptors import DESCRIPTOR_NAMES
from genrescope.audio.store import FeatureStore
from genrescope.audio.store import verify as store_verify
from genrescope.audio.store.extract import Extracted, Job, extract_file
from genrescope.audio.store.journal import Failure, Journal
from genrescope.audio.store.parts import descriptor_parquet, npy_header, part_file
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import Catalogue
from genrescope.audio.store.verify import Verdict, to_json, verify
from tests.audio.stores import fill, write_tone

NAMES = ("a.wav", "b.wav", "c.wav")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three tracks in two parts, and their files."""
    folder = tmp_path_factory.mktemp("three")
    for i, name in enumerate(NAMES):
        write_tone(folder / "m" / name, seed=i)
    fill(folder / "m", folder / "s", recipe=Recipe(seconds=1.0), batch=2)
    return folder


@pytest.fixture
def store(three: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three / "s", tmp_path / "s"))


def agree(store: Path, name: str, data: bytes) -> None:
    """Put a file into a part as if it had been committed so."""
    (store / "parts" / name).write_bytes(data)
    lines = (store / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    number = int(name[:6])
    entry = json.loads(lines[number])
    del entry["check"]
    entry["files"][name] = [len(data), hashlib.sha256(data).hexdigest()]
    body = json.dumps(entry, separators=(",", ":"))
    check = hashlib.sha256(body.encode()).hexdigest()[:32]
    lines[number] = f'{{"check":"{check}",{body[1:]}\n'.encode()
    (store / "manifest.jsonl").write_bytes(b"".join(lines))


def rewrite(store: Path, name: str, change: Callable[[np.ndarray], None], part: int = 0) -> None:
    file = part_file(part, name)
    if name == "descriptors":
        opened = FeatureStore.open(store)
        ids = list(opened.journal.parts[part].ids)
        values = opened.descriptors().values[[opened.ids.tolist().index(id_) for id_ in ids]]
        change(values)
        agree(store, file, bytes(descriptor_parquet(ids, values)))
        return
    cells = np.load(store / "parts" / file)
    change(cells)
    agree(store, file, npy_header(cells.shape, cells.dtype) + cells.tobytes())


def put(place: tuple[int, ...], value: float) -> Callable[[np.ndarray], None]:
    def change(cells: np.ndarray) -> None:
        cells[place] = value

    return change


# --- files -------------------------------------------------------------------


def test_what_was_looked_at(store: Path) -> None:
    told: list[tuple[int, int]] = []
    found = verify(store, recompute=2, workers=0, report=lambda *numbers: told.append(numbers))
    size = sum(path.stat().st_size for path in (store / "parts").iterdir())
    assert found == Verdict(tracks=3, files=8, bytes=size, recomputed=2, identical=2)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert json.loads(to_json(found)) == {
        "whole": True, "problems": [], "notes": [], "tracks": 3, "quarantined": 0, "files": 8,
        "bytes": size, "recomputed": 2, "identical": 2,
    }  # fmt: skip
    assert not Verdict(problems=("x",)).whole
    assert verify(store, recompute=9, workers=0).recomputed == 3
    assert verify(store).recomputed == 0


def test_damaged_files_are_named_with_what_is_expected(store: Path) -> None:
    names = [part_file(0, "mel"), part_file(0, "mfcc"), part_file(1, "frames")]
    paths = [store / "parts" / name for name in names]
    right = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    size = paths[1].stat().st_size
    paths[0].write_bytes(paths[0].read_bytes()[:-1] + b"?")
    wrong = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    os.truncate(paths[1], size - 1)
    paths[2].unlink()
    assert verify(store).problems == (
        f"{names[0]}: SHA-256 is {wrong[:16]}..., expected {right[0][:16]}...",
        f"{names[1]}: has {size - 1} bytes, expected {size}",
        f"{names[2]}: No such file or directory",
    )


def test_a_part_whose_files_are_not_those_of_the_recipe(store: Path) -> None:
    row = FeatureStore.open(store).rows[0]
    journal = Journal.read(store)
    journal.commit(files={"x.npy": (1, ""), "a.npy": (1, "")}, rows=[replace(row, id="x")])
    problems = verify(store).problems
    assert problems[0] == "part 2: the manifest names a.npy, x.npy"
    journal.commit(files={}, rows=[replace(row, id="y")])
    assert "part 3: the manifest names nothing" in verify(store).problems
    empty = Journal.read(store)
    empty.commit(files={"z.npy": (1, "")}, rows=[])
    assert "part 4: the manifest names z.npy" in verify(store).problems


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("mfcc", put((1, 5, 6), np.nan), "000000.mfcc.npy: b.wav has NaN or infinite values"),
        ("mfcc", put((0, 5, 6), np.inf), "000000.mfcc.npy: a.wav has NaN or infinite values"),
        ("mel", put((1,), 9), "000000.mel.npy: all values of b.wav are 9"),
        ("frames", put((0,), 0), "000000.frames.npy: all values of a.wav are 0"),
        (
            "descriptors",
            put((1, 3), np.nan),
            "000000.descriptors.parquet: b.wav has NaN or infinite values",
        ),
    ],
)
def test_values_that_cannot_be(
    store: Path, name: str, change: Callable[[np.ndarray], None], says: str
) -> None:
    rewrite(store, name, change)
    assert verify(store).problems == (says,)


def test_rows_that_do_not_count_any_more_are_not_looked_at(store: Path) -> None:
    rewrite(store, "mel", put((1,), 9))
    row = FeatureStore.open(store).rows[1]
    Journal.read(store).commit(
        files={}, rows=[], failures=[Failure(row.id, row.path, -1, -1, -1, "AudioError", "?")]
    )
    assert verify(store).problems == ()


def test_arrays_and_tables_of_another_shape(store: Path) -> None:
    cells = np.load(store / "parts" / part_file(0, "mfcc")).astype(np.float32)
    agree(store, part_file(0, "mfcc"), npy_header(cells.shape, cells.dtype) + cells.tobytes())
    values = FeatureStore.open(store).descriptors().values[:2]
    agree(store, part_file(0, "descriptors"), bytes(descriptor_parquet(["b.wav", "a.wav"], values)))
    assert verify(store).problems == (
        "000000.mfcc.npy: float32 (2, 130, 20), expected float16 (2, 130, 20)",
        "000000.descriptors.parquet: its ids are not those of the manifest",
    )
    import pyarrow as pa
    import pyarrow.parquet

    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table({"id": ["a.wav"]}), sink)
    agree(store, part_file(0, "descriptors"), sink.getvalue().to_pybytes())
    assert verify(store).problems[-1] == (
        "000000.descriptors.parquet: its columns are not id and the 518 descriptors"
    )


# --- tracks ------------------------------------------------------------------


def test_tracks_that_are_known_twice_or_to_nobody(store: Path) -> None:
    journal = Journal.read(store)
    row = journal.rows["c.wav"]
    failures = [Failure(f"{n}.wav", "/x", -1, -1, -1, "AudioError", "?") for n in (2, 1)]
    journal.commit(files={}, rows=[replace(row, id="q"), replace(row, id="q")], failures=failures)
    problems = verify(store).problems
    assert "part 2: q is there twice" in problems
    assert "3 tracks are not in catalogue.json, such as 1.wav" in problems
    assert verify(store).quarantined == 2


def test_a_track_in_the_store_and_in_quarantine(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = FeatureStore.open(store)
    opened.journal.failures["b.wav"] = Failure("b.wav", "/x", -1, -1, -1, "AudioError", "?")
    monkeypatch.setattr(FeatureStore, "open", lambda _: opened)
    assert "b.wav is in the store and in quarantine" in verify(store).problems


def test_what_is_worth_knowing_is_noted(store: Path, three: Path, tmp_path: Path) -> None:
    music = Path(shutil.copytree(three / "m", tmp_path / "m"))
    fill(music, store, recipe=Recipe(seconds=1.0))  # the same files, elsewhere
    assert verify(store).notes == ()
    (music / "a.wav").unlink()
    os.utime(music / "b.wav", ns=(1, 1))
    row = FeatureStore.open(store).rows[2]
    journal = Journal.read(store)
    failure = Failure(row.id, row.path, -1, -1, -1, "AudioError", "?")
    journal.commit(files={}, rows=[], failures=[failure])
    catalogue = Catalogue(("d", "e"), ("/d", "/e"), {}, "folder")
    catalogue.keep(store)
    (store / "parts" / "000007.mel.npy").write_bytes(b"")
    (store / ".catalogue.json.part").write_bytes(b"")
    with (store / "manifest.jsonl").open("ab") as file:
        file.write(b'{"check":"1')
    found = verify(store)
    assert found.problems == ()
    assert found.notes == (
        "2 of 5 tracks are not extracted yet; the same `genrescope features extract` goes on "
        "with them",
        "1 rows of files that were replaced or damaged since are not read any more",
        "the files of 1 tracks are gone; their features stay",
        "the files of 1 tracks were touched or replaced since; `genrescope features extract` "
        "looks into them",
        "2 files belong to a batch that is not committed: it is in work, or was killed, and the "
        "next run removes them",
        "the manifest ends with 11 bytes that are not committed; the next run removes them",
    )


@pytest.mark.parametrize("tracks", [19, 20])
def test_descriptors_that_are_the_same_for_all_tracks(tracks: int, tmp_path: Path) -> None:
    """From twenty tracks on; with fewer, that is chance."""
    recipe = Recipe(("descriptors",), seconds=1.0)
    for i in range(tracks):
        write_tone(tmp_path / "m" / f"{i:02d}.wav", seed=1)  # all the same
    rng = np.random.default_rng(0)
    first = extract_file(Job("", str(tmp_path / "m" / "00.wav")), recipe=recipe)

    def quickly(job: Job, *, recipe: Recipe) -> Extracted:
        values = rng.normal(size=518).astype(np.float32)
        values[[2, 5, 7, 9]] = (1.0, 2.0, 3.0, 4.0)
        return replace(first, descriptors=values, status=job.status, sha256=job.id)

    fill(tmp_path / "m", tmp_path / "s", recipe=recipe, read=quickly)
    names = ", ".join(DESCRIPTOR_NAMES[at] for at in (2, 5, 7))
    expected = f"4 descriptors are the same for all tracks, such as {names}"
    assert verify(tmp_path / "s").notes == ((expected,) if tracks >= 20 else ())


# --- once more ---------------------------------------------------------------


def test_what_the_files_give_now(store: Path, three: Path, tmp_path: Path) -> None:
    music = Path(shutil.copytree(three / "m", tmp_path / "m"))
    fill(music, store, recipe=Recipe(seconds=1.0))
    (music / "a.wav").write_bytes(b"RIFF nothing")
    write_tone(music / "b.wav", seed=9)
    found = verify(store, recompute=3, workers=0)
    assert (found.recomputed, found.identical) == (3, 1)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"a.wav: was readable, and is not: {music}/a.wav: ")
    assert "b.wav: its file was replaced since, so it was not compared" in found.notes


@pytest.mark.parametrize(
    ("name", "step", "allowed", "says"),
    [
        ("mel", 1, True, "mel differs by 1 at most"),
        ("mel", 2, False, "mel differs by 2 at most, and 1 is what other versions"),
        ("frames", 2, True, "frames differs by 2 at most"),
        ("frames", 3, False, "frames differs by 3 at most, and 2 is"),
        ("mfcc", 0.25, True, "mfcc differs by 0.25 at most"),
        ("mfcc", 0.5, False, "mfcc differs by 0.5 at most, and 0.25 is"),
    ],
)
def test_how_far_other_versions_of_libraries_may_be_apart(
    store: Path, name: str, step: float, allowed: bool, says: str
) -> None:
    def change(cells: np.ndarray) -> None:
        moved = cells[0] + cells.dtype.type(step)
        # Where half precision has the difference to the last bit, and no byte overflows.
        exact = np.argwhere(moved.astype(float) - cells[0].astype(float) == step)[0]
        cells[0][tuple(exact)] = moved[tuple(exact)]

    rewrite(store, name, change)
    found = verify(store, recompute=3, workers=0)
    told = found.notes if allowed else found.problems
    assert (len(found.notes), len(found.problems)) == ((1, 0) if allowed else (0, 1))
    assert told[0].startswith(f"a.wav: {says}")
    assert told[0].endswith(
        ", as other versions of a library may do" if allowed else "is what other versions may do"
    )
    assert found.identical == 2


@pytest.mark.parametrize(("factor", "allowed"), [(1.0009, True), (1.0012, False)])
def test_descriptors_may_be_apart_by_a_thousandth(
    store: Path, factor: float, allowed: bool
) -> None:
    values = FeatureStore.open(store).descriptors().values
    at = int(np.abs(values[0]).argmax())

    def change(cells: np.ndarray) -> None:
        cells[0, at] *= np.float32(factor)
        cells[1, 0] += np.float32(5e-4)  # of numbers below one, the difference itself

    rewrite(store, "descriptors", change)
    found = verify(store, recompute=3, workers=0)
    assert found.identical == 1
    if allowed:
        assert found.problems == ()
        assert found.notes[0].startswith("a.wav: descriptors differs by 0.000")
    else:
        assert len(found.problems) == 1
        assert found.problems[0].startswith("a.wav: descriptors differs by 0.001")
        assert "and 0.001 is what other versions may do" in found.problems[0]
        assert found.notes[0].startswith("b.wav: descriptors differs by 0.0005")


def test_what_is_drawn_depends_on_the_seed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def note(job: Job, *, recipe: Recipe) -> Extracted:
        read.append(job.id)
        return Extracted(job.status, "another")

    monkeypatch.setattr(store_verify, "extract_file", note)

    def drawn(seed: int) -> tuple[str, ...]:
        read.clear()
        verify(store, recompute=2, seed=seed, workers=0)
        return tuple(read)

    found = [drawn(seed) for seed in range(8)]
    assert all(len(set(ids)) == 2 and list(ids) == sorted(ids) for ids in found)
    assert len(set(found)) > 1
    assert drawn(0) == found[0]


def test_a_row_that_cannot_be_read_back_is_a_problem(store: Path) -> None:
    (store / "parts" / part_file(1, "mfcc")).unlink()
    found = verify(store, recompute=3, workers=0)
    assert found.identical == 2
    assert found.problems[0] == "000001.mfcc.npy: No such file or directory"
    assert found.problems[1].startswith(f"c.wav: {store}/parts/000001.mfcc.npy: not the 1 rows")
