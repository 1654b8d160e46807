"""What one partition holds: lines alone and together, what was begun, what nobody counts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from genrescope.audio.store.journal import Failure, Row, write_line
from genrescope.audio.store.partitions import (
    Partition,
    describe,
    partition_of,
    partitions_for,
    read_all,
    read_catalogues,
    shares,
)
from genrescope.audio.store.place import Place
from genrescope.audio.store.sources import Catalogue
from genrescope.errors import DataError


@pytest.fixture(params=["disk", "URL"])
def partition(request: pytest.FixtureRequest, tmp_path: Path) -> Partition:
    where = tmp_path / "s" if request.param == "disk" else f"memory://{tmp_path}/s"
    return Partition(Place(where), 3)


def row(id_: str, size: int = 1) -> Row:
    return Row(id_, f"/m/{id_}", size, 2, 3, "ab", 22_050, 1.0, 44, 0.0, 0, "", "", ())


def line(key: str, *ids: str, failed: tuple[str, ...] = (), size: int = 1) -> bytes:
    files = {f"{key}.aa.mel.npy": (5, "bb")} if ids else {}
    failures = [Failure(id_, "/x", -1, -1, -1, "AudioError", "why") for id_ in failed]
    return write_line(key, files=files, rows=[row(id_, size) for id_ in ids], failures=failures)


def manifest(partition: Partition) -> list[str]:
    return sorted(partition.store.names(f"partition={partition.number}/manifest"))


# --- who is where ------------------------------------------------------------


def test_a_track_stays_in_its_partition_in_later_versions() -> None:
    """Stores that are there depend on it."""
    names = ("000002", "a/b.mp3", "ö", os.fsdecode(b"\xff"))
    assert [partition_of(name, 1024) for name in names] == [503, 915, 538, 913]
    assert {partition_of(name, 1) for name in names} == {0}


def test_partitions_are_a_power_of_two_of_ten_thousand_tracks_each() -> None:
    counts = (0, 1, 10_000, 10_001, 20_000, 20_001, 40_001, 163_840_000, 10**9)
    assert [partitions_for(n) for n in counts] == [1, 1, 1, 2, 2, 4, 8, 16_384, 16_384]


def test_shares_are_in_the_order_of_the_partitions() -> None:
    ids = [str(i) for i in range(40)]
    found = shares(ids, 4)
    assert list(found) == [0, 1, 2, 3]
    assert sorted(at for share in found.values() for at in share) == list(range(40))
    for number, share in found.items():
        assert share == [at for at, id_ in enumerate(ids) if partition_of(id_, 4) == number]


# --- lines -------------------------------------------------------------------


def test_batches_count_by_their_names_whenever_they_were_committed(partition: Partition) -> None:
    assert partition.lines() == {}
    assert partition.line("2") is None
    partition.commit("2", line("2", "a", size=2))
    partition.commit("1", line("1", "a", "b"))
    assert partition.line("2") == line("2", "a", size=2)
    assert partition.lines() == {"1": line("1", "a", "b"), "2": line("2", "a", size=2)}
    assert list(partition.lines()) == ["1", "2"]
    journal = partition.journal()
    assert journal.rows["a"].size == 2
    assert journal.places == {"a": (1, 0), "b": (0, 1)}
    partition.store.write("partition=3/manifest/notes.txt", b"no line")
    assert list(partition.lines()) == ["1", "2"]


def test_lines_that_join_say_the_same(partition: Partition) -> None:
    for key in ("3", "1", "2"):
        partition.commit(key, line(key, key))
    before = partition.lines()
    partition.put_together()
    data = b"".join(before.values())
    assert manifest(partition) == [f"3.{hashlib.sha256(data).hexdigest()[:8]}.lines"]
    assert partition.lines() == before
    assert partition.line("3") is None
    partition.put_together()  # one file is together already
    assert len(manifest(partition)) == 1
    # Done again, a batch counts as it was done last.
    partition.commit("2", line("2", "other"))
    assert partition.lines()["2"] == line("2", "other")
    partition.put_together()
    assert partition.lines()["2"] == line("2", "other")


def test_a_large_file_of_lines_is_not_copied_for_a_small_one(partition: Partition) -> None:
    for key in range(8):
        partition.commit(f"{key}", line(f"{key}", "a"))
    partition.put_together()
    (large,) = manifest(partition)
    partition.commit("8", line("8", "a"))
    partition.commit("9", line("9", "a"))
    partition.put_together()
    assert large in manifest(partition)
    assert len(manifest(partition)) == 2
    for key in ("aa", "ab"):
        partition.commit(key, line(key, "a"))
    partition.put_together()  # half as large by now
    assert large not in manifest(partition)
    assert len(manifest(partition)) == 1
    assert len(partition.lines()) == 12


def test_damage_names_the_file(partition: Partition) -> None:
    partition.commit("1", line("1", "a")[:-2])
    with pytest.raises(DataError) as caught:
        partition.lines()
    assert str(caught.value) == (
        f"{partition.store}/partition=3/manifest/1.line: damaged; copy the store again"
    )


def test_what_others_put_together_meanwhile_is_looked_for_again(
    partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("1", "2"):
        partition.commit(key, line(key, key))
    expected, looks, real = partition.lines(), [0], Place.read

    def vanish(place: Place, name: str) -> bytes:
        looks[0] += 1
        if looks[0] <= gone:
            raise FileNotFoundError(name)
        return real(place, name)

    monkeypatch.setattr(Place, "read", vanish)
    gone = 4
    assert partition.lines() == expected
    looks[0], gone = 0, 5
    with pytest.raises(DataError) as caught:
        partition.lines()
    assert str(caught.value) == (
        f"{partition.store}/partition=3: its manifest changes all the time; wait until those who "
        "write to the store are done"
    )
    looks[0], gone = 0, 1
    partition.put_together()  # someone else does
    assert manifest(partition) == ["1.line", "2.line"]


# --- what was begun, and what nobody counts ----------------------------------


def test_who_began_with_a_batch_is_counted_until_it_is_done(partition: Partition) -> None:
    for who, key in (("x", "1"), ("y", "1"), ("x", "11")):
        path = partition.begun_by(who, key)
        assert path == f"partition=3/begun/{key}.{who}"
        partition.store.write(path, b"")
    assert (partition.begun("1"), partition.begun("11"), partition.begun("2")) == (2, 1, 0)
    partition.forget("1")
    assert (partition.begun("1"), partition.begun("11")) == (0, 1)


def test_files_that_nobody_counts(partition: Partition) -> None:
    assert partition.strays() == []
    partition.commit("1", line("1", "a"))
    for name in (
        "parts/1.aa.mel.npy", "parts/1.bb.mel.npy", "begun/1.x", "manifest/.2.line.ab.part",
    ):  # fmt: skip
        partition.store.write(f"partition=3/{name}", b"12345")
    assert partition.strays() == [
        "partition=3/parts/1.bb.mel.npy",
        "partition=3/begun/1.x",
        "partition=3/manifest/.2.line.ab.part",
    ]


# --- catalogues and quarantine -----------------------------------------------


def test_what_the_source_says_is_kept_by_partition(partition: Partition) -> None:
    assert partition.catalogue() is None
    first = Catalogue(("a",), ("/a",), {"genre_top": ["Rock"]}, "folder")
    partition.keep_catalogue(first)
    partition.keep_catalogue(Catalogue(("b",), ("/b",), {"split": ["test"]}, "manifest"))
    found = partition.catalogue()
    assert found is not None
    assert (found.ids, found.kind) == (("a", "b"), "manifest")
    assert found.columns == {"genre_top": ["Rock", None], "split": [None, "test"]}
    partition.store.write("partition=3/catalogue.json", b'{"id": 3}')
    with pytest.raises(DataError, match=r"partition=3/catalogue\.json: cannot be read \(.*once th"):
        partition.catalogue()


def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    partition = Partition(Place(tmp_path), 0)
    catalogue = Catalogue(("a",), ("/a",), {}, "folder")
    partition.keep_catalogue(catalogue)
    partition.commit("1", line("1", failed=("a",)))
    partition.write_quarantine(partition.journal())
    paths = [tmp_path / "partition=0" / name for name in ("catalogue.json", "quarantine.csv")]
    before = [path.stat().st_ino for path in paths]
    partition.keep_catalogue(catalogue)
    partition.write_quarantine(partition.journal())
    assert [path.stat().st_ino for path in paths] == before


def test_the_quarantine_of_a_partition(partition: Partition) -> None:
    partition.write_quarantine(partition.journal())
    assert partition.store.names("partition=3") == {}  # nothing to tell
    partition.commit("1", line("1", failed=("a",)))
    partition.write_quarantine(partition.journal())
    assert partition.store.read("partition=3/quarantine.csv") == (
        b"id,path,error,reason\r\na,/x,AudioError,why\r\n"
    )
    partition.commit("2", line("2", "a"))
    partition.write_quarantine(partition.journal())
    assert partition.store.read("partition=3/quarantine.csv") == b"id,path,error,reason\r\n"


def test_all_partitions_read_as_one_store(tmp_path: Path) -> None:
    store = Place(tmp_path)
    assert read_catalogues(store, 3) is None
    zero, two = Partition(store, 0), Partition(store, 2)
    zero.commit("1", line("1", "a", "b"))
    zero.commit("2", line("2", failed=("c",)))
    two.commit("1", line("1", "d", "e"))
    zero.keep_catalogue(Catalogue(("a", "b"), ("/a", "/b"), {"x": [1, 2]}, "FMA"))
    two.keep_catalogue(Catalogue(("d",), ("/d",), {"y": [3]}, "folder", simulated=True))
    whole = read_all(store, 3)
    assert list(whole.rows) == ["a", "b", "d", "e"]
    assert list(whole.failures) == ["c"]
    assert whole.places == {"a": (0, 0), "b": (0, 1), "d": (2, 0), "e": (2, 1)}
    assert [part.number for part in whole.parts] == [0, 1, 2]
    assert whole.parts[2].files == {"partition=2/parts/1.aa.mel.npy": (5, "bb")}
    assert [part.ids for part in whole.parts] == [("a", "b"), (), ("d", "e")]
    assert whole.folder == tmp_path
    some = read_all(store, 3, only=[2])
    assert some.places == {"d": (0, 0), "e": (0, 1)}
    found = read_catalogues(store, 3)
    assert found is not None
    assert (found.ids, found.paths) == (("a", "b", "d"), ("/a", "/b", "/d"))
    assert found.columns == {"x": [1, 2, None], "y": [None, None, 3]}
    assert (found.kind, found.simulated) == ("FMA", True)
    store.write("store.json", b'{"a": 1}')
    assert describe(store) == {"a": 1}


def test_the_partition_is_that_of_the_store_wherever_the_store_is(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import numpy as np
    import pyarrow.dataset

    from genrescope.audio.store.parts import descriptor_dataset, descriptor_parquet

    store = Place(tmp_path / "partition=99" / "s")
    for number in (2, 3):
        values = np.full((2, 518), number, np.float32)
        data = descriptor_parquet([f"{number}a", f"{number}b"], values)
        store.write(f"partition={number}/parts/x.parquet", data)
    files = [f"partition={number}/parts/x.parquet" for number in (2, 3)]
    for whole, mixed, expected in (
        (files, [], {"2a": 2, "2b": 2, "3a": 3, "3b": 3}),
        (files[:1], [(files[1], [1])], {"2a": 2, "2b": 2, "3b": 3}),
    ):
        found = descriptor_dataset(store, whole, mixed, partitioned=True)
        table = found.to_table()
        assert dict(zip(*(table[n].to_pylist() for n in ("id", "partition")), strict=True)) == (
            expected
        )
        assert str(table.schema.field("partition").type) == "int32"
        some = found.to_table(columns=["id"], filter=pyarrow.dataset.field("partition") == 2)
        assert some["id"].to_pylist() == ["2a", "2b"]
    plain = descriptor_dataset(store, files[:1], [(files[1], [1, 0])], partitioned=False)
    assert plain.to_table()["id"].to_pylist() == ["2a", "2b", "3a", "3b"]
    assert plain.schema.names[-1] != "partition"
