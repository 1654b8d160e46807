"""docs/reliability.md: a section for each study, written by the study's own command."""

from __future__ import annotations

import re
from pathlib import Path

from genrescope.catalog.storage import atomic

__all__ = ["SECTIONS", "write_section"]

SECTIONS = {
    "kills": "Killed while writing tags",
    "chaos": "Everything at once",
    "load": "The service under load",
    "schema": "The service against its own description",
    "tags": "Speed of writing tags",
}

_HEAD = """# Reliability

What was done to break the parts that write into a library or answer a network, and what came of it.
Each section is written by the command in it.
"""


def write_section(page: Path, key: str, body: str) -> None:
    """Put a section in its place on the page; the others stay as they are.

    Parameters
    ----------
    page : Path
        Usually ``docs/reliability.md``; made where it is not there.
    key : str
        One of `SECTIONS`.
    body : str
        Markdown below the heading.
    """
    found: dict[str, str] = {}
    if page.exists():
        parts = re.split(r"^## (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
        found = {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}
    found[SECTIONS[key]] = body.strip()
    ordered = [title for title in SECTIONS.values() if title in found]
    text = "\n".join([_HEAD, *(f"## {title}\n\n{found[title]}\n" for title in ordered)])
    with atomic(page) as part:
        part.write_text(text, "utf-8")
