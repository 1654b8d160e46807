"""Downloads that can be killed at any moment, go on where they were, and are checked.

What has come so far lies beside the target as ``NAME.part``, with what the server said about
the file in ``NAME.part.json``. A request that resumes asks for a little that is already there:
if the server's bytes differ from those, it is another file now, and nothing is spliced.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

from genrescope.catalog.storage import (
    Report,
    check_sha1,
    hint,
    human_bytes,
    require_space,
    sha1_of,
    silent,
)
from genrescope.errors import ChecksumError, DiskSpaceError, DownloadError, GenrescopeError

__all__ = ["Expected", "Retry", "download"]

_CHUNK = 1 << 18  # bytes
_OVERLAP = 1 << 16  # bytes that a resumed request asks for again, to compare
_RESTARTS = 3  # times that a file may change under us before we give up
_LONGEST_WAIT = 120.0  # s between two tries
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP statuses worth another try
_FULL_DISK = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG})


class _ChangedError(Exception):
    """The server's file is not the one that was begun."""


class _LostError(Exception):
    """The transfer broke off in a way that another try may mend."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after  # s, if the server said when to come back


@dataclass
class _Note:
    """What the server said about the file whose first bytes are in the part."""

    url: str = ""
    etag: str = ""
    modified: str = ""
    total: int | None = None  # bytes
    wrong: str = ""  # SHA-1 of a part that was whole, and was not the file

    @property
    def validator(self) -> str:
        """For If-Range; a weak ETag may not be used there (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    @classmethod
    def read(cls, path: Path) -> _Note:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            note = cls(**{f.name: found[f.name] for f in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError):
            return cls()  # none, or cut short by a kill: the overlap still tells
        texts = all(isinstance(t, str) for t in (note.url, note.etag, note.modified, note.wrong))
        return note if texts and isinstance(note.total, int | None) else cls()

    def write(self, path: Path) -> None:
        fresh = path.with_name(path.name + "~")
        fresh.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(fresh, path)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known of a file before it is fetched.

    Attributes
    ----------
    sha1 : str, optional
        Its SHA-1, 40 hex digits. Without it, a file of the announced length is taken.
    max_bytes : int, optional
        The server may not send more.
    room_for : callable (int) -> int, optional
        Given the size of the file, the bytes that must be free beside it (to unpack it).
    """

    sha1: str | None = None
    max_bytes: int | None = None
    room_for: Callable[[int], int] | None = None


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How patient a download is.

    Attributes
    ----------
    tries : int > 0
        Failures in a row, with no byte in between, before giving up.
    wait : float >= 0
        s before the second try; doubled for each one after that. A server's Retry-After is
        respected.
    timeout : float > 0
        s of silence after which a connection counts as lost.
    """

    tries: int = 8
    wait: float = 1.0
    timeout: float = 60.0


def download(
    url: str,
    *,
    to: Path,
    expected: Expected | None = None,
    retry: Retry | None = None,
    again: str = "Run the same command again",
    report: Report | None = None,
) -> Path:
    """Fetch a file, or what is missing of it.

    Parameters
    ----------
    url : str
        An http or https address; redirects are followed.
    to : Path
        Where the file goes, once it is whole and checked. Until then its bytes are in
        ``to`` + ``.part``. A file that is there already is only checked.
    expected : Expected, optional
        What the file has to be; default any file of the length that the server announces.
    retry : Retry, optional
        When to give up.
    again : str
        What to do to resume; the head of the last sentence of messages.
    report : callable, optional
        See :data:`genrescope.catalog.storage.Report`.

    Returns
    -------
    Path
        `to`.

    Raises
    ------
    ChecksumError
        If the SHA-1 is not the expected one. The part is kept; the next call asks anew.
    DownloadError
        If the server refuses, keeps failing, keeps changing the file, or sends too much, or
        another process fetches the same file.
    DiskSpaceError
        If the file, and what `expected` has to be free beside it, do not fit on the disk.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url!r} is no web address; it must start with https:// or http://")
    about = expected or Expected()
    if to.exists():
        if about.sha1:
            check_sha1(to, expected=about.sha1.lower(), report=report)
        return to
    part = to.with_name(to.name + ".part")
    memo = to.with_name(to.name + ".part.json")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part, again) as file:
            transfer = _Transfer(url, file, _Note.read(memo), memo, about, retry or Retry())
            transfer.report = report or silent
            transfer.complete(to.name, again)
        os.replace(part, to)
        memo.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, GenrescopeError):
            raise
        if error.errno in _FULL_DISK:
            raise DiskSpaceError(
                f"{to.name}: the disk of {to.parent} is full; what came so far was kept as "
                f"{part.name}. Free some space. {again} to resume."
            ) from error
        raise DownloadError(f"{part}: {error.strerror or error}; choose another folder") from error
    return to


@dataclass
class _Transfer:
    """One part, and requests that make it longer."""

    url: str
    file: BinaryIO
    note: _Note
    memo: Path
    expected: Expected
    retry: Retry
    report: Report = silent
    ranges: bool = True  # until the server shows that it gets them wrong

    def complete(self, name: str, again: str) -> None:
        """Ask until the part is whole and right."""
        expected = self.expected.sha1.lower() if self.expected.sha1 else None
        if self.note.wrong:  # it was whole and wrong last time, so none of it can be trusted
            self.restart()
        failures = restarts = 0
        checked: int | None = None  # bytes that the part had when its SHA-1 was wrong
        while True:
            before = self.have
            try:
                if checked is not None or self.note.total != before:
                    self.request(confirming=checked is not None)
            except _ChangedError as error:
                restarts += 1
                if restarts > _RESTARTS:
                    raise DownloadError(
                        f"{name}: {self.url} changed while it was fetched, {restarts} times "
                        f"({error}); try later, or another address"
                    ) from error
                self.restart()
                checked = None
                continue
            except _LostError as error:
                failures = 0 if self.have > before else failures + 1
                if failures >= self.retry.tries:
                    # The announced length may be wrong, and all of it here.
                    if expected and sha1_of(self.file, self.have, self.report) == expected:
                        break
                    raise DownloadError(
                        f"{name}: {self.url}: {error} ({self.retry.tries} tries in a row); "
                        f"{human_bytes(self.have)} were kept as {name}.part. {again} to resume."
                    ) from error
                wait = max(self.retry.wait * 2 ** max(failures - 1, 0), error.after)
                time.sleep(min(wait, _LONGEST_WAIT))
                continue
            failures = 0
            if expected is None:
                break
            if checked != self.have:
                found = sha1_of(self.file, self.have, self.report)
                if found == expected:
                    break
                if checked is None or self.have > checked:
                    checked = self.have
                    continue  # perhaps the length was a lie: ask once what follows
            self.note.wrong = found
            self.note.write(self.memo)
            raise ChecksumError(
                f"{name}: SHA-1 is {found}, expected {expected}{hint(self.file)}; the file was "
                f"kept as {name}.part. {again} to fetch it anew."
            )
        self.file.flush()
        os.fsync(self.file.fileno())

    @property
    def have(self) -> int:
        """Bytes in the part."""
        return self.file.seek(0, os.SEEK_END)

    def restart(self) -> None:
        """Forget all."""
        self.file.truncate(0)
        self.note = _Note()
        self.memo.unlink(missing_ok=True)

    def request(self, *, confirming: bool) -> None:
        """Fetch what follows; returns when the server says that this was all.

        `confirming`: the part has the announced length, and only more of it is of interest.
        """
        have = self.have
        start = max(0, have - _OVERLAP) if self.ranges else 0
        headers = {"User-Agent": "genrescope", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.note.validator:
                headers["If-Range"] = self.note.validator
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - http(s) only
        try:
            with _opener().open(request, timeout=self.retry.timeout) as response:
                self._take(response, have=have, start=start, confirming=confirming)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, have)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise DownloadError(
                    f"{self.url}: the server does not prove who it is ({error.reason}); check "
                    "the address and the clock, or give another address with --url"
                ) from error
            raise _LostError(_reason(error.reason)) from error
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise _LostError(_reason(error)) from error

    def _refused(self, error: urllib.error.HTTPError, have: int) -> None:
        if error.code == 416:
            size = re.fullmatch(
                r"bytes \*/(\d+)", (error.headers.get("Content-Range") or "").strip()
            )
            if size and int(size[1]) == have:
                self.note.total = have  # nothing follows, whatever length was announced
                return
            raise _ChangedError("it has fewer bytes than before")
        text = f"the server answers {error.code} {error.reason}"
        if error.code in _TRANSIENT:
            after = error.headers.get("Retry-After") or ""
            raise _LostError(
                text, after=float(after) if after.isascii() and after.isdigit() else 0.0
            )
        raise DownloadError(
            f"{self.url}: {text}; check the address, or give another one with --url"
        )

    def _take(
        self, response: http.client.HTTPResponse, *, have: int, start: int, confirming: bool
    ) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(f"{self.url}: the server packs the file on its way; use another")
        etag = response.headers.get("ETag") or ""
        length = response.headers.get("Content-Length") or ""
        total = int(length) if length.isascii() and length.isdigit() else None
        if response.status == 206:
            begins, total = _content_range(response.headers.get("Content-Range") or "")
            if begins != start or start == 0:
                self.ranges = False  # these are not the bytes that were asked for
                raise _LostError("the server answers with other bytes than were asked for")
            if self.note.etag and etag and etag != self.note.etag:
                raise _ChangedError(f"ETag {etag}, before {self.note.etag}")
            # Longer than announced, where all that was announced is here: it was cut short
            # before. As long as what is here: more was announced than there is.
            longer = confirming and total is not None and total > have
            known = (None, self.note.total, have)
            if self.note.total is not None and total not in known and not longer:
                raise _ChangedError(f"{total} bytes, before {self.note.total}")
        elif response.status != 200:
            raise DownloadError(
                f"{self.url}: the server answers {response.status}; it should be 200"
            )
        else:
            if confirming and total == have and etag == self.note.etag:
                return
            start = 0  # the server knows no ranges, or the file is another one now
        self._admit(total, have)
        modified = response.headers.get("Last-Modified") or ""
        self.note = _Note(self.url, etag, modified, total)
        self.note.write(self.memo)
        self._copy(response, at=start, whole=response.status == 200)

    def _copy(self, response: http.client.HTTPResponse, *, at: int, whole: bool) -> None:
        """Write the body from `at` on; what is in the part already is compared, not written."""
        have, total, most = self.have, self.note.total, self.expected.max_bytes
        while chunk := _read(response):
            if at < have:
                self.file.seek(at)
                known = self.file.read(min(len(chunk), have - at))
                if known != chunk[: len(known)]:
                    if not whole:
                        raise _ChangedError("bytes that were fetched before are others now")
                    self.file.truncate(at)  # all before are equal, so these are of one body
                    have = at
                else:
                    at, chunk = at + len(known), chunk[len(known) :]
            if chunk:
                self.file.seek(at)
                self.file.write(chunk)
                at += len(chunk)
            if most is not None and at > most:
                raise DownloadError(
                    f"{self.url}: sends more than {human_bytes(most)}, which the file "
                    "cannot have; this is not the file"
                )
            self.report("download", at, total)
        self.file.flush()
        if total is not None and at < total:
            raise _LostError(f"the connection ended after {at} of {total} bytes")
        if whole:
            self.file.truncate(at)
        self.note.total = at

    def _admit(self, total: int | None, have: int) -> None:
        if total is None:
            return
        most, room_for = self.expected.max_bytes, self.expected.room_for
        if most is not None and total > most:
            raise DownloadError(
                f"{self.url}: says that it has {human_bytes(total)}, and the file has at most "
                f"{human_bytes(most)}; this is not the file"
            )
        beside = room_for(total) if room_for else 0
        require_space(
            self.memo.parent,
            needed=max(0, total - have) + beside,
            what=f"{self.memo.name.removesuffix('.part.json')} ({human_bytes(total)}"
            + (f", unpacked about {human_bytes(beside)})" if beside else ")"),
        )


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; errors of the network apart from those of the disk."""
    try:
        return response.read1(_CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _LostError(_reason(error)) from error


def _content_range(text: str) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
    if not match:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "the server fell silent"
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__


def _opener() -> urllib.request.OpenerDirector:
    """Web addresses only, redirects included: urllib's own opener also reads file: and ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


@contextlib.contextmanager
def _locked(part: Path, again: str) -> Iterator[BinaryIO]:
    """The part, open for us alone; the lock ends with the process, however that ends."""
    with open(
        os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b"
    ) as file:
        busy = DownloadError(
            f"{part}: another process is fetching it; wait for that one. {again} after it."
        )
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        except (ImportError, OSError):
            pass  # Windows, or a network disk without locks
        if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            raise busy  # it was finished and renamed while we waited
        yield file
