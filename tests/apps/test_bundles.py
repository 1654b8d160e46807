"""``genrescope bundles``: from a trained bundle to the Hub, and back into predict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from genrescope.apps.hub_page import hub_page
from genrescope.learn.bundle import Bundle
from genrescope.learn.hub.pulled import HubName, find_pulled
from tests.apps.test_imports import HEAVY, loaded
from tests.apps.test_train import in_process
from tests.learn.hub_stand_in import TOKEN, Hub, hub_stand_in, use
from tests.learn.tinybundle import make_bundle, make_card

NAME = "someone/tiny"


class Command:
    """Runs ``genrescope bundles ...`` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._given = monkeypatch, capsys

    def __call__(self, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
        found, out, err = in_process(*self._given, "bundles", *arguments)
        assert found == code, err
        return out, err


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    return Command(monkeypatch, capsys)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_stand_in() as hub:
        use(hub, monkeypatch, tmp_path / "no-token")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def test_help_loads_nothing_heavy() -> None:
    found = loaded(
        "from genrescope.apps.cli.main import app\n"
        "for name in ('pull', 'push', 'list', 'remove'):\n"
        "    try: app(['bundles', name, '--help'])\n"
        "    except SystemExit as end: assert not end.code, end.code"
    )
    assert not found & (HEAVY | {"huggingface_hub"})


def test_push_pull_list_remove(hub: Hub, run: Command, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "tiny", n_features=12).folder
    sent, told = run("push", folder, NAME, "--private", "--tag", "v1")
    commit = hub.repos[NAME].refs["v1"]
    assert sent == f"hub:{NAME}@{commit}\n"
    digest = told.split()[-1]
    assert hub.repos[NAME].private

    name, told = run("pull", f"{NAME}@v1", "--sha256", digest)
    assert name == sent
    assert told.split()[-1] == digest
    pulled = find_pulled(HubName(NAME, "v1"))
    assert pulled is not None
    assert pulled.folder.is_relative_to(tmp_path)
    assert not pulled.damage()

    shipped, row = json.loads(run("list", "--json", "--check")[0])
    assert shipped["name"] == "default"
    assert row["name"] == name.strip()
    assert (row["title"], row["asked"], row["fault"]) == ("tiny 1", ["v1"], "")
    shown, _ = run("list")
    assert f"hub:{NAME}@v1, hub:{NAME}@{commit[:12]}" in shown

    (pulled.folder / "model.onnx").write_bytes(b"x")
    assert "damaged: model.onnx was changed" in run("list", "--check")[0]
    _, told = run("remove", NAME)
    assert told == "removed 1 bundle\n"
    assert len(json.loads(run("list", "--json")[0])) == 1


def test_what_moved_is_told(hub: Hub, run: Command, tmp_path: Path) -> None:
    run("push", make_bundle(tmp_path / "one", n_features=12).folder, NAME, "--tag", "v1")
    run("pull", f"{NAME}@v1")
    run("pull", NAME)
    run("push", make_bundle(tmp_path / "two", n_features=12, seed=1).folder, NAME)
    repo = hub.repos[NAME]
    repo.refs["v1"], before = repo.refs["main"], repo.refs["v1"]
    _, told = run("pull", NAME)
    assert f"was {before[:12]}, which is still here, and is {repo.refs['main'][:12]} now" in told
    _, told = run("pull", f"{NAME}@v1", code=2)
    assert "pull with --moved" in told
    assert run("pull", f"{NAME}@v1", "--moved")[0].strip().endswith(repo.refs["main"])
    assert "2 commits of it were pulled" in run("remove", NAME, code=2)[1]
    assert "removed 2 bundles" in run("remove", NAME, "--all")[1]


def test_errors_are_one_line(hub: Hub, run: Command, tmp_path: Path) -> None:
    for arguments, said in (
        (("pull", "tiny"), "write OWNER/NAME"),
        (("pull", NAME), "no such repository"),
        (("push", tmp_path, NAME), "card.json: cannot be read"),
        (("remove", NAME), "was not pulled"),
    ):
        out, err = run(*arguments, code=2)
        assert not out
        assert err.startswith("genrescope: ")
        assert err.count("\n") == 1
        assert said in err


# --- the page ----------------------------------------------------------------


def front_of(page: str) -> dict:
    return yaml.safe_load(page.split("---\n")[1])


def test_the_page_of_the_shipped_bundle_is_for_machines_and_people() -> None:
    pytest.importorskip("huggingface_hub")
    card = Bundle.load("default").card
    page = hub_page(card, repo=NAME)
    front = front_of(page)
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "genrescope"
    assert front["pipeline_tag"] == "audio-classification"
    assert "music" in front["tags"]
    (model,) = front["model-index"]
    row = card["metrics"]["table"][0]
    scores = {metric["name"]: metric["value"] for r in model["results"] for metric in r["metrics"]}
    assert scores["Accuracy"] == pytest.approx(row["accuracy"], abs=1e-4)
    assert scores["Macro-F1"] == pytest.approx(row["macro_f1"], abs=1e-4)
    assert f"genrescope predict --bundle hub:{NAME} MUSIC" in page
    assert "## What it does badly" in page  # the whole model card


def test_the_page_of_a_card_that_says_less() -> None:
    pytest.importorskip("huggingface_hub")
    card = make_card(n_features=12, licence="Ask: me first\nlicense: mit")
    card["training"]["data"] = 'x"; - [y'
    page = hub_page(card, repo=NAME)
    front = front_of(page)
    assert front["license"] == "other"
    assert front["license_link"].endswith(f"{NAME}/blob/main/card.json")
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == 'x"'
    assert "| **tiny** |" in page
    card["metrics"]["table"] = []
    assert "model-index" not in front_of(hub_page(card, repo=NAME))
