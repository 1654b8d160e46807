"""The service against its own description: schemathesis makes requests from it.

    python -m benchmarks.study_schema --examples 200 --markdown docs/reliability.md

starts the real server (``genrescope serve``) with a library, reads its OpenAPI document, and sends
requests that fit it and requests that do not. What must hold of every answer: no server error, a
status and a content type that the document names, a body that fits its schema, 405 with Allow for
methods that are not there.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.reliability_page import write_section
from benchmarks.study_load import running_server

#: Those of schemathesis that are about the answers.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "negative_data_rejection",
)
PHASES = "examples,coverage,fuzzing"


def attack(url: str, *, examples: int, seed: int = 0) -> dict[str, Any]:
    """Have schemathesis ask; gives what it found.

    Parameters
    ----------
    url : str
        Of a running service.
    examples : int
        Requests made up for each operation, beside those of the phase "coverage".

    Returns
    -------
    dict
        passed (bool), cases (int), operations (int), and the whole report (str).
    """
    program = Path(sys.executable).with_name("schemathesis")
    command = [
        str(program if program.exists() else shutil.which("schemathesis")),
        "run", f"{url}/openapi.json", "--checks", ",".join(CHECKS), "--phases", PHASES,
        "--max-examples", str(examples), "--seed", str(seed), "--no-color",
        "--request-timeout", "60", "--generation-database", "none",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = done.stdout + done.stderr
    cases = re.search(r"(\d[\d,]*) generated", report)
    operations = re.search(r"Operations:\s+(\d+) selected", report) or re.search(
        r"Selected:\s+(\d+)/", report
    )
    return {
        "passed": done.returncode == 0,
        "cases": int(cases[1].replace(",", "")) if cases else 0,
        "operations": int(operations[1]) if operations else 0,
        "report": report,
    }


@contextmanager
def library(clips: Path | None) -> Iterator[Path]:
    """A folder of music: the clips that are given, else a second of noise."""
    if clips is not None:
        yield clips
        return
    import numpy as np
    import soundfile as sf

    with tempfile.TemporaryDirectory() as folder:
        noise = np.random.default_rng(0).normal(scale=0.1, size=44_100)
        sf.write(Path(folder) / "song.wav", noise, 22_050)
        yield Path(folder)


def section(found: dict[str, Any], *, version: str, command: str) -> str:
    """Markdown for the page."""
    outcome = "No answer broke one of them." if found["passed"] else "**Some answers broke one.**"
    return "\n".join(
        [
            "```console",
            f"$ {command}",
            "```",
            "",
            f"schemathesis {version} read the OpenAPI document of a running `genrescope serve` and "
            f"sent {found['cases']:,} requests to its {found['operations']} operations, fitting "
            f"and not. Checked of every answer: {', '.join(f'`{check}`' for check in CHECKS)}. "
            f"{outcome}",
        ]
    )


def main() -> int:
    """Run it from the command line."""
    from importlib.metadata import version

    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_schema", description=__doc__)
    parser.add_argument("--library", type=Path, metavar="FOLDER", help="music to name by path")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="write the section there")
    given = parser.parse_args()
    with (
        library(given.library) as folder,
        running_server("--workers", "1", "--library", str(folder)) as (port, _),
    ):
        found = attack(f"http://127.0.0.1:{port}", examples=given.examples, seed=given.seed)
    print(found["report"])
    if given.markdown:
        command = shlex.join(["python", "-m", "benchmarks.study_schema", *sys.argv[1:]])
        text = section(found, version=version("schemathesis"), command=command)
        write_section(given.markdown, "schema", text)
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
