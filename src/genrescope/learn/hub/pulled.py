"""Bundles that were pulled from the Hugging Face Hub, by name and without a network.

A pulled bundle lies in the user's data folder, in a folder of its own for each commit. Beside its
card is ``origin.json``: where it came from, which commit it is, and the SHA-256 of every file. The
SHA-256 of ``card.json`` stands for the whole bundle, since the card holds that of every graph.

Pulling and pushing, which need a network and the extra ``hub``, are in
:mod:`genrescope.learn.hub.transfer`. Nothing here fetches anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from genrescope.catalog.storage import atomic
from genrescope.errors import BundleError
from genrescope.learn.card import CARD_FILE, COUNT, NAME, OBJECT, POSITIVE, SHA256, check_card
from genrescope.learn.graphs import parse_object, read_limited

__all__ = [
    "DEFAULT_REVISION",
    "HUB_PREFIX",
    "MAX_CARD",
    "ORIGIN_FILE",
    "HubName",
    "Origin",
    "PulledBundle",
    "bundles_folder",
    "digest_of",
    "find_pulled",
    "named_files",
    "pulled_bundles",
    "remove_bundle",
    "repo_folder",
    "resolve_bundle",
]

HUB_PREFIX = "hub:"
ORIGIN_FILE = "origin.json"
#: The branch that is meant where no revision is named.
DEFAULT_REVISION = "main"

MAX_CARD = 16 * 2**20  # bytes
_MAX_ORIGIN = 2**20  # bytes
_FORMAT = 1
_SHORTEST_COMMIT = 7  # digits

_FILE = {"sha256": SHA256, "bytes": COUNT}
_ORIGIN_SCHEMA: dict[str, Any] = {
    "format": POSITIVE,
    "repo": NAME,
    "revision": NAME,
    "asked": OBJECT,
    "files": {CARD_FILE: _FILE},
    "pulled": NAME,
    "endpoint": NAME,
}


@dataclass(frozen=True)
class HubName:
    """A repository of the Hub, and which revision of it.

    Attributes
    ----------
    repo : str
        ``OWNER/NAME``.
    revision : str or None
        A branch, a tag or a commit; None where none was named.

    Examples
    --------
    >>> HubName.parse("hub:someone/my-genres@v1")
    HubName(repo='someone/my-genres', revision='v1')
    >>> str(HubName.parse("someone/my-genres"))
    'hub:someone/my-genres'
    """

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubName:
        """Read ``[hub:]OWNER/NAME[@REVISION]``.

        Raises
        ------
        BundleError
            If it is none, by the rules that the Hub has for names.
        """
        repo, sign, revision = text.removeprefix(HUB_PREFIX).partition("@")
        owner, slash, name = repo.partition("/")
        good = slash and len(repo) <= 96 and all(map(_is_repo_part, (owner, name)))
        if not good or (sign and not _is_revision(revision)):
            raise BundleError(
                f"{text!r}: is no bundle of the Hub; write OWNER/NAME or OWNER/NAME@REVISION, "
                "of letters, digits, - _ and ., where a revision is a branch, a tag or a commit"
            )
        return cls(repo, revision or None)

    def __str__(self) -> str:
        return f"{HUB_PREFIX}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def _is_repo_part(text: str) -> bool:
    return (
        re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_])?", text) is not None
        and "--" not in text
        and ".." not in text
    )


def _is_revision(text: str) -> bool:
    return re.fullmatch(r"\w[\w.\-/]{0,249}", text, re.ASCII) is not None and ".." not in text


@dataclass(frozen=True)
class Origin:
    """Where a pulled bundle came from.

    Attributes
    ----------
    repo : str
        ``OWNER/NAME``.
    revision : str
        The commit, 40 hexadecimal digits.
    asked : dict of str to str
        The revisions that meant this commit when they were pulled, and when that last was.
    files : dict of str to dict
        ``sha256`` and ``bytes`` of each file.
    pulled : str
        When it was first pulled; ISO 8601, UTC.
    endpoint : str
        The address of the Hub.
    """

    repo: str
    revision: str
    asked: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    pulled: str = ""
    endpoint: str = ""

    @classmethod
    def read(cls, folder: Path) -> Origin:
        """Read ``origin.json``; BundleError where it is missing or damaged."""
        path = folder / ORIGIN_FILE
        found = parse_object(read_limited(path, limit=_MAX_ORIGIN), where=str(path))
        check_card(found, where=str(path), schema=_ORIGIN_SCHEMA)
        for said in found["files"].values():
            check_card(said, where=str(path), schema=_FILE)
        asked = {str(name): str(when) for name, when in found["asked"].items()}
        return cls(
            found["repo"],
            found["revision"],
            asked,
            found["files"],
            found["pulled"],
            found["endpoint"],
        )

    def write(self, folder: Path) -> None:
        """Write ``origin.json``, in place of one that is there."""
        text = json.dumps({"format": _FORMAT, **vars(self)}, indent=2)
        with atomic(folder / ORIGIN_FILE) as part:
            part.write_text(text + "\n", encoding="utf-8")

    @property
    def last_asked(self) -> str:
        """When it was last pulled."""
        return max([self.pulled, *self.asked.values()])


@dataclass(frozen=True)
class PulledBundle:
    """A bundle in the user's data folder.

    Attributes
    ----------
    folder : Path
        Where it is.
    origin : Origin
        Where it came from.
    fault : str
        What is wrong with its ``origin.json``; empty where nothing is.
    moved_from : str
        For one that was just pulled: the commit that the same revision was before, if another.
    """

    folder: Path
    origin: Origin
    fault: str = ""
    moved_from: str = ""

    @property
    def name(self) -> str:
        """The name that always means this very bundle."""
        return f"{HUB_PREFIX}{self.origin.repo}@{self.origin.revision}"

    @property
    def sha256(self) -> str:
        """SHA-256 of the card, which stands for the whole bundle."""
        return str(self.origin.files.get(CARD_FILE, {}).get("sha256", ""))

    @property
    def n_bytes(self) -> int:
        """Size of all files that were pulled."""
        return sum(said["bytes"] for said in self.origin.files.values())

    def damage(self) -> str:
        """What of it is not as it was pulled; empty where all is. Reads every file."""
        if self.fault:
            return self.fault
        for name, said in self.origin.files.items():
            try:
                found = digest_of(self.folder / name)
            except OSError as error:
                return f"{name} cannot be read ({error.strerror or error})"
            if found != said["sha256"]:
                return f"{name} was changed"
        return ""


def bundles_folder() -> Path:
    """Where pulled bundles are kept: in the data folder of the user."""
    return Path(platformdirs.user_data_path("genrescope")) / "bundles"


def repo_folder(repo: str, folder: Path | None = None) -> Path:
    """Where all pulled commits of one repository are kept."""
    return (folder or bundles_folder()) / repo.replace("/", "--")  # no name holds a --


def pulled_bundles(folder: Path | None = None) -> list[PulledBundle]:
    """All pulled bundles, by repository and then the latest first.

    Parameters
    ----------
    folder : Path, optional
        Where they are kept; the default is :func:`bundles_folder`.
    """
    root = folder or bundles_folder()
    found = []
    for place in sorted(root.glob("*--*/*")):
        if not (re.fullmatch(r"[0-9a-f]{40}", place.name) and place.is_dir()):
            continue
        named = Origin(place.parent.name.replace("--", "/"), place.name)
        try:
            origin, fault = Origin.read(place), ""
            if (origin.repo, origin.revision) != (named.repo, named.revision):
                origin, fault = named, f"{ORIGIN_FILE} is that of another bundle"
        except BundleError as error:
            origin, fault = named, str(error)
        found.append(PulledBundle(place, origin, fault))
    found.sort(key=lambda bundle: bundle.origin.last_asked, reverse=True)
    return sorted(found, key=lambda bundle: bundle.origin.repo)


def find_pulled(name: HubName, folder: Path | None = None) -> PulledBundle | None:
    """The pulled bundle that a name means, if there is one.

    Without a revision: the one that was pulled last. A revision is what it was when it was
    pulled last, or a commit, of which seven digits are enough.

    Raises
    ------
    BundleError
        If the digits fit more than one commit.
    """
    those = [found for found in pulled_bundles(folder) if found.origin.repo == name.repo]
    if name.revision is None:
        return those[0] if those else None
    asked = [found for found in those if name.revision in found.origin.asked]
    if asked:
        return max(asked, key=lambda found: found.origin.asked[str(name.revision)])
    if not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST_COMMIT},40}}", name.revision):
        return None
    commits = [found for found in those if found.origin.revision.startswith(name.revision)]
    if len(commits) > 1:
        raise BundleError(
            f"{name}: {len(commits)} pulled commits begin with {name.revision}; give more digits"
        )
    return commits[0] if commits else None


def resolve_bundle(name: str, folder: Path | None = None) -> Path:
    """The folder of a pulled bundle. Nothing is ever fetched.

    Parameters
    ----------
    name : str
        ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION``; see :func:`find_pulled`.
    folder : Path, optional
        Where pulled bundles are kept; the default is :func:`bundles_folder`.

    Raises
    ------
    BundleError
        If it is no such name, or was not pulled, or its card was changed since.
    """
    parsed = HubName.parse(name)
    found = find_pulled(parsed, folder)
    pull = f"genrescope bundles pull {str(parsed).removeprefix(HUB_PREFIX)}"
    if found is None:
        others = [b for b in pulled_bundles(folder) if b.origin.repo == parsed.repo]
        also = f" (other revisions of it are: {', '.join(b.name for b in others)})"
        raise BundleError(f"{parsed}: was not pulled{also if others else ''}; run: {pull}")
    if found.fault:
        raise BundleError(f"{found.folder}: {found.fault}; run: {pull}")
    # The card holds the SHA-256 of every graph, which loading compares.
    card = read_limited(found.folder / CARD_FILE, limit=MAX_CARD)
    if hashlib.sha256(card).hexdigest() != found.sha256:
        raise BundleError(
            f"{found.folder / CARD_FILE}: was changed since it was pulled; to have it anew, run: "
            f"{pull}"
        )
    return found.folder


def remove_bundle(name: HubName, *, everything: bool = False, folder: Path | None = None) -> int:
    """Remove a pulled bundle, and what an unfinished pull of it left.

    Parameters
    ----------
    name : HubName
        Which.
    everything : bool
        Every pulled commit of the repository. Needed where there are several and `name` has no
        revision.
    folder : Path, optional
        Where pulled bundles are kept; the default is :func:`bundles_folder`.

    Returns
    -------
    int
        How many were removed.

    Raises
    ------
    BundleError
        If it was not pulled, or the name could mean several, or the disk refuses.
    """
    those = [found for found in pulled_bundles(folder) if found.origin.repo == name.repo]
    home = repo_folder(name.repo, folder)
    unfinished = home.is_dir() and not those
    if not everything:
        if name.revision is None and len(those) > 1:
            revisions = ", ".join(found.origin.revision[:12] for found in those)
            raise BundleError(
                f"{name}: {len(those)} commits of it were pulled ({revisions}); name one as "
                f"{name.repo}@REVISION, or remove them all with --all"
            )
        one = find_pulled(name, folder)
        those = [one] if one is not None else []
    if not those and not unfinished:
        raise BundleError(f"{name}: was not pulled; see genrescope bundles list")
    try:
        for found in those:
            # Out of the way first: one that is half removed must not be found.
            gone = found.folder.with_name(f".{found.folder.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(found.folder, gone)
            shutil.rmtree(gone)
        if not any(b.origin.repo == name.repo for b in pulled_bundles(folder)):
            shutil.rmtree(home)
    except OSError as error:
        raise BundleError(f"{home}: cannot be removed ({error.strerror or error})") from error
    return len(those)


def named_files(card: Mapping[str, Any], *, where: str) -> dict[str, Mapping[str, Any]]:
    """The graphs that a checked card names: what it says of each, by file name.

    Raises
    ------
    BundleError
        If one is no ``.onnx`` file, or two have one name.
    """
    graphs = [card["graph"], *(part["graph"] for part in card.get("parts", {}).values())]
    found: dict[str, Mapping[str, Any]] = {}
    for graph in graphs:
        name = graph["file"]
        if not name.endswith(".onnx"):
            raise BundleError(
                f"{where}: the card names {name!r}; graphs are .onnx files, and nothing else of a "
                "bundle is fetched or sent"
            )
        if name.casefold() in {known.casefold() for known in found}:
            raise BundleError(f"{where}: the card names {name!r} twice; get the bundle again")
        found[name] = graph
    return found


def digest_of(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
