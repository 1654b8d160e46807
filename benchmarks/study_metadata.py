"""Measure what is written about a track adds to its sound, as docs/results/metadata.md.

``python -m benchmarks.study_metadata --data ../shared/data/fma --run runs/default``

Reads the out-of-fold answers of a run of ``genrescope train default``. Four minutes of processor
time on one thread, most of it for the two networks of early fusion.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before NumPy is imported: the figures depend on the number of threads in their last digits.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

_COMMAND = "python -m benchmarks.study_metadata --data ../shared/data/fma --run runs/default"

_HEAD = """# Sound and metadata: the figures

FMA-small, 7,115 tracks of 2,104 artists, five folds by artist, every figure out of fold, 95 %
intervals by artist. Each row is scored on the tracks for which its sources are known. "Masked"
means that genre words were taken out of all text, in training and in the answer. Nothing is learnt
from namesakes of held-out artists. What it means is said in [Sound and metadata](../metadata.md).

## Title and artist
"""

_NUMBERS = """
## Numbers

Echonest's numbers of the tracks that have them.
"""


def main(arguments: list[str] | None = None) -> int:
    """Train, score, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_metadata")
    parser.add_argument("--data", type=Path, required=True, help="prepared FMA data")
    parser.add_argument("--run", type=Path, required=True, help="folder of `train default`")
    parser.add_argument("--out", type=Path, default=Path("docs/results/metadata.md"))
    parser.add_argument("--sentences", help="read titles by this encoder, too: NAME@COMMIT or DIR")
    given = parser.parse_args(arguments)

    import torch

    from genrescope.catalog.prepared import load_prepared
    from genrescope.catalog.storage import atomic
    from genrescope.learn.parts.about import table_abouts
    from genrescope.learn.studies.hierarchy import read_answers, read_tree_data
    from genrescope.learn.studies.metadata import metadata_study, study_markdown
    from genrescope.learn.studies.sentences import SentenceEncoder
    from genrescope.learn.train.fusion import FusionRecipe, FusionTracks

    torch.set_num_threads(1)
    data = read_tree_data(given.data, given.run)
    prepared = load_prepared(given.data)
    abouts = table_abouts(
        given.data / "small_tracks.csv",
        prepared.where(prepared.genre_top != "").track_id,
        echonest=given.data / "echonest_audio_features.csv",
    )
    encoder = None
    if given.sentences:
        name, _, revision = given.sentences.partition("@")
        encoder = SentenceEncoder.load(name, revision=revision or None)
    log_p, folds = read_answers(given.run, data.y_top, data.artists)
    tracks = FusionTracks(
        abouts=abouts,
        y=data.y_top,
        folds=folds,
        log_p=log_p,
        genres=tuple(data.genres),
        artists=data.artists,
    )
    texts = metadata_study(tracks, sound=data.statistics, encoder=encoder)
    numbers = [
        row
        for row in metadata_study(tracks, recipe=FusionRecipe(sources=("numbers",)))
        if "numbers" in row.name and row.masked
    ]
    page = "\n".join([_HEAD, study_markdown(texts), _NUMBERS.strip(), "", study_markdown(numbers)])
    with atomic(given.out) as fresh:
        fresh.write_text(f"{page}\nMade by `{_COMMAND}`.\n", encoding="utf-8")
    print(study_markdown([*texts, *numbers]))
    print(f"wrote {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
