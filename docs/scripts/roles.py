"""Cross-references of docstrings, for the manual: ``:class:`X``` leads to where X is described."""

from __future__ import annotations

import html
import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`(~?)([^`]+)`")


class Roles(griffe.Extension):
    """Turns the roles of Sphinx, which the docstrings use, into references of the manual.

    What the manual does not describe stays a name in code.
    """

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Let errors be known by name everywhere: a function need not import what it raises."""
        for name, member in pkg["errors"].members.items():
            if not member.is_alias and member.is_class and name not in pkg.members:
                pkg.set_member(name, griffe.Alias(name, member.path, parent=pkg))

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of `obj`, once its scope is known."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(lambda role: _reference(obj, role), obj.docstring.value)


def _reference(obj: griffe.Object, role: re.Match[str]) -> str:
    short, name = role.groups()
    first, _, rest = name.partition(".")
    path = name
    for scope in (obj, obj.parent):
        try:
            path = f"{scope.resolve(first)}.{rest}".rstrip(".") if scope else path
            break
        except griffe.NameResolutionError:
            continue
    shown = html.escape(name.rpartition(".")[2] if short else name)
    return f'<autoref identifier="{html.escape(path)}" optional><code>{shown}</code></autoref>'
