"""genrescope as people have it: built, installed, and run where its source is out of sight."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
#: The second that archives say their files are of, so that the same source gives the same bytes.
EPOCH = "1700000000"


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a "wheel" or an "sdist" of a source tree with the build backend that it names."""
    done = subprocess.run(
        (sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)),
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@dataclass(frozen=True)
class Installed:
    """An environment that has genrescope from a wheel, and all else from the one that tests run in.

    Attributes
    ----------
    site : Path
        Where it is installed.
    programs : Path
        The folder of `python` and of the command.
    elsewhere : Path
        A folder with nothing of the source in it; homes and caches are in it, too.
    """

    site: Path
    programs: Path
    elsewhere: Path

    @property
    def python(self) -> Path:
        return self.programs / Path(sys.executable).name

    @property
    def command(self) -> Path:
        return self.programs / f"genrescope{self.python.suffix if os.name == 'nt' else ''}"

    def run(self, *words: str | Path, code: int = 0) -> str:
        """Run a program of it; its standard output."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "XDG_", "PYTEST", "GENRESCOPE", "COV_"))
        }
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.elsewhere,
            env={**environment, "HOME": str(self.elsewhere), "COLUMNS": "120", "NO_COLOR": "1"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def install(wheel: Path, home: Path) -> Installed:
    """Install a wheel without what it depends on, which is seen where the tests see it.

    A line of a ``.pth`` file adds a folder to the path and reads no ``.pth`` file in that: where
    the tests run on an editable installation, its source is not seen.
    """
    venv.create(home / "venv", with_pip=False, symlinks=os.name != "nt")
    scheme = {"base": str(home / "venv"), "platbase": str(home / "venv")}
    site = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    done = subprocess.run(
        (
            *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
            *("--python", str(home / "venv"), "install", "--quiet", "--no-deps", "--no-index"),
            str(wheel),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "others.pth").write_text("\n".join(sorted(seen)) + "\n", encoding="utf-8")
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    return Installed(site, Path(sysconfig.get_path("scripts", "venv", vars=scheme)), elsewhere)
