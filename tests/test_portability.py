"""What other systems do differently, as far as it can be simulated here; docs/compatibility.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path, PureWindowsPath

import mutagen
import numpy as np
import pytest
import soundfile as sf

from genrescope.apps import playlists, safe_write
from genrescope.learn.prediction import Prediction
from tests.audio.stores import write_tone

SR = 22_050
linux = pytest.mark.skipif(sys.platform != "linux", reason="which files are open is asked of Linux")


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of noise in a name that few encodings hold."""
    path = tmp_path_factory.mktemp("Müsik") / "Żółw ☂ — 歌.wav"
    sf.write(path, 0.1 * np.random.default_rng(1).normal(size=8 * SR), SR)
    return path


def run(code: str, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    kept = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "LANG", "PYTHONUTF8")}
    return subprocess.run(
        (sys.executable, "-c", code, *map(str, words)),
        env={**kept, **environment},
        capture_output=True,
        check=False,
    )


_MANY = """
import multiprocessing, sys
{before}
from genrescope import Recogniser
def main():
    for one in Recogniser.load().predict_many([sys.argv[1], "none.wav"], workers=2):
        print(type(one).__name__)
main()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_many_files_whatever_the_start_method_and_without_a_main_guard(
    method: str, song: Path
) -> None:
    if method not in __import__("multiprocessing").get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    done = run(_MANY.format(before=f"multiprocessing.set_start_method({method!r})"), song)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"Prediction", b"FailedPrediction"]


# What Windows does not have. Packages that we need may ask for these themselves, so it is hidden
# once they are here.
_HIDDEN = """
import sys, numpy, soundfile, onnxruntime, mutagen, pebble, typer, rich, select, signal, os
import platformdirs.unix
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "fchown", "getuid", "O_NOFOLLOW", "O_NONBLOCK"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGALRM", "pthread_sigmask", "SIGHUP"):
    if hasattr(signal, name):
        delattr(signal, name)
sys.argv[0] = "genrescope"
from genrescope.apps.cli.main import main
main()
"""


def test_a_file_is_recognised_where_nothing_of_posix_is_there(song: Path) -> None:
    done = run(_HIDDEN, "predict", song, "--json", "--workers", "0", PYTHONUTF8="1")
    assert done.returncode == 0, done.stderr.decode()
    assert b'"best"' in done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_old_consoles_print_what_they_can(encoding: str, song: Path) -> None:
    words = ("-m", "genrescope", "predict", str(song), "none.wav", "--workers", "0")
    done = subprocess.run(
        (sys.executable, *words),
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr.decode(encoding)
    assert b"not sure" in done.stdout
    assert b"Traceback" not in done.stderr
    done.stdout.decode(encoding)


def test_no_text_file_is_read_in_the_encoding_of_the_system(song: Path, tmp_path: Path) -> None:
    code = _HIDDEN.partition("sys.argv[0]")[2]
    done = run(
        f"import sys\nsys.argv[0]{code}",
        *("predict", song, "--workers", "0", "--csv"),
        PYTHONWARNDEFAULTENCODING="1",
        PYTHONWARNINGS="default::EncodingWarning",
    )
    ours = [line for line in done.stderr.splitlines() if b"EncodingWarning" in line]
    assert done.returncode == 0
    assert not [line for line in ours if b"genrescope" in line]


def test_a_home_that_is_nowhere_and_caches_that_cannot_be_written(
    song: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    gone = {f"XDG_{name}_HOME": str(file / "x") for name in ("CACHE", "DATA", "STATE", "CONFIG")}
    done = run(
        "from genrescope.apps.cli.main import main; main()",
        *("predict", song, "--workers", "0", "--jsonl"),
        HOME=str(tmp_path / "none"),
        **gone,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_playlists_of_windows_paths_lie_beside_the_music(monkeypatch: pytest.MonkeyPatch) -> None:
    import ntpath

    monkeypatch.setattr(playlists.os, "path", ntpath)
    monkeypatch.setattr(playlists, "PurePath", PureWindowsPath)
    made = [
        Prediction.from_probabilities({"Rock": 0.9, "Pop": 0.1}, threshold=0.5, path=path)
        for path in (
            PureWindowsPath(r"C:\Music\AC-DC\one.mp3"),
            PureWindowsPath(r"D:\Other\two.mp3"),
        )
    ]
    text = playlists.playlist_text(
        playlists.Playlist("Rock", tuple(made)),
        PureWindowsPath(r"C:\Music\Lists"),  # type: ignore[arg-type]
    )
    near, far = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert near.replace("\\", "/") == "../AC-DC/one.mp3"
    assert far.replace("\\", "/") == "D:/Other/two.mp3"


@pytest.mark.parametrize("name", ["CON", "aux", "Rock/Pop", "a:b", "end.", "x" * 300, "com1.x"])
def test_names_of_playlists_are_names_on_every_system(name: str, tmp_path: Path) -> None:
    one = Prediction.from_probabilities({name: 1.0}, threshold=0.5, path=tmp_path / "a.mp3")
    (file,) = playlists.write_playlists([playlists.Playlist(name, (one,))], tmp_path)
    assert file.parent == tmp_path
    assert not PureWindowsPath(file.name).is_reserved()
    assert not set(file.name) & set('<>:"/\\|?*')
    assert not file.stem.endswith((".", " "))
    assert len(file.name.encode()) <= 255


def test_names_that_differ_in_case_alone_are_two_files(tmp_path: Path) -> None:
    one = Prediction.from_probabilities({"x": 1.0}, threshold=0.5, path=tmp_path / "a.mp3")
    lists = [playlists.Playlist(name, (one,)) for name in ("rock", "Rock")]
    files = playlists.write_playlists(lists, tmp_path)
    assert len({file.name.casefold() for file in files}) == 2


def test_windows_locks_a_byte_that_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its locks are mandatory: other programs, and we by another handle, must read the file."""
    locked: list[int] = []
    stand_in = types.ModuleType("msvcrt")
    stand_in.LK_NBLCK = 2  # type: ignore[attr-defined]
    stand_in.locking = lambda fd, mode, n: locked.append(os.lseek(fd, 0, os.SEEK_CUR))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "msvcrt", stand_in)
    monkeypatch.setattr(safe_write.sys, "platform", "win32")
    path = tmp_path / "song.mp3"
    path.write_bytes(b"x" * 1000)
    with path.open("rb") as file:
        file.seek(10)
        assert safe_write.try_lock(file.fileno())
        assert locked[0] > 1 << 30
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 10


def like_windows(*words: str | Path, home: Path) -> str:
    """Run a command where files behave as on Windows; see tests/like_windows.py."""
    done = subprocess.run(
        (sys.executable, "-m", "tests.like_windows", *map(str, words)),
        cwd=Path(__file__).resolve().parents[1],
        env={
            **os.environ,
            "PYTHONUTF8": "1",
            "GENRESCOPE_JOURNAL": str(home / "journal.sqlite3"),
            "GENRESCOPE_HEARD": str(home / "heard.sqlite3"),
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@linux
def test_an_open_file_can_be_neither_replaced_nor_removed_where_that_is_simulated(
    tmp_path: Path,
) -> None:
    code = """
import contextlib, os, sys
from tests.like_windows import pretend
pretend()
a, b = sys.argv[1:]
with open(a, "wb"), open(b, "wb"):
    for work in (lambda: os.replace(a, b), lambda: os.remove(a), lambda: os.unlink(b),
                 lambda: os.rename(os.path.dirname(a), b + "c")):
        try:
            work()
        except PermissionError:
            print("refused")
os.replace(a, b)
os.unlink(b)
"""
    done = run(code, tmp_path / "a", tmp_path / "b", PYTHONPATH=str(Path(__file__).parents[1]))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split() == [b"refused"] * 4


@linux
def test_files_are_tagged_and_given_back_where_open_ones_cannot_be_replaced(
    fma_clips: list[Path], tmp_path: Path
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for clip in fma_clips[:2]:
        shutil.copyfile(clip, music / clip.name)
        mutagen.File(music / clip.name).delete()
    before = {path.name: path.read_bytes() for path in music.iterdir()}
    words = ("tag", music, "--write", "--min-confidence", "0", "--workers", "0")
    assert "2 got a genre" in like_windows(*words, home=tmp_path)
    assert {path.name for path in music.iterdir()} == before.keys()  # nothing is left beside them
    assert all(path.read_bytes() != before[path.name] for path in music.iterdir())
    like_windows("undo", "--last", home=tmp_path)
    assert all(mutagen.File(path).tags is None for path in music.iterdir())


@linux
def test_a_store_is_made_and_gone_on_with_where_open_files_cannot_be_replaced(
    tmp_path: Path,
) -> None:
    music, store = tmp_path / "music", tmp_path / "store"
    words = ("features", "extract", music, "--out", store, "--what", "mel,frames", "--workers", "0")
    for number in (1, 2):
        write_tone(music / f"{number}.wav", seed=number, seconds=6.0)
        said = like_windows(*words, home=tmp_path)
        assert f"store: {number} track" in said, said
        assert "; 1 now" in said, said
    assert "clean" in like_windows("features", "verify", store, home=tmp_path)


@linux
def test_a_store_has_one_writer_where_locks_are_those_of_windows(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.like_windows import pretend
pretend()
from genrescope.audio.store.disk import StoreLock
from genrescope.errors import DataError
with StoreLock(Path(sys.argv[1])):
    try:
        with StoreLock(Path(sys.argv[1])):
            print("two")
    except DataError as error:
        print("one at a time" in str(error))
with StoreLock(Path(sys.argv[1])) as lock:
    print(lock.left_by)
"""
    done = run(code, tmp_path, PYTHONPATH=str(Path(__file__).parents[1]))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split() == [b"True", b"None"]
