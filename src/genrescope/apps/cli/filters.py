"""``genrescope model filters``: what the filters of a trained network look for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from genrescope.apps.cli import options

__all__ = ["filters"]

_MOST = 24  # filters of a layer, unless more are asked for


def filters(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="A run: the folder that was given to `genrescope train` with --out.",
        ),
    ],
    out: options.OutFolder,
    layer: Annotated[
        list[int] | None,
        options.number(
            "--layer",
            "Which convolution, from 1; repeat it for more.",
            default="1 and 5, as the study",
        ),
    ] = None,
    data: Annotated[
        Path | None, options.data("Prepared clips, to find those that excite each filter most.")
    ] = None,
    limit: Annotated[
        int,
        options.number("--limit", "Filters of a layer, at most; the first ones.", "--most", min=1),
    ] = _MOST,
    steps: Annotated[int, options.number("--steps", "Of making a picture.", min=1)] = 96,
    seed: options.Seed = 0,
) -> None:
    """Draw what excites the filters of a trained network, and name the clips that do.

    The run is read; the pictures are written to FOLDER. Needs the extra train.

    Exit codes: 0 the pictures are written, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope model filters RUN --out pictures
      genrescope model filters RUN --layer 3 --data PREPARED --out pictures
    """
    from genrescope.audio.frames import N_FRAMES, WINDOW_SECONDS
    from genrescope.explain.filter_figures import write_filters
    from genrescope.explain.filters import Excited, excite, exciting_clips, layer_of
    from genrescope.explain.trained import convolutions, load_trained

    trained = load_trained(run)
    count = len(convolutions(trained.net))
    numbers = layer or [n for n in (1, 5) if n <= count]
    chosen = {n: range(min(limit, layer_of(trained.net, n)[1].out_channels)) for n in numbers}
    prepared = None
    if data is not None:
        from genrescope.catalog.prepared import load_prepared

        prepared = load_prepared(data)
    for number, which in chosen.items():
        found = excite(
            trained.net,
            trained.architecture.input_shape,
            layer=number,
            filters=which,
            how=Excited(steps=steps, seed=seed),
        )
        clips = (
            exciting_clips(trained.net, prepared, layer=number, filters=which)
            if prepared is not None
            else None
        )
        for path in write_filters(found, out, clips=clips, frame_seconds=WINDOW_SECONDS / N_FRAMES):
            typer.echo(os.fspath(path))
