"""The archives: what is in them, that they are the same each time, that what is installed works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from packaging.metadata import Metadata

import genrescope
from genrescope.audio import frames
from genrescope.catalog.tags import read_tags
from tests.package.installed import TREE, Installed, build

SR = 22_050
RATHER_LARGE = 12 << 20  # bytes


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", tree, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder := tmp_path_factory.mktemp("unpacked"), filter="data")
    (tree,) = folder.iterdir()
    return tree


@pytest.fixture(scope="module")
def song(installed: Installed) -> Path:
    """Twenty seconds of chords and a beat, with a tag."""
    import mutagen.id3

    t = np.arange(20 * SR) / SR
    rng = np.random.default_rng(7)
    y = sum(0.1 * np.sin(2 * np.pi * hz * t) for hz in (220.0, 277.2, 329.6, 440.0))
    y += 0.3 * rng.normal(size=len(t)) * np.exp(-(t * 2 % 1) * 12)
    path = installed.elsewhere / "song.mp3"
    sf.write(path, y / np.abs(y).max(), SR, format="MP3")
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(text=["A song"]))
    tags.add(mutagen.id3.TCON(text=["Polka"]))
    tags.save(path)
    return path


# --- what is in them ----------------------------------------------------------


def files_of_source(tree: Path) -> set[str]:
    root = tree / "src"
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pyo")
    }


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, tree: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = f"genrescope-{genrescope.__version__}.dist-info"
    assert {name for name in names if not name.startswith(about)} == files_of_source(tree)
    assert {name for name in names if name.startswith(about)} == {
        f"{about}/{name}"
        for name in (
            *("METADATA", "RECORD", "WHEEL", "entry_points.txt"),
            *("licenses/LICENSE", "licenses/NOTICE"),
        )
    }
    assert {"genrescope/py.typed", "genrescope/bundles/default/model.onnx"} <= names
    assert {"genrescope/apps/pages/static/track.js", "beetsplug/genrescope/__init__.py"} <= names
    assert wheel.name == f"genrescope-{genrescope.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < RATHER_LARGE


def test_its_metadata_is_valid_and_whole(wheel: Path, tree: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        told = Metadata.from_email(archive.read(name), validate=True)
    assert told.name == "genrescope"
    assert str(told.version) == genrescope.__version__
    assert str(told.requires_python) == ">=3.11"
    assert told.license_expression == "Apache-2.0"
    assert told.license_files == ["LICENSE", "NOTICE"]
    assert told.summary
    assert told.keywords
    assert told.description_content_type == "text/markdown"
    assert told.description == (tree / "README.md").read_text("utf-8")
    known = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)}
    assert known <= set(told.classifiers or [])
    core = {req.name for req in told.requires_dist or [] if "extra" not in str(req.marker)}
    assert {"numpy", "soundfile", "onnxruntime", "typer"} <= core
    assert not {"torch", "scipy", "librosa", "scikit-learn"} & core


def test_the_sdist_is_the_tree_without_what_was_made_in_it(tree: Path, unpacked: Path) -> None:
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}
    assert {f"src/{name}" for name in files_of_source(tree)} <= found
    for name in ("tests/conftest.py", "docs", "benchmarks", "requirements", ".ci/run"):
        assert name in found, name
    for name in ("LICENSE", "NOTICE", "CHANGELOG.md", "Makefile", "SECURITY.md", "PKG-INFO"):
        assert name in found, name
    tops = {name.split("/")[0] for name in found}
    assert not tops & {".venv", "dist", "build", "runs", ".git", ".hypothesis", ".mypy_cache"}
    assert not [name for name in found if name.endswith((".pyc", ".so", ".mp3"))]


def test_two_builds_are_the_same_bytes(
    tree: Path, wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    os.utime(tree / "src" / "genrescope" / "errors.py")  # when it was checked out tells nothing
    assert build("sdist", tree, tmp_path / "a").read_bytes() == sdist.read_bytes()
    assert build("wheel", tree, tmp_path / "a").read_bytes() == wheel.read_bytes()


def test_the_sdist_gives_the_same_wheel(wheel: Path, unpacked: Path, tmp_path: Path) -> None:
    assert build("wheel", unpacked, tmp_path).read_bytes() == wheel.read_bytes()


def test_the_sdist_runs_its_tests(unpacked: Path, tmp_path: Path) -> None:
    own = shutil.copytree(unpacked, tmp_path / "own")  # tests leave things behind
    done = subprocess.run(
        (
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("tests/catalog/test_tags.py", "tests/catalog/test_spreadsheet.py"),
        ),
        cwd=own,
        env={**os.environ, "PYTHONPATH": str(own / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


# --- as installed --------------------------------------------------------------


def test_all_of_it_comes_from_the_wheel(installed: Installed) -> None:
    code = (
        "import sys, genrescope, beetsplug.genrescope as plug, genrescope.learn.bundle as b\n"
        "print(genrescope.__file__); print(plug.__file__); print(b.__file__)\n"
        "print(b.Bundle.load().folder); print(*sys.path, sep='\\n')"
    )
    lines = installed.run(installed.python, "-c", code).splitlines()
    assert all(line.startswith(str(installed.site)) for line in lines[:4]), lines
    assert str(TREE / "src") not in lines


def test_it_recognises(installed: Installed, song: Path) -> None:
    told = json.loads(installed.run(installed.command, "predict", song, "--json"))
    (track,) = told["predictions"]
    assert track["best"] in track["probabilities"]
    assert track["title"] == "A song"


def test_it_tags_and_takes_it_back(installed: Installed, song: Path) -> None:
    pytest.importorskip("onnx")
    from tests.learn.tinybundle import make_bundle

    sure = installed.elsewhere / "sure"
    make_bundle(sure, n_features=frames.N_FEATURES, sharpness=20.0)
    before = song.read_bytes()
    words = ("tag", song, "--bundle", sure, "--existing", "replace", "--write")
    installed.run(installed.command, *words)
    assert read_tags(song).genres != ("Polka",)
    installed.run(installed.python, "-m", "genrescope", "undo", "--last")
    assert song.read_bytes() == before


def test_it_tells_about_itself(installed: Installed) -> None:
    run = (installed.python, "-m", "genrescope")
    assert genrescope.__version__ in installed.run(*run, "--version")
    told = installed.run(*run, "info")
    assert "Hip-Hop" in told
    assert "Apache-2.0" in told
