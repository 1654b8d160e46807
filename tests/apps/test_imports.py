"""What the import and the help load, and the install line of what is not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.apps.command import COMMAND, environment

HEAVY = {
    "huggingface_hub",
    "transformers",
    "torch",
    "sklearn",
    "librosa",
    "pandas",
    "onnxruntime",
    "scipy",
    "lightgbm",
    "matplotlib",
    "pyarrow",
    "soundfile",
    "av",
    "soxr",
    "mutagen",
    "pebble",
    "fastapi",
    "nicegui",
    "uvicorn",
    "beets",
    "dask",
    "distributed",
}

REPORT = """
import sys
{code}
print("\\n" + " ".join(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(code=code)],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_next_to_nothing() -> None:
    found = loaded("import genrescope; assert genrescope.__version__; dir(genrescope)")
    assert "genrescope" in found
    assert not found & (HEAVY | {"numpy", "rich", "typer"})


def test_importing_its_names_loads_nothing_heavy() -> None:
    found = loaded("from genrescope import Prediction, Recogniser, read_audio")
    assert "numpy" in found
    assert not found & (HEAVY - {"soundfile", "av", "soxr"})


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["predict"],
        ["info"],
        ["demo"],
        ["evaluate"],
        ["audit"],
        ["train"],
        ["lab"],
        ["look"],
        ["features"],
        ["explain"],
        ["encoders"],
        ["teach"],
        ["bundles"],
        ["robustness"],
        ["tag"],
        ["undo"],
        ["playlist"],
        ["watch"],
        ["serve"],
        ["doctor"],
        ["config"],
        ["config", "set"],
        ["fma"],
        ["model"],
        ["runs"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    found = loaded(
        "from genrescope.apps.cli.main import app\n"
        f"try: app([*{arguments!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert "typer" in found
    assert not found & HEAVY


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [*COMMAND, "--help"], capture_output=True, text=True, env=environment(), check=True
    )
    for name in (
        "predict",
        "demo",
        "info",
        "evaluate",
        "audit",
        "train",
        "lab",
        "look",
        "features",
        "tag",
        "undo",
        "playlist",
        "watch",
        "serve",
        "doctor",
        "config",
    ):
        assert f"\n  {name} " in done.stdout


def test_the_package_says_which_name_it_lacks() -> None:
    import genrescope

    with pytest.raises(AttributeError, match="'genrescope' has no attribute 'Recognizer'"):
        _ = genrescope.Recognizer


def test_version() -> None:
    import genrescope

    done = subprocess.run(
        [*COMMAND, "--version"], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.strip() == f"genrescope {genrescope.__version__}"
