"""What every page needs: templates that escape, and a policy that lets nothing in."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from typing import Any

from genrescope.errors import MissingExtraError

try:
    import jinja2
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


def render(name: str, **values: Any) -> str:
    """Fill in a template; all that is not marked as markup is escaped, and nothing may be missing.

    Parameters
    ----------
    name : str
        File in ``explain/templates``.
    **values
        What the template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name).render(**values)


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
