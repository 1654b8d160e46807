"""The client of the Hugging Face Hub, and what its errors mean to a user.

The only module that imports huggingface_hub at its head. It names what of it is used.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from genrescope import __version__
from genrescope.errors import DownloadError, GenrescopeError, MissingExtraError
from genrescope.learn.hub.pulled import DEFAULT_REVISION, HubName

try:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub import errors as hub_errors
    from huggingface_hub import utils as _utils
    from huggingface_hub.file_download import hf_hub_url, http_get
except ImportError as error:
    raise MissingExtraError(
        "the Hugging Face Hub", extra="hub", package="huggingface_hub"
    ) from error

__all__ = [
    "LOST",
    "WHO",
    "CommitOperationAdd",
    "HfApi",
    "asking",
    "hf_hub_url",
    "http_get",
    "hub_errors",
    "hub_utils",
    "is_answer",
]

#: Does not tell type checkers all that it offers.
hub_utils: Any = _utils
#: Who asks.
WHO: dict[str, Any] = {"library_name": "genrescope", "library_version": __version__}
#: A connection that could not be made, or was lost. The client for HTTP is another package in each
#: generation of huggingface_hub; the base of its own errors is the base of that client's.
LOST: tuple[type[Exception], ...] = (OSError, *hub_errors.HfHubHTTPError.__bases__)

_FULL_DISK = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)


def is_answer(error: BaseException) -> bool:
    """Whether an error of :data:`LOST` is one that asking again does not change."""
    final = (GenrescopeError, hub_errors.HfHubHTTPError, hub_errors.OfflineModeIsEnabled)
    return isinstance(error, final) or getattr(error, "errno", None) in _FULL_DISK


@contextmanager
def asking(name: HubName, *, sending: bool = False) -> Iterator[None]:
    """Errors of huggingface_hub in words that say what to do."""
    try:
        yield
    except GenrescopeError:
        raise
    except hub_errors.GatedRepoError as error:
        raise DownloadError(
            f"{name}: its owner admits users one by one; ask for access on its page on the Hub"
        ) from error
    except hub_errors.RevisionNotFoundError as error:
        raise DownloadError(
            f"{name}: has no revision {name.revision or DEFAULT_REVISION}; its page on the Hub "
            "lists branches, tags and commits"
        ) from error
    except hub_errors.RepositoryNotFoundError as error:
        what = "it cannot be written with your token" if sending else "it is private"
        raise DownloadError(
            f"{name}: there is no such repository, or {what}; check the name, and for a private "
            "one log in with: hf auth login (or set HF_TOKEN)"
        ) from error
    except hub_errors.LocalTokenNotFoundError as error:
        raise DownloadError(
            f"{name}: needs a login; run: hf auth login (or set HF_TOKEN)"
        ) from error
    except hub_errors.OfflineModeIsEnabled as error:
        raise DownloadError(
            f"{name}: HF_HUB_OFFLINE is set, so the Hub was not asked; unset it. Bundles that "
            "were pulled work without a network: genrescope bundles list"
        ) from error
    except hub_errors.HfHubHTTPError as error:
        raise DownloadError(f"{name}: {_refusal(error)}") from error
    except LOST as error:
        if getattr(error, "errno", None) in _FULL_DISK:
            raise
        raise DownloadError(
            f"{name}: the Hub cannot be reached, or the connection broke off "
            f"({_one_line(error)}). What came was kept: run the same command again when there is a "
            "network. Bundles that were pulled work without one: genrescope bundles list"
        ) from error
    except ValueError as error:
        raise DownloadError(f"{name}: the Hub refuses ({_one_line(error)})") from error


def _refusal(error: Any) -> str:
    status = getattr(error.response, "status_code", 0)
    if status in (401, 403):
        return (
            "your token may not do this; log in with one that may write: hf auth login "
            f"(the Hub answers {status})"
        )
    if status == 409:
        return f"the Hub has it already ({_one_line(error)}); choose another name for it"
    if status == 429 or status >= 500:
        return f"the Hub answers {status}; try again later"
    return f"the Hub refuses ({_one_line(error)})"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
