"""Words that several pages share: things counted, listed, and named in the plural."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "listed", "plural"]


def plural(what: str) -> str:
    """The plural of what a group is called.

    Examples
    --------
    >>> plural("artist"), plural("artist or run of ids")
    ('artists', 'artists or runs of ids')
    """
    parts = (part.split(" of ", 1) for part in what.split(" or "))
    return " or ".join(" of ".join([part[0] + "s", *part[1:]]) for part in parts)


def counted(n: int, what: str) -> str:
    """A number of things.

    Examples
    --------
    >>> counted(1, "artist"), counted(1200, "track")
    ('1 artist', '1,200 tracks')
    """
    return f"{n:,} {what if n == 1 else plural(what)}"


def listed(names: Sequence[str], *, most: int = 6) -> str:
    """Names in a sentence.

    Parameters
    ----------
    names : sequence of str
        None gives an empty string.
    most : int > 0
        Names that are written; of the rest only the number is.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(list("abcdefgh"), most=2)
    ('a, b and c', 'a, b and 6 more')
    """
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    if len(shown) < 2:
        return "".join(shown)
    return ", ".join(shown[:-1]) + " and " + shown[-1]
