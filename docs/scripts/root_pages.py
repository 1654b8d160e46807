"""Pages of the manual that lie beside README.md, where people look for them, and links to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, their links turned from the root to the folder of the manual."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Lead links that leave the folder of the manual to the page that stands for the file."""
    up = "../" * kwargs["page"].file.src_uri.count("/")
    return re.sub(
        r"\]\((?:\.\./)+([A-Z]+\.md)",
        lambda link: f"]({up}{PAGES.get(link[1], link[1])}",
        markdown,
    )
