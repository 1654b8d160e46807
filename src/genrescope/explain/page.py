"""What every page needs: templates that escape, and a policy that lets nothing in."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from collections.abc import Sequence
from typing import Any

from genrescope import __version__
from genrescope.errors import MissingExtraError

try:
    import jinja2
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover - the tests have it
    raise MissingExtraError("the page", extra="lab", package="jinja2") from error

__all__ = ["policy", "render", "template"]

_SOUND = "img-src data:; media-src data:; style-src 'unsafe-inline';"
# plotly's WebGL compiles functions; its pictures are made through blobs.
_PLOTLY = "img-src data: blob:; style-src 'unsafe-inline'; font-src data:; worker-src blob:;"


def template(name: str) -> str:
    """The text of a file in ``explain/templates``."""
    folder = importlib.resources.files("genrescope.explain") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def render(
    name: str,
    *,
    styles: Sequence[str] = ("report.css",),
    script: str = "",
    plotly: str = "",
    **values: Any,
) -> str:
    """Fill in a page; all that is not marked as markup is escaped, and nothing may be missing.

    Parameters
    ----------
    name : str
        File in ``explain/templates`` that extends ``base.html``.
    styles : sequence of str
        Files there: the looks of the page.
    script : str
        A file there: what this page does beside what all of them do.
    plotly : str
        The text of plotly's script, where the page draws with it.
    **values
        What the template names.

    Returns
    -------
    str
        The page, with a policy that lets run what is in it and nothing else.
    """
    early = template("theme.js")
    own = template("reading.js") + (template(script) if script else "")
    scripts = (early, plotly, own) if plotly else (early, own)
    known = {
        "policy": policy(*scripts, plotly=bool(plotly)),
        "css": Markup("".join(map(template, styles))),  # noqa: S704 - ours
        "early": Markup(early),  # noqa: S704 - ours
        "script": Markup(own),  # noqa: S704 - ours
        "plotly": Markup(plotly),  # noqa: S704 - plotly's
        "version": __version__,
        "kind": "",
        "heard": False,
    }
    return _environment().get_template(name).render(**known | values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def policy(*scripts: str, plotly: bool = False) -> str:
    """A content security policy: these scripts alone may run, and nothing may be fetched.

    Parameters
    ----------
    *scripts : str
        The scripts of the page, as they stand in it.
    plotly : bool
        Whether one of them is plotly, which needs more.
    """
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    may, more = (_PLOTLY, " 'unsafe-eval'") if plotly else (_SOUND, "")
    return (
        f"default-src 'none'; {may} script-src {allowed}{more}; base-uri 'none'; form-action 'none'"
    )
