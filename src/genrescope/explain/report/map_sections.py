"""The maps of the page, what they may be read as, and how far to trust each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrescope.explain import figures
from genrescope.explain.marks import share
from genrescope.explain.report.composer import (
    Block,
    Cell,
    Column,
    Composer,
    Section,
    Table,
    decimal,
    percent,
    seconds,
)
from genrescope.explain.words import listed

if TYPE_CHECKING:
    from genrescope.explain.maps.drawn import Map
    from genrescope.explain.maps.quality import MapQuality
    from genrescope.explain.report.result import LabResult

__all__ = ["map_key", "maps_section"]

_MAP_FIGURES = (
    "Trustworthiness",
    "Continuity",
    "kNN on the map, %",
    "kNN among features, %",
    "Trustworthiness, held out",
    "kNN on the map, held out, %",
)


def maps_section(result: LabResult, page: Composer) -> Section:
    """The maps, and how far each can be trusted."""
    section = Section("manifolds", "Manifolds: the tracks on a map")
    section.list(result.maps_left_out, title="Maps that were left out")
    if not result.maps:
        section.text("No map was made.")
        return section
    section.text(
        "Each point is a track. Tracks with similar features lie close together; genres that lie "
        "apart are easy to tell from these features. Filled points were used to make the map, "
        "rings were placed on it afterwards. Hover for title, artist and what the best classifier "
        "took the track for; click a genre in the legend to hide it, twice to see it alone."
    )
    data = result.data
    shown = []
    for one in result.maps:
        figure = page.figure(
            figures.map_figure(one, y=data.y, genres=data.genres),
            _map_caption(one),
            alt=f"{one.method} map of {len(data):,} tracks in {one.dims} dimensions, coloured by "
            f"genre",
            plot=map_key(one),
            tab=f"{one.method} {one.dims}-D",
        )
        if figure is not None:
            shown.append(figure)
    section.add(Block("tabs", title="Maps", figures=tuple(shown)))
    section.add(
        page.table(
            Table(
                "maps",
                "How far to trust each map. Trustworthiness: neighbours on the map are neighbours "
                "among the features. Continuity: neighbours among the features are neighbours on "
                "the map. Both are 1 at best and about 0.5 for a map drawn at random. kNN: share "
                "of tracks that the nearest tracks by other artists name rightly. Held out: tracks "
                "that were placed afterwards, which is what a map is worth on new music.",
                (
                    Column("Map"),
                    *(Column(name, number=True) for name in _MAP_FIGURES),
                    Column("Seconds", "CPU seconds to make it", number=True),
                ),
                [
                    (
                        Cell(f"{one.method} {one.dims}-D", sort=f"{one.method} {one.dims}"),
                        *_map_figures(one.quality),
                        *_map_figures(one.quality_held_out)[::2],
                        seconds(one.seconds),
                    )
                    for one in result.maps
                ],
                file="maps",
                sortable=True,
                wide=True,
            )
        )
    )
    pca = max((m for m in result.maps if m.method == "PCA"), key=lambda m: m.dims, default=None)
    if pca is not None:
        total = sum(pca.explained[: pca.dims])
        section.add(
            page.figure(
                figures.explained_variance(pca.explained),
                f"Variance on each principal component. The {pca.dims} that the map shows hold "
                f"{share(total)} of it; the rest of what the features say cannot be seen there.",
                alt=f"Bar chart of the variance of {len(pca.explained)} principal components",
            )
        )
    return section


def _map_figures(quality: MapQuality | None) -> tuple[Cell, ...]:
    if quality is None:
        return (decimal(None),) * 4
    return (
        decimal(quality.trustworthiness),
        decimal(quality.continuity),
        percent(quality.knn_accuracy),
        percent(quality.knn_accuracy_features),
    )


def map_key(one: Map) -> str:
    """The name of a map among the interactive ones."""
    return f"map-{one.method.lower().replace('-', '')}-{one.dims}d"


def _map_caption(one: Map) -> str:
    parts = [f"{one.method} in {one.dims} dimensions.", one.note]
    along = [
        f"{axis} with {listed([name for name, _ in features[:2]])}"
        for axis, features in zip(one.axis_labels, one.axis_features, strict=False)
        if features
    ]
    if along:
        parts.append(f"The axes go along most with these features: {'; '.join(along)}.")
    inside, outside = one.quality, one.quality_held_out
    for quality, whose in ((inside, "that it was made from"), (outside, "placed afterwards")):
        if quality is not None and quality.knn_accuracy is not None:
            among = quality.knn_accuracy_features
            parts.append(
                f"Of the tracks {whose}, {share(quality.knn_accuracy)} have the genre that is the "
                f"most frequent among their {quality.k} nearest on the map"
                + ("." if among is None else f", and {share(among)} among the features.")
            )
    return " ".join(part for part in parts if part)
