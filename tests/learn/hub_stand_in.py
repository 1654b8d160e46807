"""A server on this machine that answers huggingface_hub as the Hugging Face Hub does.

Repositories with commits, branches and tags; small files as git blobs, graphs in the store for
large files, on another host as the Hub has it; private and gated repositories; ranges. What it
does wrong on purpose is told to it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import json
import re
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

TOKEN = "hf_owner"
LICENCES = {"apache-2.0", "cc0-1.0", "mit", "other"}


@dataclass
class Repo:
    """One repository: its commits, and what they are called."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # files by commit
    refs: dict[str, str] = field(default_factory=dict)  # commits by branch or tag
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], *, message: str = "") -> str:
        """Add a commit on top of main; gives its id."""
        before = self.commits.get(self.refs.get("main", ""), {})
        told = f"{len(self.commits)} {sorted(files)} {message}".encode()
        oid = hashlib.sha1(told + b"".join(files.values())).hexdigest()
        self.commits[oid] = {**before, **files}
        self.refs["main"] = oid
        self.messages.append(message)
        return oid


@dataclass
class Hub:
    """The stand-in: what it holds, what it was asked, and what it is to do wrong."""

    repos: dict[str, Repo] = field(default_factory=dict)
    store: dict[str, bytes] = field(default_factory=dict)  # large files by SHA-256
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    drop_after: dict[str, int] = field(default_factory=dict)  # bytes, by file name; each once
    sent_instead: dict[str, bytes] = field(default_factory=dict)  # by file name
    said_size: dict[str, int] = field(default_factory=dict)
    status: int = 0  # instead of every answer

    def paths(self, method: str = "GET") -> list[str]:
        return [path for verb, path, _ in self.asked if verb == method]

    def fetched(self) -> list[str]:
        """The files that were asked for, in order."""
        found = (re.search(r"/resolve/[^/]+/(.+)$", path) for path in self.paths())
        return [match[1] for match in found if match]


def _is_large(name: str) -> bool:
    return name.endswith((".onnx", ".pkl", ".bin"))


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        # --- answers

        def say(self, value: Any, status: int = 200, **headers: str) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name.replace("_", "-"), text)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def fail(self, status: int, code: str) -> None:
            self.say({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

        def take(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        @property
        def known_user(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def repo(self, name: str, *, writing: bool = False) -> Repo | None:
            repo = hub.repos.get(name)
            if repo is None or (repo.private and not self.known_user):
                self.fail(401 if not self.known_user else 404, "RepoNotFound")
            elif repo.gated:
                self.fail(403, "GatedRepo")
            elif writing and not self.known_user:
                self.fail(403, "Forbidden")
            else:
                return repo
            return None

        def do(self) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            hub.asked.append((self.command, path, dict(self.headers)))
            if hub.status:
                self.take()
                self.fail(hub.status, "Broken")
                return
            for pattern, method in (
                (r"/api/repos/create", self.create),
                (r"/api/validate-yaml", self.validate),
                (r"/api/models/(\w[^/]*/[^/]+)/preupload/(.+)", self.preupload),
                (r"/api/models/(\w[^/]*/[^/]+)/commit/(.+)", self.commit),
                (r"/api/models/(\w[^/]*/[^/]+)/tag/(.+)", self.tag),
                (r"/api/models/(\w[^/]*/[^/]+)(?:/revision/(.+))?", self.info),
                (r"/(\w[^/]*/[^/]+)\.git/info/lfs/objects/batch", self.batch),
                (r"/(\w[^/]*/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
                (r"/store/([0-9a-f]{64})/(.+)", self.stored),
            ):
                found = re.fullmatch(pattern, path)
                if found:
                    method(*found.groups())
                    return
            self.take()
            self.fail(404, "NotFound")

        do_GET = do_HEAD = do_POST = do_PUT = do

        # --- reading

        def info(self, name: str, revision: str | None) -> None:
            repo = self.repo(name)
            if repo is None:
                return
            oid = repo.refs.get(revision or "main", revision or "")
            if revision is not None and oid not in repo.commits:
                self.fail(404, "RevisionNotFound")
                return
            siblings = []
            for file, data in repo.commits.get(oid, {}).items():
                size = hub.said_size.get(file, len(data))
                entry: dict[str, Any] = {"rfilename": file, "size": size}
                entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                if _is_large(file):
                    digest = hashlib.sha256(data).hexdigest()
                    entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 132}
                siblings.append(entry)
            self.say(
                {
                    "_id": "1",
                    "id": name,
                    "sha": oid,
                    "private": repo.private,
                    "tags": [],
                    "downloads": 0,
                    "siblings": siblings,
                }
            )

        def resolve(self, name: str, revision: str, file: str) -> None:
            repo = self.repo(name)
            if repo is None:
                return
            oid = repo.refs.get(revision, revision)
            if file not in repo.commits.get(oid, {}):
                self.fail(404, "EntryNotFound")
                return
            data = repo.commits[oid][file]
            if not _is_large(file):
                self.file(file, data, X_Repo_Commit=oid)
                return
            digest = hashlib.sha256(data).hexdigest()
            hub.store[digest] = data
            self.say(
                {},
                302,
                # The same server by another name: the token must not follow.
                Location=f"{hub.url.replace('127.0.0.1', 'localhost')}/store/{digest}/{file}",
                X_Repo_Commit=oid,
                X_Linked_Size=str(len(data)),
                X_Linked_ETag=f'"{digest}"',
            )

        def stored(self, digest: str, file: str) -> None:
            if self.command == "PUT":
                data = self.take()
                assert hashlib.sha256(data).hexdigest() == digest
                hub.store[digest] = data
                self.say({})
            elif self.command == "POST":  # git-lfs calls it verifying
                said = json.loads(self.take())
                self.say({}, 200 if len(hub.store[said["oid"]]) == said["size"] else 422)
            else:
                self.file(file, hub.store[digest])

        def file(self, name: str, data: bytes, **headers: str) -> None:
            data, whole = hub.sent_instead.get(name, data), len(data)
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            at = int(start[1]) if start else 0
            self.send_response(206 if start else 200)
            for header, text in headers.items():
                self.send_header(header.replace("_", "-"), text)
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            if start:
                self.send_header("Content-Range", f"bytes {at}-{whole - 1}/{whole}")
            self.send_header("Content-Length", str(len(data) - at))
            self.end_headers()
            if self.command == "HEAD":
                return
            end = hub.drop_after.pop(name, None)
            self.wfile.write(data[at:end])
            if end is not None:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        # --- writing

        def create(self) -> None:
            said = json.loads(self.take())
            name = f"{said['organization']}/{said['name']}"
            if not self.known_user:
                self.fail(401, "Unauthorized")
            elif name in hub.repos:
                self.say({"url": f"{hub.url}/{name}"}, 409)
            else:
                private = said.get("visibility") == "private" or bool(said.get("private"))
                hub.repos[name] = Repo(private=private)
                hub.repos[name].commit({".gitattributes": b""}, message="initial commit")
                self.say({"url": f"{hub.url}/{name}"})

        def validate(self) -> None:
            said = json.loads(self.take())
            front = yaml.safe_load(said["content"].split("---\n")[1])
            errors = []
            if front.get("license") not in LICENCES:
                errors.append({"message": "license is not known"})
            if front.get("license") == "other" and not front.get("license_link"):
                errors.append({"message": "license_link is missing"})
            results = [r for model in front.get("model-index", ()) for r in model["results"]]
            if not all(r["task"]["type"] and r["dataset"]["type"] for r in results):
                errors.append({"message": "model-index is not whole"})
            self.say({"errors": errors, "warnings": []}, 400 if errors else 200)

        def preupload(self, name: str, revision: str) -> None:
            said = json.loads(self.take())
            if self.repo(name, writing=True) is None:
                return
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if _is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for file in said["files"]
            ]
            self.say({"files": files})

        def batch(self, name: str) -> None:
            said = json.loads(self.take())
            objects = []
            for item in said["objects"]:
                link = {"href": f"{hub.url}/store/{item['oid']}/upload", "header": {}}
                objects.append({**item, "actions": {"upload": link, "verify": link}})
            self.say({"transfer": "basic", "objects": objects})

        def commit(self, name: str, revision: str) -> None:
            lines = [json.loads(line) for line in self.take().splitlines()]
            repo = self.repo(name, writing=True)
            if repo is None:
                return
            files = {}
            for line in lines[1:]:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.store[value["oid"]]
            oid = repo.commit(files, message=lines[0]["value"]["summary"])
            self.say({"commitUrl": f"{hub.url}/{name}/commit/{oid}", "commitOid": oid})

        def tag(self, name: str, revision: str) -> None:
            said = json.loads(self.take())
            repo = self.repo(name, writing=True)
            if repo is None:
                return
            if said["tag"] in repo.refs:
                self.fail(409, "TagExists")
                return
            repo.refs[said["tag"]] = repo.refs.get(revision, revision)
            self.say({})

    return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # connections are cut on purpose


def use(hub: Hub, monkeypatch: pytest.MonkeyPatch, no_token: Path) -> None:
    """Have huggingface_hub ask the stand-in, as HF_ENDPOINT does when it is imported."""
    constants = pytest.importorskip("huggingface_hub.constants")
    # The store for large files by its older protocol, which the stand-in speaks.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(no_token))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    template = "".join((hub.url, *template[1:]))
    for module in ("constants", "hf_api", "file_download"):
        names = importlib.import_module(f"huggingface_hub.{module}")
        for name, value in (("ENDPOINT", hub.url), ("HUGGINGFACE_CO_URL_TEMPLATE", template)):
            if hasattr(names, name):
                monkeypatch.setattr(names, name, value)


@contextlib.contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """A stand-in that answers until the block ends."""
    hub = Hub()
    server = _Quiet(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
