"""A store of partitions: order, room, and what it refuses."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.scale import Threads, parse_local
from genrescope.audio.store import FeatureStore
from genrescope.audio.store.journal import Failure, write_line
from genrescope.audio.store.partitions import Partition, partition_of, partitions_for, read_all
from genrescope.audio.store.place import Place
from genrescope.audio.store.recipe import Recipe
from genrescope.audio.store.sources import find_tracks
from genrescope.audio.store.verify import verify
from genrescope.audio.store.write import Extraction, extract
from genrescope.errors import DataError
from tests.audio.scaled import MEL, audit, scaled
from tests.audio.stores import SHORT, fill, write_tone

# --- the store ---------------------------------------------------------------


def test_many_batches_leave_few_files_and_all_lines(tmp_path: Path) -> None:
    partition = Partition(Place(tmp_path), 0)
    most = 0
    for number in range(200):
        failure = Failure(str(number), "/x", -1, -1, -1, "AudioError", "why")
        key = f"{number + 1:06d}-000000-ab"
        partition.commit(key, write_line(key, files={}, rows=(), failures=[failure]))
        partition.put_together()
        most = max(most, len(list((tmp_path / "partition=0" / "manifest").iterdir())))
    assert most <= 9  # 1 + log2(200)
    assert list(partition.lines()) == [f"{n + 1:06d}-000000-ab" for n in range(200)]


def test_a_later_run_counts_more_than_an_earlier_one(many: Path, tmp_path: Path) -> None:
    """A worker of a run that was killed may commit after the next run did the same tracks."""
    some = find_tracks(many).taken(range(4))
    scaled(some, tmp_path / "s", Threads(1), partitions=1)
    partition = Partition(Place(tmp_path / "s"), 0)
    ((key, line),) = partition.lines().items()
    parts = {p.name: p.read_bytes() for p in (tmp_path / "s/partition=0/parts").iterdir()}
    (tmp_path / f"s/partition=0/manifest/{key}.line").unlink()
    scaled(some, tmp_path / "s", Threads(1), partitions=1)
    (new,) = partition.lines()
    for name, data in parts.items():
        partition.store.write(f"partition=0/parts/{name}", data)
    partition.commit(key, line)
    store = FeatureStore.open(tmp_path / "s")
    assert len(store) == 4
    at = [part for part, _ in store.journal.places.values()]
    assert {store.journal.parts[n].file("mel") for n in at} == {
        file for file in store.journal.parts[at[0]].files if new in file
    }


def test_a_track_is_in_one_partition_for_good() -> None:
    assert [partition_of(name, 16) for name in ("000002", "a/b.mp3", "ö")] == [
        partition_of(name, 16) for name in ("000002", "a/b.mp3", "ö")
    ]
    spread = Counter(partition_of(str(i), 16) for i in range(16_000))
    assert len(spread) == 16
    assert 850 < min(spread.values()) <= max(spread.values()) < 1150
    assert [partitions_for(n) for n in (0, 10_000, 10_001, 10**6)] == [1, 1, 2, 128]


def test_stores_of_two_kinds_do_not_mix(music: Path, tmp_path: Path, threads: Threads) -> None:
    fill(music, tmp_path / "alone", recipe=MEL)
    with pytest.raises(DataError, match="without partitions"):
        scaled(music, tmp_path / "alone", threads)
    scaled(music, tmp_path / "s", threads)
    with pytest.raises(DataError, match="a store of partitions"):
        extract(find_tracks(music), tmp_path / "s", how=Extraction(MEL), workers=0)
    with pytest.raises(DataError, match="has 4 partitions, for good"):
        scaled(music, tmp_path / "s", threads, partitions=8)
    with pytest.raises(DataError, match="other parameters"):
        scaled(music, tmp_path / "s", threads, recipe=Recipe(("mel",), seconds=2.0))
    assert len(read_all(Place(tmp_path / "s"), 4).rows) == 7


@pytest.mark.parametrize("text", ["remote:2", "local:0", "local:-1", "local:x", "2"])
def test_a_cluster_that_is_none_is_said(text: str) -> None:
    with pytest.raises(DataError, match="cluster is"):
        parse_local(text)
    assert parse_local("local:3") == 3


def test_a_store_in_memory_is_one_of_any_url(music: Path, threads: Threads) -> None:
    url = f"memory://{os.urandom(4).hex()}/store"
    done = scaled(music, url, threads, recipe=SHORT)
    store = audit(url, done.rows)
    assert store.mel([2, 0]).shape == (2, 128, 44)
    assert store.descriptors().values.shape == (done.rows, 518)
    assert scaled(music, url, threads, recipe=SHORT).kept == done.added
    # What is damaged there is found there.
    place, file = Place(url), store.file(0, "mel")
    place.write(file, place.read(file)[:-1] + b"?")
    assert any("SHA-256" in problem for problem in verify(url).problems)


@pytest.mark.parametrize("partitions", [0, 3])
def test_descriptors_read_as_one_dataset_of_what_counts(
    music: Path, tmp_path: Path, threads: Threads, partitions: int
) -> None:
    copy = Path(shutil.copytree(music, tmp_path / "copy"))
    recipe = Recipe(("descriptors",), seconds=1.0)

    def run() -> None:
        if partitions:
            scaled(copy, tmp_path / "s", threads, recipe=recipe, partitions=partitions)
        else:
            fill(copy, tmp_path / "s", recipe=recipe)

    run()
    write_tone(copy / "1.wav", seed=77)  # its earlier row does not count any more
    run()
    store = FeatureStore.open(tmp_path / "s")
    table = store.dataset().to_table()
    assert sorted(table["id"].to_pylist()) == sorted(store.ids.tolist())
    expected = store.descriptors()
    order = [table["id"].to_pylist().index(id_) for id_ in expected.ids.tolist()]
    names = (expected.names[0], expected.names[-1])
    for name in names:
        found = table[name].to_numpy()[order]
        np.testing.assert_array_equal(found, expected.values[:, expected.names.index(name)])
    if partitions:
        shares = dict(zip(table["id"].to_pylist(), table["partition"].to_pylist(), strict=True))
        assert shares == {id_: partition_of(id_, partitions) for id_ in shares}
    fill(copy, tmp_path / "mel", recipe=MEL)
    with pytest.raises(DataError, match="no descriptors"):
        FeatureStore.open(tmp_path / "mel").dataset()


def test_a_dataset_of_a_store_at_a_url(music: Path, threads: Threads) -> None:
    pytest.importorskip("fsspec")
    recipe = Recipe(("descriptors",), seconds=1.0)
    scaled(find_tracks(music).taken(range(3)), "memory://dataset", threads, recipe=recipe)
    store = FeatureStore.open("memory://dataset")
    assert sorted(store.dataset().to_table()["id"].to_pylist()) == sorted(store.ids.tolist())
