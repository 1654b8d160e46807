"""Fetching FMA's archives: resumed, checked, unpacked once, with what is damaged set aside."""

from __future__ import annotations

import csv
import hashlib
import random
import struct
import zipfile
from pathlib import Path

import pytest

from genrescope.catalog import fma
from genrescope.errors import ChecksumError, DataError, DownloadError
from tests.catalog.web import Way, serving

FILES = {
    "fma_small/README.txt": b"read me",
    "fma_small/000/000002.mp3": random.Random(1).randbytes(400_000),
    "fma_small/155/155066.mp3": random.Random(2).randbytes(300_000),
}


def archive(path: Path, files: dict[str, bytes] | None = None) -> tuple[Path, str]:
    """A zip file, some members packed with bzip2 as in FMA's; and its SHA-1."""
    with zipfile.ZipFile(path, "w") as opened:
        for at, (name, data) in enumerate((files or FILES).items()):
            method = (zipfile.ZIP_BZIP2, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[at % 3]
            opened.writestr(name, data, method)
    return path, hashlib.sha1(path.read_bytes()).hexdigest()


def found(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_the_archives_are_the_published_ones() -> None:
    assert {name: a.sha1 for name, a in fma.ARCHIVES.items()} == {
        "metadata": "f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
        "small": "ade154f733639d52e35e32f5593efe5be76c6d70",
        "medium": "c67b69ea232021025fca9231fc1c7c1a063ab50b",
        "large": "497109f4dd721066b5ce5e5f250ec604dc78939e",
        "full": "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab",
    }
    assert fma.ARCHIVES["small"].url == "https://os.unil.cloud.switch.ch/fma/fma_small.zip"
    assert list(fma.ARCHIVES) == sorted(fma.ARCHIVES, key=lambda n: fma.ARCHIVES[n].size)


@pytest.mark.parametrize("folder", [False, True])
def test_fetch_from_a_flaky_mirror(
    tmp_path: Path, folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrescope.catalog.download.time.sleep", lambda seconds: None)
    path, sha1 = archive(tmp_path / "a.zip")
    out = tmp_path / "out"
    with serving(path.read_bytes(), Way(drop_after=200_000), Way(status=503), Way()) as web:
        url = web.url.removesuffix("file.zip") if folder else web.url
        done = fma.fetch("small", to=out, source=url, sha1=sha1.upper())
        assert done.archive == out / "fma_small.zip"
        assert done.folder == out / "fma_small"
        assert found(done.folder) == FILES
        again = fma.fetch("small", to=out, source=url, sha1=sha1)
    assert len(web.asked) == 3
    assert again.unpacked is None
    assert done.quarantine is None


def test_the_official_checksum_is_the_default(tmp_path: Path) -> None:
    path, _ = archive(tmp_path / "a.zip")
    with (
        serving(path.read_bytes()) as web,
        pytest.raises(ChecksumError, match="Run `genrescope fma fetch small` again"),
    ):
        fma.fetch("small", to=tmp_path / "out", source=web.url)
    with pytest.raises(ChecksumError, match=fma.ARCHIVES["small"].sha1):
        fma.fetch("small", to=tmp_path / "out", source=path)
    assert not (tmp_path / "out" / "fma_small").exists()


def test_an_archive_that_is_here_is_not_fetched_moved_or_removed(tmp_path: Path) -> None:
    path, sha1 = archive(tmp_path / "a.zip")
    done = fma.fetch("small", to=tmp_path / "out", source=path, sha1=sha1, keep="folder")
    assert done.folder is not None
    assert found(done.folder) == FILES
    assert path.exists()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["fma_small"]


def test_an_archive_need_not_be_unpacked_or_kept(tmp_path: Path) -> None:
    path, sha1 = archive(tmp_path / "a.zip")
    out = tmp_path / "out"
    with serving(path.read_bytes()) as web:
        done = fma.fetch("small", to=out, source=web.url, sha1=sha1, keep="archive")
        assert done.folder is None
        assert [p.name for p in out.iterdir()] == ["fma_small.zip"]
        fma.fetch("small", to=out, source=web.url, sha1=sha1, keep="folder")
        assert [p.name for p in out.iterdir()] == ["fma_small"]
        assert fma.fetch("small", to=out, source=web.url, sha1=sha1).unpacked is None
        assert len(web.asked) == 1


def test_unpacking_that_was_stopped_goes_on(tmp_path: Path) -> None:
    path, sha1 = archive(tmp_path / "a.zip")

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "unpack":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fma.fetch("small", to=tmp_path, source=path, sha1=sha1, report=stop)
    done = fma.fetch("small", to=tmp_path, source=path, sha1=sha1)
    assert done.unpacked is not None
    assert (done.unpacked.kept, done.unpacked.written) == (1, 2)


def test_damaged_members_are_listed_and_not_tried_forever(tmp_path: Path) -> None:
    path, _ = archive(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 1)  # the second member's entry
    data[at + 16 : at + 20] = struct.pack("<I", 7)
    path.write_bytes(data)
    sha1 = hashlib.sha1(data).hexdigest()
    for _ in range(2):
        done = fma.fetch("small", to=tmp_path, source=path, sha1=sha1)
        assert done.failed == 1
        assert done.quarantine == tmp_path / "fma_small" / "quarantine.csv"
        with done.quarantine.open(newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["member", "reason"]
        assert rows[1][0] == "fma_small/000/000002.mp3"
        assert "CRC-32" in rows[1][1]
    assert done.unpacked is None
    assert not (tmp_path / "fma_small/000/000002.mp3").exists()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    path, sha1 = archive(tmp_path / "a.zip")
    with pytest.raises(DataError, match="none of FMA's archives, metadata, small"):
        fma.fetch("tiny", to=tmp_path)
    with pytest.raises(DataError, match="no SHA-1"):
        fma.fetch("small", to=tmp_path, sha1="1234")
    with pytest.raises(DataError, match="keep is 'none'; give one of both, folder, archive"):
        fma.fetch("small", to=tmp_path, keep="none")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such file"):
        fma.fetch("small", to=tmp_path, source=tmp_path / "none.zip")
    with pytest.raises(DataError, match="not in the folder fma_medium/"):
        fma.fetch("medium", to=tmp_path, source=path, sha1=sha1)


def test_a_server_that_announces_a_far_too_large_file_is_refused(tmp_path: Path) -> None:
    with (
        serving(b"x", Way(length=9 << 30)) as web,
        pytest.raises(DownloadError, match=r"says that it has 9\.7 GB"),
    ):
        fma.fetch("small", to=tmp_path, source=web.url)


def test_audio_paths_are_of_the_six_digit_id() -> None:
    assert fma.audio_path(2) == "000/000002.mp3"
    assert fma.audio_path(98565) == "098/098565.mp3"
    assert fma.audio_path(155320) == "155/155320.mp3"
    for wrong in (-1, 1_000_000):
        with pytest.raises(DataError, match="at most six digits"):
            fma.audio_path(wrong)
