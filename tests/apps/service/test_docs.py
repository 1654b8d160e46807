"""docs/service.md, run line by line against a server, and its answers against the document."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from genrescope import Recogniser
from genrescope.apps.service.models import Heard, Problem
from genrescope.apps.service.settings import Settings
from tests.apps.service.serving import TOKEN, Running, serving, sound

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "service.md").read_text("utf-8")
CURLS = re.findall(r"^\$ curl (.*)$", PAGE, flags=re.MULTILINE)
_BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("music")
    (found / "song.mp3").write_bytes(sound(40.0, form="MP3"))
    (found / "notes.txt").write_text("no music")
    return found


@pytest.fixture(scope="module")
def documented(folder: Path) -> Iterator[Running]:
    with serving(library=folder, token=TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def document(documented: Running) -> dict[str, Any]:
    with documented.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def as_request(line: str, folder: Path) -> dict[str, Any]:
    """A line of curl as arguments of httpx."""
    words = shlex.split(line.replace("$GENRESCOPE_TOKEN", TOKEN))
    request: dict[str, Any] = {"method": "GET", "headers": {}, "files": []}
    while words:
        word = words.pop(0)
        if word == "-H":
            name, _, value = words.pop(0).partition(": ")
            request["headers"][name] = value
        elif word in ("-d", "--data-binary"):
            value = words.pop(0)
            file = folder / value[1:]
            request["content"] = file.read_bytes() if value[0] == "@" else value.encode()
        elif word == "-F":
            name, _, file_name = words.pop(0).partition("=@")
            request["files"].append((name, (file_name, (folder / file_name).read_bytes())))
        else:
            assert word.startswith(_BASE), word
            request["url"] = word.removeprefix(_BASE)
    if request["files"] or "content" in request:
        request["method"] = "POST"
    request["files"] = request["files"] or None
    return request


def conforms(document: dict[str, Any], request: dict[str, Any], response: httpx.Response) -> None:
    """Fail where a response is not what the document says."""
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    path = request["url"].partition("?")[0]
    told = document["paths"][path][request["method"].lower()]["responses"]
    kinds = told[str(response.status_code)]["content"]
    schema = kinds[response.headers["content-type"]]["schema"]
    whole = {**schema, "components": document["components"]}
    jsonschema_rs.validator_for(whole).validate(response.json())


def test_there_are_examples() -> None:
    assert len(CURLS) >= 10


@pytest.mark.parametrize("line", CURLS)
def test_an_example(documented: Running, document: dict[str, Any], folder: Path, line: str) -> None:
    request = as_request(line, folder)
    request["headers"].setdefault("Authorization", f"Bearer {TOKEN}")
    with documented.client() as client:
        response = client.request(**request)
    only_notes = line.count("-F") == 1 and "notes.txt" in line
    assert response.status_code == (415 if only_notes else 200), response.text
    conforms(document, request, response)
    if "results" in response.text:
        assert response.json()["results"][0]["file"] == "song.mp3"
    shown = re.search(rf"\$ curl {re.escape(line)}\n```\n\n```json\n(.*?)```", PAGE, re.DOTALL)
    if shown is not None:
        keys = set(re.findall(r'^  "(\w+)"', shown[1], flags=re.MULTILINE))
        assert keys == response.json().keys()


def test_every_route_of_the_document_is_on_the_page(document: dict[str, Any]) -> None:
    on_page = set(re.findall(r"^\| `(GET|POST) (\S+)` \|", PAGE, flags=re.MULTILINE))
    told = {(m.upper(), path) for path, ways in document["paths"].items() for m in ways}
    assert on_page == told | {("GET", "/openapi.json")}


def test_the_document_has_every_member_of_an_answer() -> None:
    told = Recogniser.load().predict(_noise(), sr=22_050).to_dict()
    assert set(Heard.model_fields) == set(told)
    assert Problem.model_config["json_schema_extra"]


def _noise() -> Any:
    import numpy as np

    return np.random.default_rng(0).normal(scale=0.1, size=44_100)


def test_the_limits_on_the_page_are_those_of_the_service() -> None:
    settings = Settings()
    for words in (
        f"`--max-mb` ({settings.max_bytes >> 20} MB)",
        f"`--max-files` ({settings.max_files})",
        f"`--timeout` ({settings.max_seconds:.0f})",
        f"`--queue` of them at most ({settings.queue})",
        f"`--grace` seconds ({settings.grace:.0f})",
        f"no byte for {settings.stall_seconds:.0f} s",
    ):
        assert words in " ".join(PAGE.split()), words


def test_every_status_is_on_the_page(document: dict[str, Any]) -> None:
    table = PAGE[PAGE.index("| status | when |") : PAGE.index("One file alone")]
    on_page = {
        int(x) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for x in row.split(",")
    }
    told = {
        int(status)
        for ways in document["paths"].values()
        for way in ways.values()
        for status in way["responses"]
    }
    assert on_page - {405} == told - {200, 500}
