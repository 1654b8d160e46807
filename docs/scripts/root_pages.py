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
    page = kwargs["page"].file.src_uri
    up = "../" * page.count("/")
    markdown = re.sub(
        r"\]\((?:\.\./)+([A-Z]+\.md)",
        lambda link: f"]({up}{PAGES.get(link[1], link[1])}",
        markdown,
    )

    def there(link: re.Match[str]) -> str:
        target = ROOT / "docs" / Path(page).parent / link[2]
        return link[0] if target.exists() or target.name in PAGES.values() else link[1]

    return re.sub(r"\[([^\]]*)\]\(([^)#:]+\.md)(?:#[^)]*)?\)", there, markdown)


def on_config(config: Any) -> Any:
    """Leave out what is not there yet."""

    def there(entry: Any) -> bool:
        if isinstance(entry, dict):
            ((_, value),) = entry.items()
            if isinstance(value, list):
                value[:] = [child for child in value if there(child)]
                return bool(value)
            return there(value)
        return (ROOT / "docs" / entry).exists() or entry in PAGES.values()

    config.nav = [entry for entry in config.nav if there(entry)]
    return config
