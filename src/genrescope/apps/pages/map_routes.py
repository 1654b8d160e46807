"""The data of the page *Map*: the known tracks, and those of the library among them."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from genrescope.apps.pages.library_routes import shelf_of
from genrescope.apps.pages.library_rows import Query
from genrescope.apps.pages.theme import genre_marks
from genrescope.apps.service.problems import problem_of, respond
from genrescope.errors import DataError, GenrescopeError
from genrescope.learn.parts.known import ALIKE

if TYPE_CHECKING:
    from genrescope.apps.pages.library_rows import Row
    from genrescope.learn.parts.known import KnownTracks, Neighbour

__all__ = ["add_routes", "knows_tracks"]

_AT = "/pages/map"
_NEAR = 8
_STEPS = 32_000  # of a position in 16 bits
_MOST = 20_000  # tracks of a library that are drawn


def knows_tracks(service: Any) -> bool:
    """Whether the recogniser of a service has a map."""
    return service.recogniser.known is not None


def add_routes(app: FastAPI) -> None:
    """Put the data of the page on an application."""
    pages = _Map(app.state.genrescope)
    for path, answer in (
        ("/points", pages.points),
        ("/near", pages.near),
        ("/library", pages.library),
    ):
        app.add_api_route(_AT + path, answer, methods=["GET"], include_in_schema=False)


class _Map:
    """The answers to one application's pages."""

    def __init__(self, service: Any) -> None:
        self.service = service

    async def points(self, request: Request) -> Response:
        """All known tracks."""
        try:
            return await asyncio.to_thread(self._points)
        except GenrescopeError as error:
            return respond(problem_of(error))

    async def near(self, request: Request) -> Response:
        """The known tracks that sound most like one of them."""
        told = request.query_params.get("track", "")
        try:
            if not (told.isascii() and told.isdigit() and len(told) < 19):
                raise DataError(f"track is {told!r}, expected the number of a known track")
            near = self._known().near_known(int(told), _NEAR)
            return JSONResponse([_pair(one) for one in near])
        except GenrescopeError as error:
            return respond(problem_of(error))

    async def library(self, request: Request) -> Response:
        """What was recognised in the files of the library."""
        return JSONResponse(await asyncio.to_thread(self._library))

    def _known(self) -> KnownTracks:
        known: KnownTracks | None = self.service.recogniser.known
        if known is None:
            raise DataError("this recogniser knows no tracks; train it again to have a map")
        return known

    def _points(self) -> Response:
        known = self._known()
        tracks = known.tracks
        counts = Counter(tracks.genres)
        genres = sorted(counts)
        marks = genre_marks(genres)
        names = sorted(set(tracks.artists))
        who, what = ({name: i for i, name in enumerate(listed)} for listed in (names, genres))
        steps = np.round(np.clip(tracks.positions, -1, 1) * _STEPS).astype("<i2")
        return JSONResponse(
            {
                "genres": [
                    {"name": genre, "colour": marks[genre][0], "tracks": counts[genre]}
                    for genre in genres
                ],
                "titles": tracks.titles,
                "names": names,
                "artist": [who[name] for name in tracks.artists],
                "genre": [what[genre] for genre in tracks.genres],
                "ids": tracks.track_ids.tolist(),
                "positions": base64.b64encode(steps.tobytes()).decode("ascii"),
                "steps": _STEPS,
                "alike": [[least, words] for least, words in ALIKE],
                "credit": known.credit,
            },
            headers={"Cache-Control": "private, no-cache"},
        )

    def _library(self) -> dict[str, Any]:
        shelf = shelf_of(self.service)
        if shelf is None:
            return {"library": False, "tracks": [], "more": False}
        told = (_track(row) for row in shelf.pick(Query()))
        found = [one for one in told if one is not None]
        found.sort(key=lambda one: (one["artist"].casefold(), one["title"].casefold()))
        return {"library": True, "tracks": found[:_MOST], "more": len(found) > _MOST}


def _track(row: Row) -> dict[str, Any] | None:
    """A file of the library for the page; None where it has no place on the map (yet)."""
    # What the artist's other tracks say may change the genre, not the sound.
    prediction, sound = row.heard or row.solo, row.solo or row.heard
    if prediction is None or sound is None or sound.position is None:
        return None
    return {
        "path": row.name,
        "title": row.title or row.path.stem,
        "artist": row.artist or "",
        "genre": prediction.best,
        "sure": prediction.sure,
        "position": [round(float(x), 4) for x in sound.position],
        "similar": [_pair(one) for one in sound.similar],
    }


def _pair(one: Neighbour) -> list[float]:
    return [one.track_id, round(one.percentile, 1)]
