"""The tutorials do what they say."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

if os.name != "posix":
    pytest.skip("the tutorials are run in a POSIX terminal", allow_module_level=True)

from benchmarks.explanation_figures import figures
from benchmarks.tutorial_pages import (
    TutorialError,
    check_syntax,
    read_blocks,
    read_commands,
    same,
    tidy,
)
from benchmarks.tutorials import PAGES, pages, run_page

from genrescope.apps.clips import fetch_clips
from genrescope.catalog.fma_load import KNOWN_BAD
from genrescope.errors import DownloadError
from genrescope.learn.bundle import Bundle

DOCS = PAGES.parent

NEEDS = {"collector": ("nicegui",), "researcher": ("sklearn", "torch"), "developer": ("fastapi",)}


@pytest.fixture(scope="module")
def clips() -> None:
    """The twelve clips of the demonstration, in the cache of the user."""
    try:
        fetch_clips()
    except DownloadError as error:
        pytest.skip(f"the clips of the demonstration cannot be fetched: {error}")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # s; a minute each on a machine that does nothing else
@pytest.mark.parametrize("page", list(pages([])), ids=lambda page: page.stem)
def test_every_command_prints_what_the_page_shows(page: Path, clips: None) -> None:
    for module in NEEDS.get(page.stem, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if page.stem == "developer" and shutil.which("curl") is None:
        pytest.skip("there is no curl")
    wrong = run_page(page)
    assert not wrong, "\n\n".join([*wrong, "python -m benchmarks.tutorials --update"])


# --- the runner --------------------------------------------------------------


def page_of(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_another_output_is_found(tmp_path: Path, clips: None) -> None:
    page = page_of(tmp_path, "```console\n$ echo one\none\n$ echo two\ntwo and a half\n```\n")
    (wrong,) = run_page(page)
    assert "echo two" in wrong
    assert "-two and a half" in wrong


def test_another_output_of_python_is_found(tmp_path: Path, clips: None) -> None:
    text = "```python\nx = 20\n```\n\nand\n\n```python\nprint(x + 1)\n```\n\n```text\n22\n```\n"
    (wrong,) = run_page(page_of(tmp_path, text))
    assert "+21" in wrong


def test_an_update_writes_what_is_printed_and_nothing_else(tmp_path: Path, clips: None) -> None:
    text = "# A\n\n```console\n$ echo a \\\n  b\n```\n\n```python\nprint(6)\n```\n```text\n```\n"
    page = page_of(tmp_path, text)
    assert run_page(page, update=True) == []
    assert page.read_text() == text.replace("  b\n", "  b\na b\n").replace("text\n", "text\n6\n")
    assert run_page(page) == []


def test_a_command_that_fails_ends_the_page(tmp_path: Path, clips: None) -> None:
    with pytest.raises(TutorialError, match="exit code 3, not 0"):
        run_page(page_of(tmp_path, "```console\n$ exit 3\n```\n"))
    assert run_page(page_of(tmp_path, "<!-- exit: 3 -->\n```console\n$ exit 3\n```\n")) == []


def test_a_second_terminal_goes_on_beside_the_page(tmp_path: Path, clips: None) -> None:
    text = (
        "<!-- terminal: t; ready: ready -->\n```console\n"
        "$ echo ready; until test -e go; do sleep 0.1; done; echo gone; sleep 9\nready\ngone\n```\n"
        "```console\n$ touch go\n```\n<!-- stop: t; after: gone -->\n"
    )
    assert run_page(page_of(tmp_path, text)) == []
    (wrong,) = run_page(page_of(tmp_path, text.replace("\ngone\n", "\nstill there\n")))
    assert "+gone" in wrong


@pytest.mark.parametrize(
    ("shown", "printed", "equal"),
    [
        ("12 tracks in 6.7 s", "12 tracks in 11 s", True),
        ("12 tracks in 6.7 s", "13 tracks in 6.7 s", False),
        ("Rock 97%", "Rock 96%", True),
        ("Rock 97%", "Rock 95%", False),
        ("loss 1.234", "loss 1.235", True),
        ("loss 1.234", "loss 1.236", False),
        ("{'Rock': 0.43, 'Pop': 0.21}", "{'Rock': 0.44, 'Pop': 0.21}", True),
        ("{'Rock': 0.43, 'Pop': 0.21}", "{'Rock': 0.45, 'Pop': 0.21}", False),
        ("Rock ██▊  27%", "Rock ███  27%", True),
        ("Rock  27%", "Folk  27%", False),
        ("stored 1.5 MB", "stored 2 MB", True),
        ("run 1", "run 2", False),
    ],
)
def test_what_counts_as_the_same(shown: str, printed: str, equal: bool) -> None:
    assert same([shown], [printed]) is equal


def test_a_wider_tolerance_is_for_decimals_alone() -> None:
    assert same(["accuracy 0.81 of 12"], ["accuracy 0.75 of 12"], within=0.1)
    assert not same(["accuracy 0.81 of 12"], ["accuracy 0.75 of 13"], within=0.1)
    assert not same(["accuracy 0.81"], ["accuracy 0.70"], within=0.1)


def test_progress_and_folders_of_this_machine_are_left_out(tmp_path: Path) -> None:
    text = f"making up tables: 1 of 4 (25%)\nin {tmp_path}/store at {tmp_path}/home/x :4321\n"
    assert tidy(text, folder=tmp_path, port=4321) == ["in store at ~/x :8000"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("genrescope fma fetch small", None),
        ("pip install genrescope", None),
        ("genrescope fma catch small", "no command 'catch'"),
        ("genrescope fma fetch small --soon", "soon"),
    ],
)
def test_what_is_not_run_is_parsed(command: str, problem: str | None) -> None:
    (block,) = read_blocks(f"<!-- not run: gigabytes -->\n```console\n$ {command}\n```\n")
    assert block.notes == {"not run": "gigabytes"}
    if problem is None:
        check_syntax(block)
    else:
        with pytest.raises(TutorialError, match=problem):
            check_syntax(block)


def test_commands_go_on_after_a_backslash() -> None:
    (block,) = read_blocks("```console\n$ a \\\n  b\nc\n$ d\n```\n")
    first, second = read_commands(block)
    assert (first.text, first.printed, second.text) == ("a \\\n  b", ("c",), "d")


def test_every_console_block_of_the_pages_is_run_or_says_why() -> None:
    assert {"collector", "researcher", "developer"} <= {page.stem for page in PAGES.glob("*.md")}
    for page in pages([]):
        for block in read_blocks(page.read_text(encoding="utf-8")):
            if block.kind == "console":
                assert read_commands(block), f"{page.name}, line {block.start}"
            assert block.notes.get("not run", "a reason"), f"{page.name}, line {block.start}"


# --- the pages that explain -------------------------------------------------


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return Bundle.load("default").card


def words(page: str) -> str:
    return " ".join((DOCS / page).read_text(encoding="utf-8").split())


def test_the_data_cards_figures_are_the_cards(card: dict[str, Any]) -> None:
    training, text = card["training"], words("data-card.md")
    assert f"**{training['tracks']:,} tracks** by **{training['artists']:,} artists**" in text
    for genre, scores in card["metrics"]["scores"]["per_genre"].items():
        assert f"| {genre} | {scores['support']:,.0f} |" in text
    front_end = card["front_end"]["parameters"]
    for figure in (
        f"`{card['name']}`, version {card['version']}",
        f"**{training['recipe']['folds']} folds**",
        f"seed {training['recipe']['seed']}",
        f"{front_end['frames']} mel frames of {front_end['mel_bands']} bands, of which "
        f"{front_end['bands_read']}, up to {front_end['top_hz'] / 1000:.0f} kHz",
    ):
        assert figure in text, figure


def test_the_data_card_names_every_track_that_is_known_to_be_bad() -> None:
    text = words("data-card.md").partition("known to be bad")[2].partition("## Licences")[0]
    assert {int(number) for number in re.findall(r"\b\d{4,6}\b", text)} - {2231} == set(KNOWN_BAD)


def test_the_data_cards_counts_are_those_of_the_tracks(data_dir: Path) -> None:
    with open(data_dir / "fma" / "small_tracks.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    of = Counter(row["artist_id"] for row in rows)
    genres = {
        artist: {row["genre_top"] for row in rows if row["artist_id"] == artist}
        for artist, tracks in of.items()
        if tracks > 1
    }
    one = sum(len(found) == 1 for found in genres.values()) / len(genres)
    single, text = sum(tracks == 1 for tracks in of.values()), words("data-card.md")
    assert f"Half ({single:,}) have one track, one has {max(of.values())};" in text
    assert f"{one:.0%} have one genre" in text.replace(" %", "%")
    held, artists = 0, 0
    for _, tracks in of.most_common():
        held, artists = held + tracks, artists + 1
        if held >= len(rows) / 4:
            break
    assert f"{artists} artists hold a quarter" in text


def test_the_explanations_figures_are_the_cards(card: dict[str, Any]) -> None:
    scores, abstention, conformal = (
        card["metrics"]["scores"],
        card["abstention"],
        card["conformal"],
    )
    calibration, accuracy = (
        words("explanation/calibration.md"),
        words("explanation/why-accuracy.md"),
    )
    for figure in (
        f"divided by {card['calibration']['temperature']:.2f}",
        f"**{scores['ece']:.3f}**",
        f"**{abstention['threshold']:.2f}** or more",
        f"answers {100 * abstention['coverage']:.0f} % of tracks, "
        f"{100 * abstention['accuracy_when_sure']:.0f} % of them rightly",
        f"{100 * conformal['coverage']:.0f} % of tracks, with "
        f"{conformal['mean_set_size']:.1f} genres",
    ):
        assert figure in calibration, figure
    assert f"**{100 * scores['accuracy']:.1f} %**" in accuracy
    for row in ("Hip-Hop", "Pop", "Electronic", "Instrumental", "Experimental"):
        assert f"{row} {scores['per_genre'][row]['f1']:.2f}" in accuracy


def test_the_explanations_pictures_are_drawn_from_the_card() -> None:
    for name, text in figures().items():
        assert (DOCS / "figures" / name).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("page", "name", "quoted"),
    [
        ("fma-small-mfcc-study", "MLPClassifier", "36.8 % (35.2 to 38.4)"),
        ("fma-small-mfcc-study", "SVC", "45.6 % (43.7 to 47.6)"),
        ("networks", "cs464-cnn", "46.4 % (43.2 to 49.6)"),
        ("networks", "vit-tiny", "36.6 % (32.2 to 40.9)"),
    ],
)
def test_the_study_quotes_the_tables_it_links_to(page: str, name: str, quoted: str) -> None:
    value, low, high = (float(number) / 100 for number in re.findall(r"\d+\.\d", quoted))
    table = (DOCS / "results" / f"{page}.md").read_text(encoding="utf-8").replace("*", "")
    row = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    assert f"{value:.3f} ({low:.3f} to {high:.3f})" in row
    assert quoted in words("explanation/the-study.md")


def test_the_pages_link_to_what_is_there() -> None:
    for folder in ("tutorials", "explanation"):
        for page in (DOCS / folder).glob("*.md"):
            for target in re.findall(r"\]\(([^)#:]+)", page.read_text(encoding="utf-8")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
