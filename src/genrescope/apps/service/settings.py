"""What a service is asked to be, checked before anything is started."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path

from genrescope.errors import ServiceError

__all__ = ["LEAST_TOKEN", "Settings", "is_loopback", "read_token"]

LEAST_TOKEN = 16  # characters; shorter ones can be guessed
_HOW = "python -c 'import secrets; print(secrets.token_urlsafe())'"


@dataclass(frozen=True)
class Settings:
    """A service, as it is to be.

    Attributes
    ----------
    bundle : str
        The recogniser: ``"default"``, a folder, or ``"hub:OWNER/NAME@REVISION"``.
    host, port : str, int
        Where it listens; port 0 takes a free one.
    workers : int or None
        Processes that recognise; None is one a core.
    queue : int
        Requests that may wait beside those being worked on; more are refused with 429.
    token : str or None
        What clients have to know. Needed wherever others than this machine can reach it.
    library : Path or None
        The folder that files may be named in instead of sent; None is nowhere.
    hosts : tuple of str
        Names that clients may call it by, beside this machine's own.
    max_bytes : int
        Of one request.
    max_files : int
        Of one request.
    max_seconds : float
        That one file may take to be recognised.
    max_memory : int
        Bytes that a worker may allocate.
    stall_seconds : float
        That a client may leave between two pieces of a request.
    grace : float
        Seconds that what is running has when the service is stopped.
    log_json : bool
        Whether the log has one JSON object a line.

    Raises
    ------
    ServiceError
        If it could not be started so, or should not be.
    """

    bundle: str = "default"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int | None = None
    queue: int = 64
    token: str | None = field(default=None, repr=False)
    library: Path | None = None
    hosts: tuple[str, ...] = ()
    max_bytes: int = 256 << 20
    max_files: int = 32
    max_seconds: float = 120.0
    max_memory: int = 4 << 30
    stall_seconds: float = 20.0
    grace: float = 30.0
    log_json: bool = False

    def __post_init__(self) -> None:
        for name, least in (("queue", 0), ("max_bytes", 1), ("max_files", 1), ("port", 0)):
            if getattr(self, name) < least:
                raise ServiceError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if self.workers is not None and self.workers < 1:
            raise ServiceError(f"workers is {self.workers}; a service needs 1 or more")
        for name in ("max_seconds", "stall_seconds"):
            if not getattr(self, name) > 0:
                raise ServiceError(f"{name} is {getattr(self, name)}, expected more than 0")
        if self.token is not None:
            _check_token(self.token)
        elif not is_loopback(self.host):
            raise ServiceError(
                f"host is {self.host or 'every address'!r}, which other machines can reach: that "
                "needs a token. Put one into GENRESCOPE_TOKEN or a file for --token-file (make "
                f"one with: {_HOW}), or stay on this machine with the host 127.0.0.1."
            )
        if self.library is not None:
            root = Path(os.path.realpath(self.library))
            if not root.is_dir():
                raise ServiceError(f"{self.library}: no folder; the library has to be one")
            object.__setattr__(self, "library", root)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = self.host
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 (every address: this machine has one)
            host = "127.0.0.1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def at(self, port: int) -> Settings:
        """The same service at another port."""
        return replace(self, port=port)


def _check_token(token: str) -> None:
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ServiceError(
            f"the token has {len(token)} characters; it needs {LEAST_TOKEN} or more, of letters, "
            f"digits and signs without spaces. Make one with: {_HOW}"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there.

    Raises
    ------
    ServiceError
        If there is no such address.
    """
    if not host:
        return False
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        pass
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:
        raise ServiceError(
            f"host is {host!r}, which is no address of this machine ({error}); "
            "give one such as 127.0.0.1"
        ) from error
    return all(ipaddress.ip_address(str(one).partition("%")[0]).is_loopback for one in found)


def read_token(file: Path | None) -> str | None:
    """The token from a file, else from GENRESCOPE_TOKEN, else none.

    Raises
    ------
    ServiceError
        If the file cannot be read, or what is there is no token.
    """
    if file is None:
        token = os.environ.get("GENRESCOPE_TOKEN", "").strip()
        return token or None
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"{file}: no token can be read from it ({error})") from error
    _check_token(token)
    return token
