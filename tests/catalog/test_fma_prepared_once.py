"""FMA's tables are made once, again where something changed, and never by half."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from genrescope.catalog import fma
from genrescope.catalog.fma_simulate import simulate
from genrescope.errors import DataError, MissingExtraError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    simulate(tmp_path, tracks=40, genres=4, audio=None)
    return tmp_path


def test_a_second_run_does_nothing_and_a_change_remakes_its_table(archive: Path) -> None:
    first = fma.prepare(archive)
    assert [(t.name, t.columns, t.made) for t in first.tables] == [
        ("tracks", 53, True),
        ("genres", 5, True),
        ("features", 519, True),
        ("echonest", 250, True),
    ]

    def times() -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in first.folder.iterdir()}

    before = times()
    second = fma.prepare(archive)
    assert [t.made for t in second.tables] == [False] * 4
    assert times() == before
    source = archive / "fma_metadata"
    os.utime(source / "tracks.csv", ns=(1, 1))  # touched, the same content
    assert not any(t.made for t in fma.prepare(archive).tables)
    text = (source / "tracks.csv").read_text()
    (source / "tracks.csv").write_text(text.replace("Nowhere", "Nothere"))
    assert [t.name for t in fma.prepare(archive).tables if t.made] == ["tracks"]
    (first.folder / "features.parquet").write_bytes(b"cut short")
    with pytest.raises(DataError, match="not as it was written"):
        fma.load_features(archive)
    assert [t.name for t in fma.prepare(archive).tables if t.made] == ["features"]
    assert all(t.made for t in fma.prepare(archive, force=True).tables)
    (first.folder / "prepared.json").write_text('{"format": 1, "tab')
    assert all(t.made for t in fma.prepare(archive).tables)


def test_a_run_that_is_stopped_keeps_the_tables_it_made(archive: Path) -> None:
    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "features":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fma.prepare(archive, report=stop)
    folder = archive / "fma_metadata" / "prepared"
    assert {p.name for p in folder.iterdir()} == {
        *("tracks.parquet", "genres.parquet", "prepared.json"),
    }
    left = folder / ".features.parquet.1.part"  # of a run that was killed
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    done = fma.prepare(archive)
    assert [t.name for t in done.tables if t.made] == ["features", "echonest"]
    assert not left.exists()
    for name in ("tracks", "features"):
        metadata = pq.read_schema(folder / f"{name}.parquet").metadata
        assert metadata[b"genrescope.simulated"] == b"true"


def test_what_was_there_stays_when_a_new_file_is_damaged(archive: Path) -> None:
    fma.prepare(archive)
    (archive / "fma_metadata/tracks.csv").write_text("damaged")
    with pytest.raises(DataError):
        fma.prepare(archive)
    assert len(fma.load_tracks(archive)) == 40


def test_features_by_group_and_id(archive: Path) -> None:
    fma.prepare(archive)
    every = fma.load_features(archive)
    assert every.values.shape == (40, 518)
    assert every.values.dtype == np.float32
    assert np.isfinite(every.values).all()
    assert len(fma.load_features(archive, groups=["mfcc"]).names) == 140
    wanted = every.track_id[[7, 3, 7]]
    some = fma.load_features(archive, groups=["mfcc_mean", "zcr"], track_id=wanted)
    assert some.names == tuple(n for n in every.names if n.startswith(("mfcc_mean_", "zcr_")))
    at = [every.names.index(n) for n in some.names]
    assert np.array_equal(some.values, every.values[[7, 3, 7]][:, at])
    with pytest.raises(DataError, match=r"'mfc' is the head of no column.*chroma_cens, chroma_cqt"):
        fma.load_features(archive, groups=["mfc"])
    with (archive / "fma_metadata/features.csv").open() as file:
        last = list(csv.reader(file))[-1]
    assert np.array_equal(every.values[-1], np.array(last[1:], dtype=np.float32))


def test_echonest_leaves_out_what_is_no_number(archive: Path) -> None:
    fma.prepare(archive)
    table = fma.load_echonest(archive)
    assert table.values.shape == (10, 242)
    assert {"danceability", "artist_discovery_rank", "temporal_features_223"} <= set(table.names)
    assert np.isnan(table.values[:, table.names.index("song_currency_rank")]).any()


def test_without_pyarrow_the_install_line_is_named(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'pip install "genrescope\[lab\]"'):
        fma.prepare(archive)
