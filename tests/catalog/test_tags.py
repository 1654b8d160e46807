"""Tags: every format's way to write title, artist and genres, and tags that are broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.id3 import ID3, TALB, TCON, TDOR, TDRC, TIT2, TPE1

from genrescope.catalog.tags import Tags, read_tags

NOISE = np.random.default_rng(0).normal(size=22_050).astype(np.float32) * 0.1


def sound(path: Path) -> Path:
    if path.suffix == ".opus":
        soundfile.write(path, NOISE, 48_000, format="OGG", subtype="OPUS")
    elif path.suffix == ".m4a":
        import av

        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("aac", rate=44_100, layout="mono")
            for start in range(0, 20_480, 1024):
                frame = av.AudioFrame.from_ndarray(
                    NOISE[None, start : start + 1024], format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = 44_100, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        soundfile.write(path, NOISE, 44_100)
    return path


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".opus", ".wav", ".aiff", ".m4a"])
def test_every_format(tmp_path: Path, suffix: str) -> None:
    path = sound(tmp_path / f"a{suffix}")
    assert read_tags(path) == Tags()
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    if suffix in (".mp3", ".wav", ".aiff"):
        file.tags.add(TIT2(text="Größe"))
        file.tags.add(TPE1(text=["One", "Two"]))
        file.tags.add(TCON(text=["Rock", "Folk"]))
        file.tags.add(TALB(text="One by One"))
        file.tags.add(TDRC(text="2016-03-01"))
        file.tags.add(TDOR(text="1969"))
    elif suffix == ".m4a":
        file["\xa9nam"], file["\xa9ART"], file["\xa9gen"] = (
            ["Größe"],
            ["One", "Two"],
            ["Rock", "Folk"],
        )
        file["\xa9alb"], file["\xa9day"] = ["One by One"], ["1969"]
    else:
        file["TITLE"], file["artist"], file["Genre"] = ["Größe"], ["One", "Two"], ["Rock", "Folk"]
        file["Album"], file["originaldate"], file["date"] = ["One by One"], ["1969"], ["2016"]
    file.save()
    assert read_tags(path) == Tags("Größe", "One, Two", ("Rock", "Folk"), "One by One", "1969")


def test_real_clips(fma_clips: list[Path], songs: list[Path]) -> None:
    found = {path.stem: read_tags(path) for path in [*fma_clips, *songs]}
    assert found["000002"] == Tags("Food", "AWOL", ("Hip-Hop",), "AWOL - A Way Of Life", "2008")
    assert found["000140"].artist == "Alec K Redfearn And The Eyesores"
    svitanya = found["SvitanyaSzerelem"]
    assert (svitanya.title, svitanya.artist, svitanya.genres) == (
        "Szerelem",
        "Svitanya",
        ("International",),
    )
    assert svitanya.date is not None
    assert svitanya.date.startswith("2017")
    assert all(tags.title for tags in found.values())


@pytest.mark.parametrize(
    ("written", "genres"),
    [
        (["Rock; Folk;rock"], ("Rock", "Folk")),
        (["Rock\0Folk"], ("Rock", "Folk")),
        (["Hip-Hop/Jazz"], ("Hip-Hop", "Jazz")),
        (["(17)"], ("Rock",)),
        (["17"], ("Rock",)),
        (["", "  "], ()),
    ],
)
def test_genres_in_one_string(tmp_path: Path, written: list[str], genres: tuple[str, ...]) -> None:
    path = sound(tmp_path / "a.mp3")
    tags = ID3()
    tags.add(TCON(encoding=3, text=written))
    tags.save(path)
    assert read_tags(path).genres == genres


def test_blank_and_endless_texts(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.mp3")
    tags = ID3()
    tags.add(TIT2(encoding=3, text=["  \n\t "]))
    tags.add(TPE1(encoding=3, text=["x" * 100_000]))
    tags.save(path)
    read = read_tags(path)
    assert read.title is None
    assert read.artist == "x" * 500


def test_no_file_no_tags(tmp_path: Path) -> None:
    assert read_tags(tmp_path / "nowhere.mp3") == Tags()
    (tmp_path / "text.mp3").write_text("not music at all")
    assert read_tags(tmp_path / "text.mp3") == Tags()
    assert read_tags(tmp_path) == Tags()


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 3000), junk=st.binary(min_size=1, max_size=40))
def test_damage_never_raises(
    fma_clips: list[Path], tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.mp3"
    data = bytearray(fma_clips[0].read_bytes()[:50_000])
    data[at : at + len(junk)] = junk
    path.write_bytes(data)
    assert isinstance(read_tags(path), Tags)
    shutil.rmtree(path.parent)
