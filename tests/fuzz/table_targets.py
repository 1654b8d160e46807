"""Tables and archives."""

from __future__ import annotations

import io
import shutil
import struct
import zipfile
from collections.abc import Callable

from tests.fuzz.common import Target, put, workspace


def _fma(table: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        from genrescope.catalog.fma_tables import Unreadable, batches, read_header

        path = put(data, f"{table}.csv")
        header = read_header(path, table=table)
        for batch in batches(path, table=table, header=header, unreadable=Unreadable()):
            assert batch.num_columns == len(header.names)

    return run


def _rows(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


_TRACKS = _rows(
    ",album,album,artist,set,set,track,track,track,track,track,track,track",
    ",comments,date_created,latitude,split,subset,bit_rate,date_recorded,duration,genre_top,genres,"
    "tags,title",
    "track_id,,,,,,,,,,,,",
    '2,0,2008-11-26 01:44:45,40.05,training,small,256000,2008-11-26,168,Hip-Hop,"[21, 10]",'
    "\"['a', 'b']\",Food",
    '3,-1,11/26/2008 1:44,,test,large,x,,-1,,[],"[""it\'s"", \'\\u00e9\']","two\nlines, ""q"""',
)
_GENRES = _rows(
    "genre_id,#tracks,parent,title,top_level", "1,8693,38,Avant-Garde,38", "38,9,0,Experimental,38"
)
_FEATURES = _rows(
    "feature,mfcc,mfcc", "statistics,mean,std", "number,01,01", "track_id,,", "2,1.5,-2e3", "3,,0"
)
_ECHONEST = _rows(
    ",echonest,echonest,echonest",
    ",audio_features,metadata,ranks",
    ",danceability,album_name,artist_hotttnesss_rank",
    "track_id,,,",
    "2,0.5,Name,3",
)
_TABLE_WORDS = (
    b",", b"\n", b"\r\n", b'"', b'""', b"[", b"]", b"'", b"\\", b"nan", b"inf", b"-1", b"1e400",
    b"9" * 30, b"\xef\xbb\xbf", b"\0", b"0x1F", b"['\\ud800']", b"[[", b"track_id", b"genre_id",
    b"2008-11-26 01:44:45", b"9999-12-31", b"-",
)  # fmt: skip


def _manifest(data: bytes) -> None:
    from genrescope.catalog.folders import read_manifest

    table = read_manifest(put(data, "manifest.csv"))
    assert all(table["path"])


def _manifest_seeds() -> list[bytes]:
    return [
        _rows("path,genre,title,duration", "a.mp3,Rock,One,12.5", "b/c.mp3,Pop|Folk,Two,"),
        _rows("track_id;path;genre_top;split;subset", "2;a.mp3;Rock;training;small"),
        _rows("path\tgenres", "x.mp3\t['Rock', 'Pop']", "y.mp3\t[21]"),
        "path,artist_name\nä.mp3,=1+1\n".encode("latin-1"),
    ]


def _unzip(data: bytes) -> None:
    from genrescope.catalog.unzip import Limits, unzip

    around = workspace() / "zip"
    shutil.rmtree(around, ignore_errors=True)
    root = around / "to"
    root.mkdir(parents=True)
    try:
        unzip(put(data, "a.zip"), to=root, limits=Limits(max_bytes=1 << 24))
    finally:
        assert [entry.name for entry in around.iterdir()] == ["to"], "outside the folder"
        for entry in root.rglob("*"):
            assert not entry.is_symlink()
            assert entry.is_dir() or entry.is_file()


def _zip_seeds() -> list[bytes]:
    out = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as opened:
            opened.writestr("a/b.txt", b"text " * 50)
            opened.writestr("a/c.txt", bytes(300))
            link = zipfile.ZipInfo("a/link")
            if method == zipfile.ZIP_STORED:
                link.external_attr = 0o120777 << 16
                opened.writestr(link, "../../x")
        out.append(buffer.getvalue())
    return [*out, out[1] + out[1], out[1].replace(b"a/b.txt", b"../.txt")]


_ZIP_WORDS = (
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"../", b"..\\", b"/", b"C:",
    struct.pack("<I", 0xA1FF0000), b"\x08\0", b"\x0c\0", b"\0\0",
)  # fmt: skip


TARGETS = (
    Target("tracks", "tracks.csv", _fma("tracks"), lambda: [_TRACKS], _TABLE_WORDS),
    Target("fma-genres", "genres.csv", _fma("genres"), lambda: [_GENRES], _TABLE_WORDS),
    Target("features", "features.csv", _fma("features"), lambda: [_FEATURES], _TABLE_WORDS),
    Target("echonest", "echonest.csv", _fma("echonest"), lambda: [_ECHONEST], _TABLE_WORDS),
    Target("manifest", "tables of tracks", _manifest, _manifest_seeds, _TABLE_WORDS),
    Target("unzip", "archives", _unzip, _zip_seeds, _ZIP_WORDS),
)
