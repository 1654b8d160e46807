"""Finding audio: order, links, patterns, odd names; genre folders; manifests."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.catalog.folders import (
    AUDIO_SUFFIXES,
    _natural,
    find_audio,
    read_manifest,
    scan_genre_folders,
)
from genrescope.errors import TableError


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(paths: object, root: Path) -> list[str]:
    return [p.relative_to(root).as_posix() for p in find_audio(paths)]  # type: ignore[arg-type]


# --- find_audio ----------------------------------------------------------------


def test_folders_are_searched_in_natural_order_files_first(tmp_path: Path) -> None:
    make(tmp_path, "10.mp3", "2.MP3", "b/x.flac", "B2/y.ogg", "a/9.wav", "a/10.wav", "a.opus")
    assert found(tmp_path, tmp_path) == [
        "2.MP3",
        "10.mp3",
        "a.opus",
        "a/9.wav",
        "a/10.wav",
        "b/x.flac",
        "B2/y.ogg",
    ]


def test_what_is_no_music_is_passed_over(tmp_path: Path) -> None:
    make(
        tmp_path,
        *("ok.mp3", "cover.jpg", "notes.txt", "mp3", ".hidden.mp3", "._ok.mp3", ".git/a.mp3"),
        *("__MACOSX/a.mp3", "@eaDir/ok.mp3/thumb.mp3"),
    )
    (tmp_path / "folder.mp3").mkdir()
    assert found([tmp_path], tmp_path) == ["ok.mp3"]


def test_every_suffix_is_lower_case_with_a_dot() -> None:
    assert all(s.startswith(".") and s == s.lower() for s in AUDIO_SUFFIXES)
    assert {".mp3", ".flac", ".wav", ".aiff", ".ogg", ".opus", ".m4a", ".wma"} <= AUDIO_SUFFIXES


def test_a_named_file_is_taken_whatever_it_is(tmp_path: Path) -> None:
    make(tmp_path, "track.dat", ".hidden.mp3")
    given = [tmp_path / "track.dat", tmp_path / ".hidden.mp3", tmp_path / "missing.mp3"]
    assert list(find_audio(given)) == given


def test_one_path_need_not_be_in_a_list(tmp_path: Path) -> None:
    make(tmp_path, "a.mp3")
    assert list(find_audio(str(tmp_path / "a.mp3"))) == [tmp_path / "a.mp3"]


def test_each_file_comes_once(tmp_path: Path) -> None:
    make(tmp_path, "d/a.mp3", "d/e/b.mp3")
    paths = [tmp_path / "d/e/b.mp3", tmp_path, tmp_path / "d", tmp_path / "d/../d/a.mp3"]
    assert found(paths, tmp_path) == ["d/e/b.mp3", "d/a.mp3"]


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "c.mp3")
    root = make(tmp_path / "root", "a.mp3", "sub/b.mp3")
    (root / "sub" / "up").symlink_to(root)
    (root / "sub" / "self").symlink_to("self")
    (root / "there").symlink_to(tmp_path / "elsewhere")
    (root / "z.mp3").symlink_to(root / "a.mp3")
    assert found(root, root) == ["a.mp3", "z.mp3", "sub/b.mp3", "there/c.mp3"]


def test_a_dangling_link_is_passed_on_and_a_pipe_is_not(tmp_path: Path) -> None:
    (tmp_path / "gone.mp3").symlink_to(tmp_path / "nowhere.mp3")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp3")
    assert found(tmp_path, tmp_path) == ["gone.mp3"]


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("*", ["a.mp3", "b.flac", "sub/c.mp3"]),
        ("*.mp3", ["a.mp3"]),
        ("**/*.mp3", ["a.mp3", "sub/c.mp3"]),
        ("[ab].*", ["a.mp3", "b.flac"]),
        ("?.flac", ["b.flac"]),
        ("*.dat", ["track2.dat", "track10.dat"]),
        ("s*", ["sub/c.mp3"]),
        ("*.none", ["*.none"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, files: list[str]) -> None:
    make(tmp_path, "a.mp3", "b.flac", "cover.jpg", "sub/c.mp3", "track10.dat", "track2.dat")
    assert found(tmp_path / pattern, tmp_path) == files


def test_what_can_be_no_name_is_no_pattern() -> None:
    assert [str(path) for path in find_audio("a\0/b*.mp3")] == ["a\0/b*.mp3"]


def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path: Path) -> None:
    make(tmp_path, "song [live].mp3", "song l.mp3")
    assert found(tmp_path / "song [live].mp3", tmp_path) == ["song [live].mp3"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "Music/a.mp3")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert found("~/Music", tmp_path) == ["Music/a.mp3"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_or_beyond_the_plane(tmp_path: Path) -> None:
    names = [b"caf\xe9.mp3", "🎧 mixé.mp3".encode(), b"new\nline.mp3"]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).touch()
    assert sorted(os.fsencode(p.name) for p in find_audio(tmp_path)) == sorted(names)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything"
)
def test_a_folder_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp3", "b/2.mp3", "c/3.mp3")
    (tmp_path / "b").chmod(0)
    try:
        reported: list[tuple[Path, OSError]] = []
        files = list(find_audio(tmp_path, on_error=lambda p, e: reported.append((p, e))))
    finally:
        (tmp_path / "b").chmod(stat.S_IRWXU)
    assert [f.name for f in files] == ["1.mp3", "3.mp3"]
    assert [(p.name, type(e)) for p, e in reported] == [("b", PermissionError)]


def test_a_folder_that_fails_is_reported_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "a/1.mp3", "b/2.mp3", "c/3.mp3")
    scandir = os.scandir

    def broken(path: Path) -> object:
        if Path(path).name == "b":
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    reported: list[Path] = []
    files = [p.name for p in find_audio(tmp_path, on_error=lambda p, e: reported.append(p))]
    assert files == ["1.mp3", "3.mp3"]
    assert reported == [tmp_path / "b"]
    # Without a callback it is not lost either.
    list(find_audio(tmp_path))
    assert "b: left out: Input/output error" in caplog.text


def test_the_search_is_lazy(tmp_path: Path) -> None:
    make(tmp_path, "a/1.mp3", "b/2.mp3")
    files = find_audio(tmp_path)
    assert next(files).name == "1.mp3"
    make(tmp_path, "b/3.mp3")
    assert [f.name for f in files] == ["2.mp3", "3.mp3"]


@given(st.lists(st.text(max_size=8), max_size=6))
def test_natural_order_is_an_order_of_any_names(names: list[str]) -> None:
    keys = sorted(map(_natural, names))
    assert len(set(names)) == len({key[1] for key in keys})


# --- genre folders ---------------------------------------------------------------


def test_genre_folders(tmp_path: Path) -> None:
    make(tmp_path, "Rock/1.mp3", "Rock/live/2.mp3", "Hip Hop/x.ogg", "loose.mp3", "Rock/cover.jpg")
    table = scan_genre_folders(tmp_path)
    rows = dict(zip(table["path"], table["genre_top"], strict=True))
    assert rows == {
        str(tmp_path / "Rock/1.mp3"): "Rock",
        str(tmp_path / "Rock/live/2.mp3"): "Rock",
        str(tmp_path / "Hip Hop/x.ogg"): "Hip Hop",
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no audio in subfolders"),
        (["a.mp3"], "no audio in subfolders"),
        (["000/000002.mp3", "001/001039.mp3"], "numbers, as in FMA's archives"),
    ],
)
def test_folders_that_are_no_genres(tmp_path: Path, names: list[str], message: str) -> None:
    make(tmp_path, *names)
    with pytest.raises(TableError, match=message):
        scan_genre_folders(tmp_path)


def test_a_genre_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such folder"):
        scan_genre_folders(tmp_path / "none")


# --- manifests -------------------------------------------------------------------


def test_manifest_paths_are_relative_to_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "set", "m.csv")
    absolute = tmp_path / "far" / "b.mp3"
    (folder / "m.csv").write_text(f"path,genre,mood\nclips/a.mp3,Rock,sad\n{absolute},,glad\n")
    monkeypatch.chdir(tmp_path)
    table = read_manifest("set/m.csv")
    assert table["path"].tolist() == [str(folder / "clips/a.mp3"), str(absolute)]
    assert table["genre_top"].tolist() == ["Rock", ""]
    assert table["mood"].tolist() == ["sad", "glad"]
    assert "genre" not in table


def test_manifest_keeps_genre_beside_genre_top(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,genre,genre_top\na.mp3,Trap,Hip-Hop\n")
    table = read_manifest(tmp_path / "m.csv")
    assert (table["genre"][0], table["genre_top"][0]) == ("Trap", "Hip-Hop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,genre\na.mp3,Rock\n", "no column 'path'"),
        ("Path,genre\na.mp3,Rock\n", "did you mean 'Path'"),
        ("path,genre\na.mp3,Rock\n,Pop\n", "row 2 has no path"),
    ],
)
def test_broken_manifests(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(TableError, match=message):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.data
@pytest.mark.parametrize("name", ["fma_clips", "songs", "gtzan_snippets"])
def test_real_manifests_name_real_files(data_dir: Path, name: str) -> None:
    table = read_manifest(data_dir / "audio" / f"{name}.csv")
    assert all(Path(p).is_file() for p in table["path"])
    assert all(table["genre_top"])
    # Every one of them is found by a search, too, and nothing else.
    files = {str(p.resolve()) for p in find_audio(data_dir / "audio" / name)}
    assert files == {str(Path(p).resolve()) for p in table["path"]}
