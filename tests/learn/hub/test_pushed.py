"""Bundles sent to the Hub, against a stand-in of its API."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from genrescope.errors import BundleError, DownloadError
from genrescope.learn.bundle import Bundle
from tests.learn.hub.test_pulled import NAME, contents, pull
from tests.learn.hub_stand_in import TOKEN, Hub, Repo

transfer = pytest.importorskip("genrescope.learn.hub.transfer")


def page(card: object) -> str:
    return "---\nlicense: cc0-1.0\n---\n\n# tiny\n"


def push(hub: Hub, folder: Path, repo: str = NAME, **options: object) -> object:
    return transfer.push_bundle(folder, repo, page=page, endpoint=hub.url, **options)


def test_what_was_pushed_can_be_pulled(
    hub: Hub, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    sent = push(hub, bundle.folder, tag="v1")
    repo = hub.repos[NAME]
    assert not repo.private
    assert repo.messages == ["initial commit", "tiny 1"]  # all in one
    assert sent.revision == repo.refs["main"] == repo.refs["v1"]
    assert repo.commits[sent.revision] == {
        **contents(bundle.folder),
        ".gitattributes": b"",
        "README.md": page(None).encode(),
    }
    found = pull(hub, tmp_path, f"{NAME}@v1", sha256=sent.sha256)
    assert found.origin.revision == sent.revision
    assert not found.damage()


def test_private_means_private(hub: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push(hub, bundle.folder, private=True)
    assert hub.repos[NAME].private
    hub.repos["someone/public"] = Repo()
    with pytest.raises(BundleError, match="is public; nothing was sent"):
        push(hub, bundle.folder, "someone/public", private=True)
    assert not hub.repos["someone/public"].commits


@pytest.mark.parametrize("harm", ["graph", "card", "part", "missing"])
def test_a_bundle_that_does_not_load_is_not_sent(
    hub: Hub, bundle: Bundle, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    files = contents(bundle.folder)
    if harm == "graph":
        files["model.onnx"] = files["model.onnx"][:-1] + b"!"
    elif harm == "card":
        files["card.json"] = b"{}"
    elif harm == "missing":
        del files["double.onnx"]
    else:  # by its SHA-256 the right file, but no graph
        card = json.loads(files["card.json"])
        files["double.onnx"] = b"no graph"
        card["parts"]["double"]["graph"]["bytes"] = 8
        card["parts"]["double"]["graph"]["sha256"] = hashlib.sha256(b"no graph").hexdigest()
        files["card.json"] = json.dumps(card).encode()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BundleError):
        push(hub, tmp_path)
    assert not hub.asked


def test_pushing_needs_a_login_that_may_write(
    hub: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DownloadError, match="hf auth login"):
        push(hub, bundle.folder)
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    hub.repos[NAME] = Repo()
    with pytest.raises(DownloadError, match="hf auth login"):
        push(hub, bundle.folder)
    assert not hub.repos[NAME].commits


def test_where_a_push_goes_is_said_before_anything_is_sent(
    hub: Hub, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(BundleError, match="leave out @v1"):
        push(hub, bundle.folder, f"{NAME}@v1")
    for tag in ("main", "no good"):
        with pytest.raises(BundleError):
            push(hub, bundle.folder, tag=tag)
    assert not hub.asked
    push(hub, bundle.folder, tag="v1")
    with pytest.raises(DownloadError, match="has it already"):
        push(hub, bundle.folder, tag="v1")
