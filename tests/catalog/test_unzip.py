"""Zip archives that are whole, cut short, damaged, or made to do harm."""

from __future__ import annotations

import io
import os
import random
import shutil
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrescope.catalog import storage, unzip
from genrescope.catalog.storage import DiskSpaceError
from genrescope.catalog.unzip import Limits, Unpacked
from genrescope.errors import DataError

NOISE = random.Random(1).randbytes(300_000)
FILES = {"fma/tracks.csv": b"a,b\n" * 9000, "fma/000/000002.mp3": NOISE, "fma/empty": b""}
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


def make(
    path: Path, files: dict[str, bytes] | None = None, *, method: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo("fma/"), b"")
        for name, data in (FILES if files is None else files).items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, data)
    return path


def found(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path, to: Path, match: str, **limits: float) -> None:
    with pytest.raises(DataError, match=match):
        unzip.unzip(archive, to=to, limits=Limits(**limits))  # type: ignore[arg-type]
    assert not to.exists()


@pytest.mark.parametrize("method", METHODS)
def test_members_of_each_method(tmp_path: Path, method: int) -> None:
    archive = make(tmp_path / "a.zip", method=method)
    told: list[tuple[str, int, int | None]] = []
    done = unzip.unzip(archive, to=tmp_path / "new" / "out", report=lambda *args: told.append(args))
    assert done == Unpacked(3, 0, ())
    assert found(tmp_path / "new" / "out") == FILES
    size = sum(map(len, FILES.values()))
    assert told[-1] == ("unpack", size, size)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    archive, out = make(tmp_path / "a.zip"), tmp_path / "out"
    unzip.unzip(archive, to=out)
    (out / "fma/tracks.csv").unlink()
    (out / "fma/.tracks.csv.part").write_bytes(b"half")  # what a kill leaves
    damaged = bytearray(NOISE)
    damaged[1000] ^= 1  # the right size, as after a power cut
    (out / "fma/000/000002.mp3").write_bytes(damaged)
    (out / "fma/mine.txt").write_text("not of the archive")
    assert unzip.unzip(archive, to=out) == Unpacked(2, 1, ())
    assert found(out) == {**FILES, "fma/mine.txt": b"not of the archive"}
    assert unzip.unzip(archive, to=out) == Unpacked(0, 3, ())


# --- out of the folder ---


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "fma/../../evil", "/etc/evil", "C:/evil", "c:evil", "..", "fma/./a", "fma//a"),
        *("fma\\..\\..\\evil", "\\\\host\\share\\evil", "fma/a\nb", "a\x00b", ".", "//"),
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "a.zip"
    info = zipfile.ZipInfo("x" * len(name))
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("fma/good", b"good")
        opened.writestr(info, b"evil")
    data = archive.read_bytes().replace(b"x" * len(name), name.encode())
    archive.write_bytes(data)
    refused(archive, tmp_path / "deep" / "out", "outside the folder, or nowhere")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    archive, info = tmp_path / "a.zip", zipfile.ZipInfo("fma/link")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(info, b"/etc/passwd")
    refused(archive, tmp_path / "out", "is a link or a device")


def test_links_on_the_disk_are_not_followed(tmp_path: Path) -> None:
    archive, out, outside = make(tmp_path / "a.zip"), tmp_path / "out", tmp_path / "outside"
    (out / "fma").mkdir(parents=True)
    outside.mkdir()
    (out / "fma" / "000").symlink_to(outside, target_is_directory=True)
    with pytest.raises(DataError, match="is a link"):
        unzip.unzip(archive, to=out)
    assert not list(outside.iterdir())
    (out / "fma" / "000").unlink()
    victim = outside / "victim"
    victim.write_bytes(b"mine")
    (out / "fma" / "tracks.csv").unlink()
    (out / "fma" / "tracks.csv").symlink_to(victim)
    (out / "fma" / ".tracks.csv.part").symlink_to(victim)
    assert not unzip.unzip(archive, to=out).failed
    assert victim.read_bytes() == b"mine"
    assert found(out) == FILES


def test_members_elsewhere_than_expected_are_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"other/x": b""})
    with pytest.raises(DataError, match="not in the folder fma/"):
        unzip.unzip(archive, to=tmp_path, inside="fma")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["fma/a", "fma/a"], "there twice"),
        (["fma/a", "fma/A"], "there twice"),
        (["fma/a", "fma/a/b"], "a file and a folder"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_overwrite_each_other_are_refused(
    tmp_path: Path, names: list[str], match: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        for name in names:
            opened.writestr(name, b"x")
    refused(tmp_path / "a.zip", tmp_path / "out", match)


# --- bombs ---


@pytest.mark.parametrize("method", METHODS[1:])
def test_an_archive_that_declares_too_much_is_refused(tmp_path: Path, method: int) -> None:
    archive = make(tmp_path / "a.zip", {"fma/zeros": bytes(20_000_000)}, method=method)
    refused(archive, tmp_path / "out", "more than 50 times that")
    assert unzip.unzip(archive, to=tmp_path / "out", limits=Limits(max_ratio=1e6)).written == 1


def test_one_clip_of_silence_is_no_bomb(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"fma/music": NOISE, "fma/silence": bytes(10_000_000)})
    assert unzip.unzip(archive, to=tmp_path / "out").written == 2


def test_limits_on_all_members_together(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip")
    refused(archive, tmp_path / "out", r"unpacks to 336\.0 kB, more than 300", max_bytes=300_000)
    refused(archive, tmp_path / "out", "has 4 members, more than 3", max_members=3)


def _patched(archive: Path, *, size: int | None = None, crc: int | None = None) -> Path:
    """The same archive whose last member says another size or CRC, in both headers."""
    data = bytearray(archive.read_bytes())
    for magic, at_crc, at_size in ((b"PK\x03\x04", 14, 22), (b"PK\x01\x02", 16, 24)):
        at = data.rfind(magic)
        if size is not None:
            data[at + at_size : at + at_size + 4] = struct.pack("<I", size)
        if crc is not None:
            data[at + at_crc : at + at_crc + 4] = struct.pack("<I", crc)
    archive.write_bytes(data)
    return archive


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_member_that_unpacks_to_more_than_it_says(tmp_path: Path, method: int) -> None:
    files = {"fma/good": b"good", "fma/bomb": bytes(200_000_000)}  # 200 MB in 200 kB or less
    archive = _patched(make(tmp_path / "a.zip", files, method=method), size=1000)
    del files
    tracemalloc.start()
    done = unzip.unzip(archive, to=tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.failed == (("fma/bomb", "unpacks to more than the 1000 bytes it says"),)
    assert found(tmp_path / "out") == {"fma/good": b"good"}
    assert peak < 20_000_000


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"fma/a": NOISE, "fma/b": NOISE[:10]})
    data = bytearray(archive.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    offset = data.find(b"PK\x03\x04", 20)  # of fma/a
    data[at + 42 : at + 46] = struct.pack("<I", offset)
    archive.write_bytes(data)
    refused(archive, tmp_path / "out", "overlap")


# --- damage ---


def test_a_wrong_checksum_costs_that_member_only(tmp_path: Path) -> None:
    archive = _patched(make(tmp_path / "a.zip", {**FILES, "fma/last": b"last"}), crc=1)
    done = unzip.unzip(archive, to=tmp_path / "out")
    assert done.written == 3
    assert len(done.failed) == 1
    assert done.failed[0][0] == "fma/last"
    assert "CRC-32 is" in done.failed[0][1]
    assert found(tmp_path / "out") == FILES


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_size_costs_that_member_only(tmp_path: Path, method: int, size: int) -> None:
    archive = make(tmp_path / "a.zip", {**FILES, "fma/last": b"last"}, method=method)
    done = unzip.unzip(_patched(archive, size=size), to=tmp_path / "out")
    assert [name for name, _ in done.failed] == ["fma/last"]
    assert found(tmp_path / "out") == FILES


@pytest.mark.parametrize("method", METHODS)
def test_flipped_bytes_cost_that_member_only(tmp_path: Path, method: int) -> None:
    archive = make(tmp_path / "a.zip", method=method)
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        start = opened.getinfo("fma/000/000002.mp3").header_offset
    for at in range(start + 100_000, start + 100_200):
        data[at] ^= 0xFF
    archive.write_bytes(data)
    done = unzip.unzip(archive, to=tmp_path / "out")
    assert [name for name, _ in done.failed] == ["fma/000/000002.mp3"]
    assert set(found(tmp_path / "out")) == FILES.keys() - {"fma/000/000002.mp3"}


def test_unknown_methods_and_long_names_cost_that_member_only(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("fma/lzma", b"x" * 99, zipfile.ZIP_LZMA)
        opened.writestr("fma/" + "long" * 70, b"x")
        opened.writestr("fma/good", b"good")
    done = unzip.unzip(tmp_path / "a.zip", to=tmp_path / "out")
    assert [why.split()[0] for _, why in done.failed] == ["is", "cannot"]
    assert found(tmp_path / "out") == {"fma/good": b"good"}


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip")
    data = bytearray(archive.read_bytes())
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    refused(archive, tmp_path / "out", "encrypted")


@pytest.mark.parametrize("keep", [0, 3, 100, 300_000])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    archive = make(tmp_path / "a.zip")
    archive.write_bytes(archive.read_bytes()[:keep])
    refused(archive, tmp_path / "out", "damaged or cut short")
    refused(tmp_path / "none.zip", tmp_path / "out", "cannot be read: No such file")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6))
def test_damage_anywhere_never_writes_a_wrong_file_or_one_elsewhere(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    root = tmp_path / "any"
    shutil.rmtree(root, ignore_errors=True)
    out = root / "deep" / "out"
    out.mkdir(parents=True)
    files = {"fma/a": b"aaaa" * 50, "fma/b": NOISE[:500]}
    data = bytearray(make(root / "a.zip", files, method=zipfile.ZIP_BZIP2).read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    (root / "a.zip").write_bytes(data)
    try:
        unzip.unzip(root / "a.zip", to=out)
    except DataError:
        assert not found(out)
    assert {p.name for p in root.iterdir()} == {"a.zip", "deep"}
    assert {p.name for p in (root / "deep").iterdir()} == {"out"}
    assert set(found(out).values()) <= set(files.values()) | {b""}


# --- the disk ---


def test_room_is_checked_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, out = make(tmp_path / "a.zip"), tmp_path / "out"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        storage.shutil, "disk_usage", lambda path: usage._replace(free=(64 << 20) + 100_000)
    )
    with pytest.raises(DiskSpaceError, match=r"Unpacking a\.zip needs"):
        unzip.unzip(archive, to=out)
    assert not out.exists()
    (out / "fma/000").mkdir(parents=True)
    (out / "fma/000/000002.mp3").write_bytes(NOISE)
    assert unzip.unzip(archive, to=out) == Unpacked(2, 1, ())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    archive, out = make(tmp_path / "a.zip"), tmp_path / "out"
    out.mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot be written: Permission denied"):
        unzip.unzip(archive, to=out)
