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


# Every module, where there is nothing but what genrescope itself requires.
WITHOUT_EXTRAS = """
import importlib, sys
from importlib import metadata
from pathlib import Path
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

there, ask = set(), ["genrescope"]
while ask:
    name = canonicalize_name(ask.pop())
    if name in there:
        continue
    there.add(name)
    try:
        said = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        continue
    for one in map(Requirement, said):
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            ask.append(one.name)
owners = metadata.packages_distributions()
hidden = {
    module for module, names in owners.items() if not there & {canonicalize_name(n) for n in names}
}
assert {"sklearn", "torch", "matplotlib", "threadpoolctl"} & set(owners) <= hidden, hidden
assert not hidden & {"genrescope", "numpy", "onnxruntime"}, hidden


class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
    del sys.modules[name]
sys.meta_path.insert(0, Hide())
import genrescope
from genrescope.errors import MissingExtraError

root = Path(genrescope.__file__).parent
for path in sorted(root.rglob("*.py")):
    parts = path.relative_to(root.parent).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    try:
        importlib.import_module(module)
    except MissingExtraError:
        pass
    except ImportError as error:
        print(module, error)
"""


def test_what_wants_an_extra_says_which() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    # The pages are behind `serve`, which asks for its extra before it loads them.
    silent = [line for line in done.stdout.splitlines() if ".apps.pages." not in line]
    assert silent == []


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
