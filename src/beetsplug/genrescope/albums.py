"""The genre of an album, from those of its tracks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from genrescope.learn.prediction import Branch, Prediction

__all__ = ["HALF", "of_album"]

#: Share of the tracks that a genre of the album is expected to hold.
HALF = 0.5


def of_album(tracks: Sequence[Prediction]) -> Prediction | None:
    """What is recognised in an album.

    The probability of a genre is its mean over the tracks. Probabilities that mean what they say
    make that mean the expected share of tracks in the genre, so the album has a genre where at
    least half of its tracks are expected to have it. Tracks that do not sound like music (spoken
    words, noise) do not count.

    Parameters
    ----------
    tracks : sequence of Prediction
        Of one recogniser, one for each track that could be heard.

    Returns
    -------
    Prediction or None
        Its branches are the sub-genres of the album's genre that at least half of the tracks that
        count have, with the mean of their probabilities. None where no track counts.

    Examples
    --------
    >>> one = Prediction.from_probabilities({"Rock": 0.9, "Folk": 0.1}, threshold=0.5)
    >>> two = Prediction.from_probabilities({"Rock": 0.3, "Folk": 0.7}, threshold=0.5)
    >>> print(of_album([one, two]))
    Rock (60 %)
    """
    counted = [one for one in tracks if not one.doubt]
    if not counted:
        return None
    n = len(counted)
    mean = {
        genre: sum(one.probabilities[genre] for one in counted) / n
        for genre in counted[0].probabilities
    }
    shares: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for one in counted:
        for branch in one.branches:
            shares[branch.path].append(branch.probability)
    branches = [
        Branch(path, sum(found) / n) for path, found in shares.items() if len(found) >= n * HALF
    ]
    return Prediction.from_probabilities(
        mean,
        threshold=HALF,
        artist=counted[0].artist,
        branches=tuple(sorted(branches, key=lambda branch: -branch.probability)),
    )
