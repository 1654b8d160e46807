"""What other systems do differently, as far as it can be simulated here; docs/compatibility.md."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import soundfile as sf

from genrescope.apps import playlists, safe_write
from genrescope.learn.prediction import Prediction

SR = 22_050


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
