"""What other programs rely on changes only together with a line in the changelog."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from benchmarks import public_api
from benchmarks.public_api import PAGE, ROOT, current, notes, public_modules, recorded, unnoted

SERVED = bool(importlib.util.find_spec("fastapi"))


def test_it_is_as_recorded() -> None:
    before, _ = recorded()
    if not SERVED:
        before = [line for line in before if not re.match(r"[A-Z]+ /", line)]
    after = current()
    gone, new = set(before) - set(after), set(after) - set(before)
    assert not gone | new, (
        "the public interface has changed; add a line to CHANGELOG.md that names what did, then\n"
        "python -m benchmarks.public_api --record\n"
        + "\n".join([*(f"- {line}" for line in sorted(gone)), *(f"+ {x}" for x in sorted(new))])
    )


def test_it_records_each_kind_of_thing() -> None:
    lines = "\n".join(recorded()[0])
    assert "def genrescope.Recogniser.predict(self, audio:" in lines
    assert "property genrescope.Recogniser.genres ->" in lines
    assert "class genrescope.errors.AudioNotFoundError(AudioError, FileNotFoundError)" in lines
    assert re.search(r"^genrescope predict .*--json.* <paths>$", lines, flags=re.MULTILINE)
    assert re.search(r"^POST /v1/recognise -> 200, ", lines, flags=re.MULTILINE)


def test_the_page_and_the_reference_list_the_same_modules() -> None:
    listed = public_modules(PAGE.read_text("utf-8"))
    assert len(listed) == len(set(listed))
    described: set[str] = set()
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        names = re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), flags=re.MULTILINE)
        described.update(
            name for name in names if importlib.util.find_spec(name.rpartition(".")[0])
        )
    modules = {name for name in described if name.count(".") > 1 or name == "genrescope.errors"}
    assert set(listed) == modules


def test_a_change_needs_a_new_note_that_names_it() -> None:
    before = ["def genrescope.read_audio(path: str) -> int", "genrescope tag --write <paths>"]
    after = ["def genrescope.read_audio(path: str, *, sr: int) -> int", "genrescope tag <paths>"]
    assert unnoted(before, before, "") == []
    assert unnoted(before, after, "") == ["genrescope tag", "read_audio"]
    assert unnoted(before, after, "- `read_audio` has a rate; `genrescope tagger` is new") == [
        "genrescope tag"
    ]
    assert unnoted(before, after, "- `read_audio` and `genrescope tag` are other ones") == []


def test_notes_are_those_of_the_newest_section() -> None:
    told = notes(
        "# Changelog\n\n## 0.2.0\n\n### Added\n- one\n  and more\n- two\n\n## 0.1.0\n- old\n"
    )
    assert sorted(told.values()) == ["- one\n  and more", "- two"]


def test_recording_refuses_what_nobody_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["def genrescope.read_audio(path)"]
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## 1\n\n- old: `read_audio`\n", "utf-8")
    monkeypatch.setattr(public_api, "RECORD", tmp_path / "record.txt")
    monkeypatch.setattr(public_api, "CHANGELOG", changelog)
    monkeypatch.setattr(public_api, "current", lambda: list(lines))
    assert public_api.record() == ""
    lines[0] = "def genrescope.read_audio(path, *, sr)"
    assert "no new line that names read_audio" in public_api.record()
    assert recorded()[0] == ["def genrescope.read_audio(path)"]
    changelog.write_text("# Changelog\n\n## 1\n\n- `read_audio` takes sr\n", "utf-8")
    assert public_api.record() == ""
    assert recorded()[0] == lines
    record = tmp_path / "record.txt"
    record.write_text(record.read_text("utf-8").replace("sr)", "rate)"), "utf-8")
    with pytest.raises(ValueError, match="edited by hand"):
        recorded()
