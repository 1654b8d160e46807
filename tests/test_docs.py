"""What the documents say is what the package does."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from genrescope.apps.model_card import model_card, score_table
from genrescope.learn.bundle import Bundle

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def card() -> dict:
    return Bundle.load("default").card


def test_the_readmes_table_is_the_cards(card: dict) -> None:
    assert score_table(card) in README


def test_the_readmes_figures_are_the_cards(card: dict) -> None:
    scores, abstention, conformal = (
        card["metrics"]["scores"],
        card["abstention"],
        card["conformal"],
    )
    ranked = sorted(scores["per_genre"], key=lambda genre: -scores["per_genre"][genre]["f1"])
    text = " ".join(README.split())
    for figure in (
        f"on {card['training']['tracks']:,} tracks by {card['training']['artists']:,} artists",
        f"**{scores['accuracy']:.1%}** are right",
        f"where it is sure ({abstention['coverage']:.0%} of tracks) "
        f"**{abstention['accuracy_when_sure']:.0%}**",
        f"the expected calibration error is {scores['ece']:.3f}",
        f"has {abstention['threshold']:.2f} or more",
        f"ruled out at {conformal['level']:.0%}: {conformal['mean_set_size']:.1f} on average",
        f"the right one for {conformal['coverage']:.0%} of tracks",
        f"{ranked[0]} (F1 {scores['per_genre'][ranked[0]]['f1']:.2f})",
        f"{ranked[-1]} (F1 {scores['per_genre'][ranked[-1]]['f1']:.2f})",
        card["metrics"]["protocol"],
        ", ".join(card["genres"]),
    ):
        assert figure in text, figure


def test_the_model_card_is_written_from_the_card(card: dict) -> None:
    assert (ROOT / "docs" / "model-card.md").read_text() == model_card(card)


def test_the_laboratorys_overview_is_that_of_the_runs() -> None:
    """Every row of the overview stands in the table of the run that it links to."""
    rows = re.findall(
        r"^\| \[.*?\]\((results/\S+?)\) \| [\d,]+ \| (.*) \|$",
        (ROOT / "docs" / "laboratory.md").read_text(),
        flags=re.MULTILINE,
    )
    assert len(rows) >= 10
    for page, cells in rows:
        name, accuracy, macro_f1, log_loss, ece = cells.split(" | ")
        lines = (ROOT / "docs" / page).read_text().replace("*", "").splitlines()
        line = next(line for line in lines if line.startswith(f"| {name} |"))
        assert f"| {accuracy} |" in line
        assert f"| {macro_f1} |" in line
        assert f"| {log_loss} | {ece} |" in line


def test_the_figures_on_metadata_are_those_of_the_study() -> None:
    whole = (ROOT / "docs" / "results" / "metadata.md").read_text().splitlines()
    rows = [
        line
        for line in (ROOT / "docs" / "metadata.md").read_text().splitlines()
        if re.match(r"\| .+ \| (masked|read) \| [\d,]+ \|", line)
    ]
    assert len(rows) >= 10
    assert set(rows) <= set(whole)


def test_the_study_s_fifteen_stand_beside_what_it_published() -> None:
    from genrescope.learn.lab.presets import FIFTEEN, classifiers

    text = (ROOT / "docs" / "results" / "fma-small-mfcc-study.md").read_text().replace("*", "")
    for spec in classifiers("cs464", only=FIFTEEN):
        row = next(line for line in text.splitlines() if line.startswith(f"| {spec.name} |"))
        assert re.search(
            r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\) \| (0\.58|not on record) \|", row
        ), row


def test_links_inside_the_repository_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readmes_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(60 * 22_050) / 22_050
    y = 0.3 * np.sin(2 * np.pi * 220 * t) + 0.1 * rng.normal(size=len(t)) * np.exp(-(t * 2 % 1) * 9)
    sf.write(tmp_path / "song.mp3", y, 22_050, format="MP3")
    (tmp_path / "broken.mp3").write_text("not music")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert "broken.mp3" in printed
    assert "AudioUnsupportedError" in printed


def test_the_readmes_commands_exist() -> None:
    from typer.main import get_command

    from genrescope.apps.cli.main import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    named = re.findall(r"^\$ (?:.*\| )?genrescope ([a-z]+)", README, flags=re.MULTILINE)
    assert len(named) >= 8
    assert set(named) <= set(known)


def test_nothing_speaks_of_one_machine() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert not re.search(r"(?<![\w.])/(home|root|Users)/", page.read_text()), page.name
        assert os.environ.get("HOME", "?") + "/" not in page.read_text()
