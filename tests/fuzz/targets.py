"""What is fuzzed: the code of this project that reads bytes from elsewhere, or puts them on a page.

A target may return, or raise a GenrescopeError. Anything else that it raises is a find; so is one
that takes more than ten seconds, or a result that breaks a rule that the target asserts.
"""

from __future__ import annotations

from tests.fuzz import (
    bundle_targets,
    page_targets,
    service_targets,
    sound_targets,
    table_targets,
)
from tests.fuzz.common import FOLDER, Target

__all__ = ["FOLDER", "TARGETS", "Target"]

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (sound_targets, table_targets, bundle_targets, service_targets, page_targets)
    for target in module.TARGETS
}
