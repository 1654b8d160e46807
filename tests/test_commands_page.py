"""The page about the command line says what the commands say."""

from __future__ import annotations

from benchmarks import commands_page


def test_the_page_is_what_the_commands_say_today() -> None:
    assert commands_page.main(["--check"]) == 0, "run: python -m benchmarks.commands_page"


def test_every_command_is_in_the_table_and_in_the_reference() -> None:
    text = commands_page.PAGE.read_text(encoding="utf-8")
    for _, path in [(0, "predict"), (0, "features extract"), (0, "train compact-cnn")]:
        anchor = path.replace(" ", "-")
        assert f"[`{path}`](#{anchor})" in text
        assert f"### genrescope {path} {{: #{anchor} }}" in text
        assert f"Usage: genrescope {path} " in text
