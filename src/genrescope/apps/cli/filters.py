"""``genrescope model filters``: what the filters of a trained network look for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

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
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", show_default=False, help="Where pictures go.")
    ],
    layer: Annotated[
        list[int] | None,
        typer.Option(
            "--layer",
            metavar="N",
            show_default=False,
            help="Which convolution, from 1; repeat it for more (default: 1 and 5, as the study).",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            show_default=False,
            help="Prepared clips, to find those that excite each filter most.",
        ),
    ] = None,
    most: Annotated[
        int, typer.Option("--most", min=1, help="How many filters of a layer, the first ones.")
    ] = _MOST,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Of making a picture.")] = 96,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise it begins with.")] = 0,
) -> None:
    """Draw what excites the filters of a trained network, and name the clips that do.

    Examples:

      genrescope model filters RUN --out pictures
      genrescope model filters RUN --layer 3 --data ../shared/data/fma --out pictures
    """
    from genrescope.audio.frames import N_FRAMES, WINDOW_SECONDS
    from genrescope.explain.filter_figures import write_filters
    from genrescope.explain.filters import Excited, excite, exciting_clips, layer_of
    from genrescope.explain.trained import convolutions, load_trained

    trained = load_trained(run)
    count = len(convolutions(trained.net))
    numbers = layer or [n for n in (1, 5) if n <= count]
    chosen = {n: range(min(most, layer_of(trained.net, n)[1].out_channels)) for n in numbers}
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
