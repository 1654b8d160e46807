"""The data of the page *Track*: files come, pictures, sound, answers and reasons go."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response

from genrescope.apps.pages.theme import genre_marks
from genrescope.apps.pages.track_listen import Look, playable
from genrescope.apps.pages.track_samples import samples
from genrescope.apps.pages.track_sounds import Drawing, Opened, Sounds
from genrescope.apps.service.problems import in_names_of, problem_of, respond
from genrescope.apps.service.recognising import unless_gone
from genrescope.apps.service.refusals import QueueFullError, RequestError
from genrescope.apps.service.uploads import Upload, clean_name, pump, receive
from genrescope.errors import AudioNotFoundError, DataError, GenrescopeError

if TYPE_CHECKING:
    from genrescope.learn.prediction import Moment, Prediction

__all__ = ["add_routes"]

_AT = "/pages/track"
_SHORT = 60.0  # s; below, the genre over time comes from slices
_LONGEST_QUESTION = 1 << 16  # bytes
_SWEEP = 60.0  # s
_JOB_SECONDS = 180.0  # for a picture or an explanation

Answer = Callable[[Request], Coroutine[Any, Any, Response]]


def add_routes(app: FastAPI) -> None:
    """Put the data of the page on an application."""
    service = app.state.genrescope
    pages = _Track(service)
    ways: tuple[tuple[str, str, Answer], ...] = (
        ("POST", "/upload", pages.upload),
        ("POST", "/open", pages.open),
        ("GET", "/{key}/look", pages.look),
        ("GET", "/{key}/sound", pages.sound),
        ("GET", "/{key}/spoke", pages.spoke),
        ("POST", "/{key}/answer", pages.answer),
        ("POST", "/{key}/why", pages.why),
        ("POST", "/{key}/close", pages.close),
    )
    for method, path, answer in ways:
        app.add_api_route(_AT + path, _told(answer), methods=[method], include_in_schema=False)
    before = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncIterator[Any]:
        async with before(running) as state:
            sweeping = asyncio.create_task(pages.sweep())
            try:
                yield state
            finally:
                sweeping.cancel()
                await asyncio.to_thread(pages.drawing.close)

    app.router.lifespan_context = lifespan


def _told(answer: Answer) -> Answer:
    """An answer whose errors are problem details in our own words, without paths of the server."""

    @wraps(answer)
    async def responding(request: Request) -> Response:
        try:
            return await answer(request)
        except GenrescopeError as error:
            names = getattr(request.state, "names", {})
            headers = dict(error.headers) if isinstance(error, RequestError) else {}
            if isinstance(error, QueueFullError):
                headers["Retry-After"] = str(error.retry_after)
            return respond(problem_of(in_names_of(error, names)), headers)
        except ClientDisconnect:
            return Response(status_code=400)

    # Not those of the wrapped method: FastAPI would look for them in the wrong module.
    responding.__annotations__ = {"request": Request, "return": Response}
    del responding.__wrapped__
    return responding


class _Track:
    """The answers to one application's pages."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.sounds = Sounds()
        self.drawing = Drawing(
            service.recogniser, timeout=_JOB_SECONDS, memory_limit=service.settings.max_memory
        )

    async def sweep(self) -> None:
        """Close what nobody asked for in a long time, for as long as the server runs."""
        while True:
            await asyncio.sleep(_SWEEP)
            self.sounds.tidy()

    def _sound(self, request: Request) -> Opened:
        sound = self.sounds.get(request.path_params["key"])
        if sound is None:
            raise AudioNotFoundError(
                "this sound is no longer open: it was not used for long, or the server was started "
                "again; open the file again"
            )
        request.state.names = {str(sound.path): sound.name}
        return sound

    async def upload(self, request: Request) -> Response:
        """A file as the whole body; its name in the query."""
        files: list[Upload] = []
        try:
            await receive(
                request,
                settings=self.service.settings,
                workshop=self.service.workshop,
                into=files,
                name=request.query_params.get("name", ""),
            )
        except BaseException:
            for file in files:
                self.service.workshop.remove(file.path)
            raise
        for file in files[1:]:
            self.service.workshop.remove(file.path)
        opened = self.sounds.add(Opened(files[0].path, files[0].name, ours=True))
        return JSONResponse(_about(opened), 201)

    async def open(self, request: Request) -> Response:
        """A sample, or a file of the library."""
        told = await _json(request, self.service.settings)
        if isinstance(told.get("sample"), str):
            found = next((one for one in samples() if one.key == told["sample"]), None)
            if found is None:
                raise AudioNotFoundError(f"there is no sample {told['sample']!r} on this server")
            path = await asyncio.to_thread(found.ready)
            opened = Opened(path, clean_name(path.name), track_id=found.track_id)
        elif isinstance(told.get("path"), str):
            path = await asyncio.to_thread(self.service.inside_library, told["path"])
            opened = Opened(path, clean_name(path.name))
        else:
            raise DataError("say what to open: {sample: ...} or {path: ...}")
        return JSONResponse(_about(self.sounds.add(opened)), 201)

    async def _whole(self, sound: Opened) -> Look:
        found: Look = await sound.once("look", partial(self.drawing.do, "look", sound.path))
        return found

    async def look(self, request: Request) -> Response:
        """Waveform and spectrogram, of the whole sound or of a piece."""
        sound = self._sound(request)
        start, stop = _number(request, "start"), _number(request, "stop")
        if start is None and stop is None:
            return JSONResponse(_picture(await self._whole(sound)))
        piece = await self.drawing.do("look", sound.path, start=start or 0.0, stop=stop)
        return JSONResponse(_picture(piece))

    async def sound(self, request: Request) -> Response:
        """The sound itself, or, where browsers do not play its format, another one of it."""
        sound = self._sound(request)
        media = playable((await self._whole(sound)).format)
        if media is not None and "again" not in request.query_params:
            return _file(sound.path, media)
        out = await sound.once("media", partial(self._played, sound))
        return _file(sound.made["played"], out)

    async def _played(self, sound: Opened) -> str:
        sound.made["played"] = out = self.service.workshop.new("played.mp3")
        media: str = await self.drawing.do("transcode", sound.path, out=out)
        return media

    async def spoke(self, request: Request) -> Response:
        """Only what spoke for a genre, as sound."""
        made = self._sound(request).made.get(f"spoke {request.query_params.get('of', '')}")
        if made is None:
            raise AudioNotFoundError("ask first what spoke for the genre")
        path, media = made
        return _file(path, media)

    async def answer(self, request: Request) -> Response:
        """What the recogniser says, and how that changes over time."""
        sound = self._sound(request)
        told = await sound.once("answer", partial(self._recognised, sound))
        return JSONResponse(told | {"file": sound.name})

    async def _recognised(self, sound: Opened) -> dict[str, Any]:
        recogniser = self.service.recogniser
        prediction = await self.service.recognise(sound.path, timeline=True)
        moments, sliced = prediction.timeline, False
        if prediction.duration <= _SHORT:
            found = await self.drawing.do("slices", sound.path)
            moments, sliced = found or moments, bool(found)
        ids = recogniser.card.get("training", {}).get("track_ids") or ()
        told = _answer(prediction, moments, genres=recogniser.genres, sliced=sliced)
        return told | {"trained_on": sound.track_id in ids}

    async def why(self, request: Request) -> Response:
        """What spoke for a genre, in one window."""
        sound = self._sound(request)
        told = await _json(request, self.service.settings)
        genre, at = told.get("genre"), told.get("at")
        if not (genre is None or isinstance(genre, str)):
            raise DataError("genre has to be a name")
        if not (at is None or (isinstance(at, int | float) and math.isfinite(at))):
            raise DataError("at has to be a number of seconds")
        work = sound.once(f"why {genre} {at}", partial(self._explained, sound, genre, at))
        return JSONResponse(await unless_gone(request, work))

    async def _explained(
        self, sound: Opened, genre: str | None, at: float | None
    ) -> dict[str, Any]:
        found: dict[str, Any]
        found, data, media = await self.drawing.do("explained", sound.path, genre=genre, at=at)
        out = self.service.workshop.new("spoke.mp3")
        await asyncio.to_thread(out.write_bytes, data)
        name = out.stem
        sound.made[f"file {name}"], sound.made[f"spoke {name}"] = out, (out, media)
        return found | {"sound": f"{_AT}/{sound.id}/spoke?of={name}"}

    async def close(self, request: Request) -> Response:
        """Forget a sound; a page says so when it opens another."""
        self.sounds.close(request.path_params["key"])
        return Response(status_code=204)


def _about(sound: Opened) -> dict[str, Any]:
    return {"id": sound.id, "name": sound.name, "url": f"{_AT}/{sound.id}"}


def _picture(look: Look) -> dict[str, Any]:
    return {
        "duration": look.duration,
        "start": look.start,
        "stop": look.stop,
        "columns": look.mel.shape[1],
        "bands": look.mel.shape[0],
        "peaks": base64.b64encode(look.peaks.tobytes()).decode("ascii"),
        "mel": base64.b64encode(look.mel.tobytes()).decode("ascii"),
        "format": look.format,
        "sr": look.sr,
        "channels": look.channels,
        "as_it_is": playable(look.format) is not None,
    }


def _answer(
    prediction: Prediction,
    moments: tuple[Moment, ...],
    *,
    genres: tuple[str, ...],
    sliced: bool,
) -> dict[str, Any]:
    told = prediction.to_dict()
    del told["path"], told["timeline"]
    marks = genre_marks(genres)
    return told | {
        "doubt": prediction.doubt,
        "moments": [
            {
                "start": round(moment.start, 3),
                "end": round(moment.end, 3),
                "probabilities": {g: round(p, 5) for g, p in moment.probabilities.items()},
            }
            for moment in moments
        ],
        "sliced": sliced,
        "marks": {genre: list(mark) for genre, mark in marks.items()},
        "similar": [_neighbour(one) for one in prediction.similar],
    }


def _neighbour(one: Any) -> dict[str, Any]:
    """A known track that sounds alike, with how alike in words."""
    told: dict[str, Any] = one.to_dict()
    return told | {"words": one.words}


def _file(path: Path, media: str) -> Response:
    """A file with its type and nothing of its name; ranges are answered, so seeking works."""
    return FileResponse(path, media_type=media, headers={"Cache-Control": "private, no-store"})


def _number(request: Request, name: str) -> float | None:
    told = request.query_params.get(name)
    if told is None:
        return None
    try:
        value = float(told)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise DataError(f"{name} is {told!r}, expected seconds, 0 or more")
    return value


async def _json(request: Request, settings: Any) -> dict[str, Any]:
    if "application/json" not in request.headers.get("content-type", ""):
        raise DataError("the request has to be JSON (content type application/json)")
    body = bytearray()

    def take(piece: bytes) -> None:
        body.extend(piece)
        if len(body) > _LONGEST_QUESTION:
            raise DataError(f"the request has more than {_LONGEST_QUESTION} bytes")

    await pump(request, settings, take)
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the request is not JSON ({error})") from error
    if not isinstance(told, dict):
        raise DataError("the request has to be a JSON object")
    return told
