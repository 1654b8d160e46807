"""Bundles from the Hub, against a stand-in of its API."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genrescope.errors import BundleError, ChecksumError, DownloadError
from genrescope.learn.bundle import Bundle
from genrescope.learn.hub.pulled import (
    HubName,
    Origin,
    named_files,
    pulled_bundles,
    remove_bundle,
    resolve_bundle,
)
from tests.apps.command import environment
from tests.learn.hub_stand_in import TOKEN, Hub, Repo
from tests.learn.tinybundle import make_bundle

transfer = pytest.importorskip("genrescope.learn.hub.transfer")

NAME = "someone/tiny"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def there(hub: Hub, bundle: Bundle) -> Repo:
    """The bundle in a public repository, among files that nobody should fetch."""
    repo = hub.repos[NAME] = Repo()
    repo.commit({**contents(bundle.folder), "README.md": b"# tiny", "model.pkl": b"cos\nsystem"})
    return repo


def pull(hub: Hub, folder: Path, name: str = NAME, **options: object) -> object:
    return transfer.pull_bundle(name, folder=folder, endpoint=hub.url, **options)


# --- names -----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["tiny", "a/b/c", "../x", "a/..", "a/b@", "a/b@../c", "a--b/c", "a/b c", "-a/b", "a/b@-x", ""],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="OWNER/NAME"):
        HubName.parse(text)


def test_a_name_is_read_and_written() -> None:
    assert HubName.parse("hub:a/b@refs/pr/1") == HubName("a/b", "refs/pr/1")
    assert str(HubName.parse("a-1/b_2.c@v1")) == "hub:a-1/b_2.c@v1"


# --- pulling ---------------------------------------------------------------


def test_a_pulled_bundle_is_the_one_that_is_there(
    hub: Hub, there: Repo, bundle: Bundle, tmp_path: Path
) -> None:
    found = pull(hub, tmp_path)
    commit = there.refs["main"]
    assert found.name == f"hub:{NAME}@{commit}"
    assert found.folder == resolve_bundle(f"hub:{NAME}", tmp_path)
    assert {p.name for p in found.folder.iterdir()} == {
        "card.json",
        "model.onnx",
        "double.onnx",
        "origin.json",
    }
    loaded = Bundle.load(found.folder)
    x = np.random.default_rng(0).normal(size=(2, 3, 12))
    np.testing.assert_array_equal(loaded.run(x)[0], bundle.run(x)[0])
    assert loaded.parts["double"].run({"x": np.ones((1, 3))})["y"].tolist() == [[2, 2, 2]]


def test_the_origin_says_which_commit_and_every_hash(
    hub: Hub, there: Repo, bundle: Bundle, tmp_path: Path
) -> None:
    found = pull(hub, tmp_path)
    origin = Origin.read(found.folder)
    assert (origin.repo, origin.revision) == (NAME, there.refs["main"])
    assert origin.endpoint == hub.url
    assert list(origin.asked) == ["main"]
    assert origin.files == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in contents(bundle.folder).items()
    }
    assert found.sha256 == hashlib.sha256((bundle.folder / "card.json").read_bytes()).hexdigest()


def test_only_files_that_the_card_names_are_fetched(hub: Hub, there: Repo, tmp_path: Path) -> None:
    pull(hub, tmp_path)
    assert sorted(hub.fetched()) == ["card.json", "double.onnx", "model.onnx"]


@pytest.mark.parametrize(
    ("file", "said"),
    [("model.pkl", "nothing else of a bundle is fetched"), ("../model.onnx", "without a folder")],
)
def test_a_card_that_names_another_kind_of_file_is_refused(
    hub: Hub, there: Repo, bundle: Bundle, tmp_path: Path, file: str, said: str
) -> None:
    card = json.loads((bundle.folder / "card.json").read_text())
    card["graph"]["file"] = file
    there.commit({"card.json": json.dumps(card).encode()})
    with pytest.raises(BundleError, match=said):
        pull(hub, tmp_path)
    assert hub.fetched() == ["card.json"]
    assert not pulled_bundles(tmp_path)


def test_two_parts_may_not_share_a_file(bundle: Bundle) -> None:
    card = json.loads(json.dumps(bundle.card))
    card["parts"]["double"]["graph"]["file"] = "Model.onnx"
    with pytest.raises(BundleError, match="twice"):
        named_files(card, where="card")


def test_a_pin_that_does_not_fit_is_refused(hub: Hub, there: Repo, tmp_path: Path) -> None:
    with pytest.raises(ChecksumError, match="expected 0000"):
        pull(hub, tmp_path, sha256="0" * 64)
    assert hub.fetched() == ["card.json"]
    assert not pulled_bundles(tmp_path)
    with pytest.raises(BundleError, match="64 hexadecimal"):
        pull(hub, tmp_path, sha256="123")
    right = hashlib.sha256(there.commits[there.refs["main"]]["card.json"]).hexdigest()
    assert pull(hub, tmp_path, sha256=right.upper()).sha256 == right


def test_main_moves_on_and_the_older_commit_stays(hub: Hub, there: Repo, tmp_path: Path) -> None:
    first = pull(hub, tmp_path)
    newer = make_bundle(tmp_path / "new", n_features=12, seed=1, version="2")
    there.commit(contents(newer.folder))
    second = pull(hub, tmp_path)
    assert second.moved_from == first.origin.revision
    assert resolve_bundle(f"hub:{NAME}", tmp_path) == second.folder
    assert resolve_bundle(f"hub:{NAME}@main", tmp_path) == second.folder
    assert resolve_bundle(first.name, tmp_path) == first.folder
    assert resolve_bundle(first.name[: -40 + 8], tmp_path) == first.folder
    assert Bundle.load(second.folder).card["version"] == "2"


def test_a_tag_that_moved_is_taken_only_on_request(hub: Hub, there: Repo, tmp_path: Path) -> None:
    there.refs["v1"] = there.refs["main"]
    first = pull(hub, tmp_path, f"{NAME}@v1")
    newer = make_bundle(tmp_path / "new", n_features=12, seed=1, version="2")
    there.refs["v1"] = there.commit(contents(newer.folder))
    with pytest.raises(ChecksumError, match=f"was the commit {first.origin.revision}.*--moved"):
        pull(hub, tmp_path, f"{NAME}@v1")
    assert resolve_bundle(f"hub:{NAME}@v1", tmp_path) == first.folder
    second = pull(hub, tmp_path, f"{NAME}@v1", moved=True)
    assert resolve_bundle(f"hub:{NAME}@v1", tmp_path) == second.folder != first.folder


def test_the_same_commit_has_to_be_the_same_again(hub: Hub, there: Repo, tmp_path: Path) -> None:
    first = pull(hub, tmp_path)
    hub.asked.clear()
    assert pull(hub, tmp_path, f"{NAME}@{first.origin.revision}").folder == first.folder
    assert hub.fetched() == ["card.json"]  # compared, and nothing more
    other = make_bundle(tmp_path / "new", n_features=12, seed=1)
    there.commits[first.origin.revision].update(contents(other.folder))
    with pytest.raises(ChecksumError, match="a commit cannot change"):
        pull(hub, tmp_path)
    assert not first.damage()


def test_a_damaged_bundle_is_not_used_and_a_pull_mends_it(
    hub: Hub, there: Repo, tmp_path: Path
) -> None:
    found = pull(hub, tmp_path)
    card = found.folder / "card.json"
    text = card.read_text()
    card.write_text(text.replace("it recognises nothing", "it recognises everything"))
    assert found.damage() == "card.json was changed"
    with pytest.raises(BundleError, match=f"genrescope bundles pull {NAME}$"):
        resolve_bundle(f"hub:{NAME}", tmp_path)
    pull(hub, tmp_path)
    assert card.read_text() == text
    (found.folder / "origin.json").write_text("{")
    assert "origin.json" in pulled_bundles(tmp_path)[0].fault
    assert not pull(hub, tmp_path).damage()


def test_a_pull_that_was_cut_off_goes_on_where_it_was(
    hub: Hub, there: Repo, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len((bundle.folder / "model.onnx").read_bytes())
    whole = transfer.http_get

    def killed(url: str, file: object, **options: object) -> None:
        if "model.onnx" not in url:
            whole(url, file, **options)
            return
        file.write(contents(bundle.folder)["model.onnx"][: size // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "http_get", killed)
    with pytest.raises(KeyboardInterrupt):
        pull(hub, tmp_path)
    monkeypatch.setattr(transfer, "http_get", whole)
    assert not pulled_bundles(tmp_path)
    hub.asked.clear()
    found = pull(hub, tmp_path)
    ranges = [h["Range"] for _, path, h in hub.asked if "/store/" in path and "Range" in h]
    assert ranges == [f"bytes={size // 2}-"]
    assert "card.json" not in hub.fetched()
    assert not found.damage()
    assert [p.name for p in found.folder.parent.iterdir() if p.name != ".lock"] == [
        found.origin.revision
    ]


def test_a_connection_that_breaks_is_taken_up_again(hub: Hub, there: Repo, tmp_path: Path) -> None:
    hub.drop_after["model.onnx"] = 100
    assert not pull(hub, tmp_path).damage()


def test_what_was_begun_of_another_file_is_thrown_away(
    hub: Hub, there: Repo, tmp_path: Path
) -> None:
    stage = tmp_path / "someone--tiny" / f".{there.refs['main']}.part"
    stage.mkdir(parents=True)
    (stage / "model.onnx").write_bytes(b"something else")
    (stage / "card.json").write_bytes(b"x" * 10**6)
    assert not pull(hub, tmp_path).damage()


@pytest.mark.parametrize("file", ["card.json", "model.onnx", "double.onnx"])
def test_bytes_that_are_not_those_of_the_commit_are_refused(
    hub: Hub, there: Repo, tmp_path: Path, file: str
) -> None:
    data = there.commits[there.refs["main"]][file]
    hub.sent_instead[file] = data[:-2] + b"!!"
    with pytest.raises(ChecksumError, match=f"SHA-256 of {file}"):
        pull(hub, tmp_path)
    assert not pulled_bundles(tmp_path)


def test_more_bytes_than_announced_are_refused(hub: Hub, there: Repo, tmp_path: Path) -> None:
    data = there.commits[there.refs["main"]]["model.onnx"]
    hub.sent_instead["model.onnx"] = data + b"x" * 10**6
    with pytest.raises(DownloadError, match="more than the"):
        pull(hub, tmp_path)


@pytest.mark.parametrize("file", ["card.json", "model.onnx"])
def test_files_that_are_too_large_are_not_fetched(
    hub: Hub, there: Repo, tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.said_size[file] = 2**40
    with pytest.raises((BundleError, ChecksumError), match=r"may have|was not taken"):
        pull(hub, tmp_path)
    assert file not in hub.fetched()


@pytest.mark.parametrize("limit", ["MAX_GRAPH", "_MAX_TOTAL"])
def test_the_limits_are_those_of_bundles(
    hub: Hub, there: Repo, tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, limit, 100)
    with pytest.raises(BundleError, match="may have 100 B"):
        pull(hub, tmp_path)
    assert hub.fetched() == ["card.json"]


def test_a_repository_without_a_card_is_no_bundle(hub: Hub, tmp_path: Path) -> None:
    hub.repos[NAME] = Repo()
    hub.repos[NAME].commit({"model.onnx": b"x"})
    with pytest.raises(BundleError, match=r"has no file card\.json"):
        pull(hub, tmp_path)


def test_a_private_repository_needs_the_token(
    hub: Hub, there: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.private = True
    with pytest.raises(DownloadError, match=r"it is private.*hf auth login"):
        pull(hub, tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert not pull(hub, tmp_path).damage()
    told = {
        path: "authorization" in map(str.lower, h)
        for _, path, h in hub.asked
        if "model.onnx" in path
    }
    assert [seen for path, seen in told.items() if "/resolve/" in path] == [True]
    # Graphs come from another host, which has no business with the token.
    lent = [h for _, path, h in hub.asked if "/store/" in path]
    assert lent
    assert not any("authorization" in map(str.lower, h) for h in lent)


@pytest.mark.parametrize(
    ("status", "said"), [(503, "answers 503; try again later"), (403, "hf auth login")]
)
def test_an_answer_that_is_an_error_is_one_clear_line(
    hub: Hub, there: Repo, tmp_path: Path, status: int, said: str
) -> None:
    hub.status = status
    with pytest.raises(DownloadError, match=said) as told:
        pull(hub, tmp_path)
    assert "\n" not in str(told.value)


def test_errors_name_the_way_out(
    hub: Hub, there: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DownloadError, match="no such repository"):
        pull(hub, tmp_path, "someone/other")
    with pytest.raises(DownloadError, match="has no revision v9"):
        pull(hub, tmp_path, f"{NAME}@v9")
    there.gated = True
    with pytest.raises(DownloadError, match="ask for access"):
        pull(hub, tmp_path)


def test_without_a_network_it_says_what_still_works(hub: Hub, there: Repo, tmp_path: Path) -> None:
    found = pull(hub, tmp_path)
    with pytest.raises(DownloadError, match=r"cannot be reached.*genrescope bundles list"):
        transfer.pull_bundle(NAME, folder=tmp_path, endpoint="http://127.0.0.1:9")
    from genrescope.learn.hub.client import asking, hub_errors

    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"), asking(HubName(NAME)):
        raise hub_errors.OfflineModeIsEnabled("offline")
    assert resolve_bundle(f"hub:{NAME}", tmp_path) == found.folder


def test_a_full_disk_is_not_called_a_lost_connection(
    hub: Hub, there: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer, "http_get", full)
    with pytest.raises(DownloadError, match=r"cannot be written.*No space left"):
        pull(hub, tmp_path)


# --- names of pulled bundles ------------------------------------------------


def test_nothing_is_fetched_unasked(hub: Hub, there: Repo, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"run: genrescope bundles pull {NAME}@v1$"):
        resolve_bundle(f"hub:{NAME}@v1", tmp_path)
    assert not hub.asked
    there.refs["v2"] = there.refs["main"]
    found = pull(hub, tmp_path, f"{NAME}@v2")
    with pytest.raises(BundleError, match=f"other revisions of it are: {found.name}"):
        resolve_bundle(f"hub:{NAME}@v1", tmp_path)


def test_resolving_needs_no_client() -> None:
    code = (
        "import sys\n"
        "sys.modules['huggingface_hub'] = None\n"
        "from genrescope.errors import BundleError, MissingExtraError\n"
        "from genrescope.learn.hub.pulled import resolve_bundle, pulled_bundles\n"
        "pulled_bundles()\n"
        "try: resolve_bundle('hub:a/b')\n"
        "except BundleError as error: print(error)\n"
        "try: import genrescope.learn.hub.transfer\n"
        "except MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert "genrescope bundles pull a/b" in done.stdout
    assert 'pip install "genrescope[hub]"' in done.stdout


def test_removing(hub: Hub, there: Repo, tmp_path: Path) -> None:
    first = pull(hub, tmp_path)
    newer = make_bundle(tmp_path / "new", n_features=12, seed=1, version="2")
    there.commit(contents(newer.folder))
    second = pull(hub, tmp_path)
    with pytest.raises(BundleError, match="2 commits of it were pulled"):
        remove_bundle(HubName(NAME), folder=tmp_path)
    assert remove_bundle(HubName(NAME, first.origin.revision[:10]), folder=tmp_path) == 1
    assert [found.name for found in pulled_bundles(tmp_path)] == [second.name]
    assert remove_bundle(HubName(NAME), folder=tmp_path) == 1
    assert not first.folder.parent.exists()
    with pytest.raises(BundleError, match="was not pulled"):
        remove_bundle(HubName(NAME), folder=tmp_path)
