"""Bundles to and from the Hugging Face Hub.

What comes from there is anyone's. So only the card and the graphs that it names are fetched, each
under a limit; every byte is compared with the SHA-256 on the card, and the card with the object id
that the Hub gives for the commit; and the bundle is loaded before it is put where it can be used.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.catalog.storage import human_bytes
from genrescope.errors import (
    BundleError,
    ChecksumError,
    DiskSpaceError,
    DownloadError,
    GenrescopeError,
)
from genrescope.learn.bundle import Bundle
from genrescope.learn.card import CARD_FILE, check_card
from genrescope.learn.graphs import MAX_GRAPH, open_session, parse_object, read_limited
from genrescope.learn.hub.client import (
    LOST,
    WHO,
    CommitOperationAdd,
    HfApi,
    asking,
    hf_hub_url,
    http_get,
    hub_errors,
    hub_utils,
    is_answer,
)
from genrescope.learn.hub.pulled import (
    DEFAULT_REVISION,
    MAX_CARD,
    HubName,
    Origin,
    PulledBundle,
    digest_of,
    find_pulled,
    named_files,
    repo_folder,
)

__all__ = ["PAGE_FILE", "Pushed", "pull_bundle", "push_bundle"]

#: The page of a repository.
PAGE_FILE = "README.md"

_MAX_TOTAL = 2**30  # bytes of one bundle
_TRIES = 3  # in a row that bring no byte
_SPARE = 64 << 20  # bytes that stay free on the disk


@dataclass(frozen=True)
class Pushed:
    """What was pushed.

    Attributes
    ----------
    repo : str
        ``OWNER/NAME``.
    revision : str
        The commit.
    sha256 : str
        Of the card, which stands for the whole bundle.
    url : str
        The page of the repository.
    tag : str or None
        The name that was given to the revision.
    """

    repo: str
    revision: str
    sha256: str
    url: str
    tag: str | None = None


def pull_bundle(
    name: str,
    *,
    sha256: str | None = None,
    moved: bool = False,
    folder: Path | None = None,
    endpoint: str | None = None,
) -> PulledBundle:
    """Fetch a bundle, check it, and put it where :func:`resolve_bundle` finds it.

    It is put there as a whole or not at all. A pull that was cut off goes on where it was when it
    is asked for again.

    Parameters
    ----------
    name : str
        ``[hub:]OWNER/NAME[@REVISION]``; without a revision, the branch ``main``.
    sha256 : str, optional
        What the SHA-256 of ``card.json`` has to be, 64 hexadecimal digits.
    moved : bool
        Take another commit than the one that this revision was when it was pulled before. Not
        needed for ``main``, which is meant to move on.
    folder : Path, optional
        Where pulled bundles are kept; the default is in the user's data folder.
    endpoint : str, optional
        The address of the Hub; the default is that of huggingface_hub (``HF_ENDPOINT``).

    Returns
    -------
    PulledBundle

    Raises
    ------
    BundleError
        If `name` is none, or what is there is no bundle that this version can load.
    ChecksumError
        If a file is not the one that the card, `sha256`, or an earlier pull says.
    DownloadError
        If there is no such repository or revision for this user, or no connection.
    DiskSpaceError
        If it does not fit on the disk.
    """
    asked = HubName.parse(name)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise BundleError(f"{sha256!r}: is no SHA-256, which has 64 hexadecimal digits")
    revision = asked.revision or DEFAULT_REVISION
    api = HfApi(endpoint=endpoint, **WHO)
    with asking(asked):
        info = api.model_info(asked.repo, revision=revision, files_metadata=True)
    commit = str(info.sha)
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise DownloadError(f"{asked}: the Hub gives {commit!r} where a commit was expected")
    before = find_pulled(HubName(asked.repo, revision), folder)
    _check_unmoved(asked, commit, before, moved=moved)
    home = repo_folder(asked.repo, folder)
    listed = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    try:
        home.mkdir(parents=True, exist_ok=True)
        with hub_utils.WeakFileLock(home / ".lock"):
            origin = Origin(asked.repo, commit, endpoint=api.endpoint)
            pull = _Pull(asked, origin, listed, home)
            target = pull.run((sha256 or "").lower())
    except OSError as error:
        if isinstance(error, GenrescopeError):
            raise
        raise DownloadError(
            f"{home}: cannot be written ({error.strerror or error}); make room, or make it "
            "writable, and pull again"
        ) from error
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    origin = Origin.read(target)
    origin = replace(origin, asked={**origin.asked, revision: now})
    origin.write(target)
    was = before.origin.revision if before is not None else commit
    return PulledBundle(target, origin, moved_from="" if was == commit else was)


def _check_unmoved(
    asked: HubName, commit: str, before: PulledBundle | None, *, moved: bool
) -> None:
    if asked.revision is None or asked.revision == DEFAULT_REVISION:
        return
    if re.fullmatch(r"[0-9a-f]{40}", asked.revision) and commit != asked.revision:
        raise ChecksumError(f"{asked}: the Hub answers with the commit {commit}; it was not taken")
    if before is not None and before.origin.revision != commit and not moved:
        raise ChecksumError(
            f"{asked}: was the commit {before.origin.revision} when it was pulled on "
            f"{before.origin.asked.get(asked.revision, before.origin.pulled)[:10]}, and is "
            f"{commit} now. Ask its owner why; to take it all the same, pull with --moved"
        )


class _Pull:
    """One commit on its way to the disk."""

    def __init__(
        self, asked: HubName, origin: Origin, listed: Mapping[str, Any], home: Path
    ) -> None:
        self.asked, self.origin, self.listed = asked, origin, listed
        self.target = home / origin.revision
        self.stage = home / f".{origin.revision}.part"

    def run(self, sha256: str) -> Path:
        """Fetch what is not there; gives the folder of the bundle."""
        known = self._known()
        self.stage.mkdir(exist_ok=True)
        card_file = self._fetch(CARD_FILE, limit=MAX_CARD)
        found = digest_of(card_file)
        if sha256 and found != sha256:
            raise ChecksumError(
                f"{self.asked}: SHA-256 of its card is {found}, expected {sha256}; it is another "
                "bundle, or another version of it, and was not taken"
            )
        if known is not None and known.sha256 != found:
            raise ChecksumError(
                f"{self.asked}: SHA-256 of its card is {found}, and was {known.sha256} when the "
                "same commit was pulled before; a commit cannot change, so do not trust this "
                f"answer. To begin anew: genrescope bundles remove {self.asked.repo}@"
                f"{self.origin.revision}"
            )
        if known is not None and not known.damage():
            shutil.rmtree(self.stage)
            return self.target
        where = f"{self.asked}, {CARD_FILE}"
        card = parse_object(read_limited(card_file, limit=MAX_CARD), where=where)
        check_card(card, where=where)
        files = named_files(card, where=where)
        self._check_sizes(files)
        for name, said in files.items():
            self._fetch(name, limit=said["bytes"], expected=str(said["sha256"]))
        return self._install(files)

    def _known(self) -> PulledBundle | None:
        """This commit as it was pulled before, if what was recorded can be read."""
        try:
            return PulledBundle(self.target, Origin.read(self.target))
        except BundleError:
            return None

    def _check_sizes(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        for name, said in files.items():
            size = self._size(name)
            if size != said["bytes"]:
                raise ChecksumError(
                    f"{self.asked}: {name} has {size:,} bytes, its card says {said['bytes']:,}; "
                    "it was not taken: ask its owner to push it again"
                )
            if size > MAX_GRAPH:
                raise BundleError(
                    f"{self.asked}: {name} has {human_bytes(size)}, a graph may have "
                    f"{human_bytes(MAX_GRAPH)}; it was not taken"
                )
        total = sum(said["bytes"] for said in files.values())
        if total > _MAX_TOTAL:
            raise BundleError(
                f"{self.asked}: has {human_bytes(total)}, a bundle may have "
                f"{human_bytes(_MAX_TOTAL)}; it was not taken"
            )
        free = shutil.disk_usage(self.stage).free
        if free < total + _SPARE:
            raise DiskSpaceError(
                f"{self.asked}: needs {human_bytes(total + _SPARE)} on the disk of {self.stage}, "
                f"and {human_bytes(free)} are free; free some space and pull again"
            )

    def _size(self, name: str) -> int:
        if name not in self.listed:
            raise BundleError(
                f"{self.asked}: has no file {name}; it is no genrescope bundle, or was not pushed "
                "with genrescope bundles push"
            )
        size = self.listed[name].size
        if not isinstance(size, int):
            raise DownloadError(f"{self.asked}: the Hub does not say how large {name} is")
        return size

    def _listed_digest(self, path: Path) -> str:
        """SHA-256 that a file has to have by what the Hub says of the commit."""
        entry = self.listed[path.name]
        if entry.lfs is not None:
            return str(entry.lfs.sha256)
        data = path.read_bytes()
        # What git calls a blob, which is all that the Hub knows of a small file.
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return (
            hashlib.sha256(data).hexdigest() if blob == entry.blob_id else f"blob {entry.blob_id}"
        )

    def _fetch(self, name: str, *, limit: int, expected: str | None = None) -> Path:
        """A whole, checked file in the stage; goes on with one that was cut off.

        `expected` is its SHA-256; without it, the Hub's own word is taken.
        """
        size, path = self._size(name), self.stage / name
        if size > limit:
            raise BundleError(
                f"{self.asked}: {name} has {human_bytes(size)}, it may have {human_bytes(limit)}; "
                "it is no genrescope bundle"
            )
        begun = path.stat().st_size if path.exists() else 0
        for start in dict.fromkeys((begun if begun <= size else 0, 0)):
            self._transfer(name, path, start=start, size=size)
            found, wanted = digest_of(path), expected or self._listed_digest(path)
            if found == wanted:
                return path
            # What was begun before may be of another file: once more, from the first byte.
        path.unlink()
        raise ChecksumError(
            f"{self.asked}: SHA-256 of {name} is {found}, expected {wanted}; it was not taken: "
            "pull again, or ask its owner to push it again"
        )

    def _transfer(self, name: str, path: Path, *, start: int, size: int) -> None:
        url = hf_hub_url(
            self.asked.repo, name, revision=self.origin.revision, endpoint=self.origin.endpoint
        )
        headers = {**hub_utils.build_hf_headers(**WHO), "Accept-Encoding": "identity"}
        with _Limited(path, limit=size) as file, asking(self.asked):
            file.truncate(start)
            file.seek(start)
            failures = 0
            while (begun := file.tell()) < size:
                try:
                    http_get(
                        url,
                        file,
                        resume_size=begun,
                        headers=headers,
                        expected_size=size,
                        displayed_filename=name,
                    )
                except LOST as error:
                    # Again from where it broke off.
                    failures = 0 if file.tell() > begun else failures + 1
                    if is_answer(error) or failures >= _TRIES:
                        raise

    def _install(self, files: Mapping[str, Mapping[str, Any]]) -> Path:
        """Only what was checked goes in, and it goes in at once."""
        ready = self.stage / "bundle"
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        for name in (CARD_FILE, *files):
            os.replace(self.stage / name, ready / name)
        Bundle.load(ready).check_graphs()
        described = {
            name: {"sha256": digest_of(ready / name), "bytes": (ready / name).stat().st_size}
            for name in (CARD_FILE, *files)
        }
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        replace(self.origin, files=described, pulled=now).write(ready)
        if self.target.exists():  # damaged, or it would have been taken as it is
            shutil.rmtree(self.target)
        os.replace(ready, self.target)
        shutil.rmtree(self.stage)
        return self.target


class _Limited(io.BufferedRandom):
    """A file that does not grow beyond what was announced."""

    def __init__(self, path: Path, *, limit: int) -> None:
        path.touch()
        super().__init__(io.FileIO(path, "r+"))
        self._limit, self._path = limit, path

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._limit:
            raise DownloadError(
                f"{self._path.name}: the Hub sends more than the {self._limit:,} bytes that it "
                "announced; it was not taken"
            )
        return super().write(data)


def push_bundle(
    folder: str | os.PathLike[str],
    repo: str,
    *,
    page: Callable[[Mapping[str, Any]], str],
    private: bool = False,
    tag: str | None = None,
    endpoint: str | None = None,
) -> Pushed:
    """Send a bundle, and a page that describes it, in one commit.

    Parameters
    ----------
    folder : path-like
        The bundle, or its name.
    repo : str
        ``OWNER/NAME``; made if it is not there.
    page : callable (mapping) -> str
        Writes ``README.md`` from the card.
    private : bool
        Only its owner may see it.
    tag : str, optional
        A name for the revision, such as ``v1``.
    endpoint : str, optional
        The address of the Hub; the default is that of huggingface_hub (``HF_ENDPOINT``).

    Returns
    -------
    Pushed

    Raises
    ------
    BundleError
        If the bundle does not load and run, or `repo` or `tag` is no name, or the repository is
        public where `private` was asked for. Nothing is sent then.
    DownloadError
        If the Hub refuses, or cannot be reached.
    """
    name = HubName.parse(repo)
    if name.revision is not None:
        raise BundleError(
            f"{repo}: a push goes to {DEFAULT_REVISION}; leave out @{name.revision}, and name the "
            "revision with --tag if you like"
        )
    if tag is not None and (HubName.parse(f"{name.repo}@{tag}").revision == DEFAULT_REVISION):
        raise BundleError(f"{tag}: is the name of the branch; choose another tag, such as v1")
    files, card = _files_to_push(folder)
    files[PAGE_FILE] = page(card).encode()
    api = HfApi(endpoint=endpoint, **WHO)
    with asking(name, sending=True):
        if not _is_there(api, name.repo):
            api.create_repo(name.repo, private=private or None, exist_ok=True)
        if private and not api.model_info(name.repo).private:
            raise BundleError(
                f"{name.repo}: is there already, and is public; nothing was sent. Make it private "
                "in its settings on the Hub, or push without --private"
            )
        done = api.create_commit(
            name.repo,
            [
                CommitOperationAdd(path_in_repo=file, path_or_fileobj=data)
                for file, data in files.items()
            ],
            commit_message=f"{card['name']} {card['version']}",
        )
        if tag is not None:
            api.create_tag(name.repo, tag=tag, revision=done.oid)
    return Pushed(
        name.repo,
        done.oid,
        hashlib.sha256(files[CARD_FILE]).hexdigest(),
        f"{api.endpoint}/{name.repo}",
        tag,
    )


def _is_there(api: Any, repo: str) -> bool:
    try:
        api.model_info(repo)
    except hub_errors.GatedRepoError:
        return True
    except hub_errors.RepositoryNotFoundError:
        return False
    return True


def _files_to_push(folder: str | os.PathLike[str]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The bytes of a bundle that loads and runs, and its card."""
    bundle = Bundle.load(folder)
    bundle.run(np.zeros((1, 1, bundle.n_features), dtype=np.float32))
    where = str(bundle.folder / CARD_FILE)
    files = {
        name: read_limited(bundle.folder / name) for name in named_files(bundle.card, where=where)
    }
    for name, part in bundle.card.get("parts", {}).items():
        graph = part["graph"]
        open_session(
            files[graph["file"]],
            inputs=graph["inputs"],
            outputs=graph["outputs"],
            where=f"{bundle.folder}, part {name}",
        )
    files[CARD_FILE] = read_limited(bundle.folder / CARD_FILE, limit=MAX_CARD)
    return files, bundle.card
