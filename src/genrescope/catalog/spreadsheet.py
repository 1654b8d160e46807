"""Text for CSV that people open in a spreadsheet, which takes some cells for formulas.

A formula can fetch addresses and, in old programs, start others; titles and tags come from
strangers. So cells of titles, names and messages are guarded in every CSV file that is made for
people; JSON, and tables that are made to be read by programs, hold the text as it is.
"""

from __future__ import annotations

import os
import re

__all__ = ["guarded", "guarded_path"]

# With what OWASP lists under "CSV injection": the signs in full width, which are read as the plain
# ones in Japanese and Chinese; and behind a semicolon, which divides cells where the comma is in
# numbers, whatever the file says.
_FORMULA = re.compile(r"(\A|;)(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


def guarded(text: str) -> str:
    r"""Text that no spreadsheet runs: an apostrophe is put before what could start a formula.

    Parameters
    ----------
    text : str
        One cell.

    Returns
    -------
    str
        The same, but for apostrophes. They are not taken off again by anything here.

    Examples
    --------
    >>> guarded("=1+1"), guarded("-ness"), guarded("A-ha"), guarded("Rock;=1+1")
    ("'=1+1", "'-ness", 'A-ha', "Rock;'=1+1")
    """
    return _FORMULA.sub(lambda found: f"{found[1]}'{found[2]}", text)


def guarded_path(path: str) -> str:
    """The same for a path, which stays one that can be opened.

    Only its start is guarded: no sign can be put into the middle of a path.

    >>> guarded_path("=1+1.mp3"), guarded_path("a/-.mp3")
    ('./=1+1.mp3', 'a/-.mp3')
    """
    return f".{os.sep}{path}" if guarded(path).startswith("'") and path[:1] != "'" else path
