"""From files to proposals, and from proposals to tags: what ``tag`` and ``watch`` share.

Only files whose genre may be written are heard, and, where the tracks of an artist are judged
together, the other tracks of these artists. A library where few genres are missing is looked
through in little more than the time it takes to read its tags.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genrescope.apps.genre_policy import Policy, Proposal, propose, stays
from genrescope.catalog.genre_tags import GenreField, read_genre_field
from genrescope.catalog.tags import read_tags
from genrescope.errors import BundleError, TagError
from genrescope.learn.prediction import FailedPrediction, Prediction

if TYPE_CHECKING:
    from genrescope.apps.heard import Heard
    from genrescope.apps.tagger import Tagger
    from genrescope.learn.recogniser import Recogniser

__all__ = ["Seen", "can_judge_together", "hear", "look", "proposals", "to_hear", "write"]


@dataclass(frozen=True)
class Seen:
    """A file, and the genres that it has.

    Attributes
    ----------
    path : Path
        The file.
    field : GenreField
        As its container has it.
    """

    path: Path
    field: GenreField


def look(path: Path) -> Seen | FailedPrediction:
    """Read the genres of a file, or say why that cannot be done."""
    try:
        return Seen(path, read_genre_field(path))
    except TagError as error:
        return FailedPrediction(path, type(error).__name__, str(error))


def to_hear(seen: Sequence[Seen], policy: Policy, *, together: bool) -> list[Path]:
    """The files that have to be heard.

    Parameters
    ----------
    seen : sequence of Seen
        All files.
    policy : Policy
        What their owner wants.
    together : bool
        Whether the other tracks of an artist have a say.

    Returns
    -------
    list of Path
        In the order given.
    """
    settled = [stays(one.field.values, policy) is not None for one in seen]
    if not together or not any(settled) or all(settled):
        return [one.path for one, done in zip(seen, settled, strict=True) if not done]
    artists = [(read_tags(one.path).artist or "").casefold() for one in seen]
    asked = {name for name, done in zip(artists, settled, strict=True) if name and not done}
    return [
        one.path
        for one, name, done in zip(seen, artists, settled, strict=True)
        if not done or name in asked
    ]


def hear(
    heard: Heard,
    recogniser: Recogniser,
    paths: Iterable[Path | None],
    *,
    workers: int | None = None,
    neighbours: bool = False,
) -> Generator[Prediction | FailedPrediction, None, None]:
    """Predictions without timelines and, unless asked for, neighbours: most of what they weigh."""
    with closing(heard.recognise(recogniser, paths, workers=workers)) as results:
        for result in results:
            if isinstance(result, Prediction):
                similar = result.similar if neighbours else ()
                yield dataclasses.replace(result, timeline=(), similar=similar)
            else:
                yield result


def can_judge_together(recogniser: Recogniser) -> bool:
    """Whether the bundle knows how much the other tracks of an artist count."""
    try:
        recogniser.together([])
    except BundleError:
        return False
    return True


def proposals(
    seen: Iterable[Seen], answers: Mapping[Path, Prediction], policy: Policy
) -> Iterator[Proposal]:
    """A proposal for each file, in order; none for a file that could not be heard."""
    for one in seen:
        settled = stays(one.field.values, policy, path=one.path)
        if settled is not None:
            yield settled
        elif one.path in answers:
            yield propose(answers[one.path], one.field.values, policy)


def write(tagger: Tagger, proposal: Proposal, heard: Heard) -> FailedPrediction | None:
    """Write one proposal; what failed, if it did.

    Raises
    ------
    JournalError
        If the journal cannot be written; then nothing else is.
    """
    path = proposal.path
    if path is None:
        return None
    try:
        change = tagger.write(path, proposal.proposed, expected=proposal.now)
    except TagError as error:
        return FailedPrediction(path, type(error).__name__, str(error))
    heard.rewritten(path, change.new)
    return None
