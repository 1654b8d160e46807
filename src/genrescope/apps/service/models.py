"""What goes over the wire, described for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PROBLEMS", "Answer", "Bundles", "Health", "PathRequest", "Problem"]

Probability = Annotated[float, Field(ge=0, le=1)]
Probabilities = Annotated[
    dict[str, Probability], Field(description="Every genre, high to low; they sum to 1.")
]

_PROBLEM: dict[str, Any] = {
    "type": "urn:genrescope:problem:audio-too-short",
    "title": "Too little sound",
    "status": 422,
    "detail": "click.wav: 0.02 s of sound; 0.5 s or more is needed. Send a longer piece.",
    "instance": "urn:uuid:8a4ba9fa-6c2b-4d35-a4bb-2a2ae2a02fd5",
    "error": "AudioTooShortError",
}


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PROBLEM]})

    type: str = Field(description="What kind of problem: a name that does not change.")
    title: str = Field(description="The same for people.")
    status: int = Field(ge=400, le=599, description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request or file, and the way out.")
    instance: str = Field(description="The name of this occurrence; the log has it, too.")
    error: str | None = Field(
        None, description="The class of the error, where genrescope has one for it."
    )


class Moment(BaseModel):
    """One window of a track."""

    start: float = Field(description="Seconds from the start of the track.")
    end: float
    best: str
    probabilities: Probabilities


class Branch(BaseModel):
    """A genre of the tree with all that it is part of, from the top."""

    path: list[str]
    probability: Probability


class Neighbour(BaseModel):
    """A known track that sounds like this one."""

    title: str
    artist: str
    genre: str
    track_id: int = Field(description="Its number in the Free Music Archive.")
    similarity: float
    percentile: float


class Heard(BaseModel):
    """What was recognised in one track: `Prediction.to_dict()` of the Python package."""

    path: str = Field(description="The name that the client gave, never one of the server.")
    genre: str | None = Field(description="The genre; null where it is not sure enough to say one.")
    best: str = Field(description="The most probable genre, sure or not.")
    confidence: Probability
    sure: bool
    reason: str = Field(description="Why it is not sure; empty where it is.")
    plausible: list[str] = Field(description="As many genres as it takes to hold the right one.")
    probabilities: Probabilities
    duration: float = Field(ge=0, description="Of the whole track, in seconds.")
    title: str | None
    artist: str | None
    tagged_genres: list[str] = Field(description="From the tags; they play no part.")
    sources: list[str] = Field(description='What the answer rests on: "sound", "title", ...')
    branches: list[Branch] = Field(description="Sub-genres that fit, high to low.")
    similar: list[Neighbour] = Field(description="Known tracks that are like it, nearest first.")
    position: tuple[float, float, float] | None = Field(
        description="Where it lies on the map of known tracks; null where the bundle has none."
    )
    timeline: list[Moment] = Field(description="Window by window; empty unless asked for.")


class Result(BaseModel):
    """One file: what was recognised in it, or what was wrong with it."""

    file: str = Field(description="The name that the client gave.")
    prediction: Heard | None
    problem: Problem | None


class BundleName(BaseModel):
    """Which recogniser answered."""

    name: str
    version: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of its graph.")


class Answer(BaseModel):
    """One result for each file, in the order in which they came."""

    api: Literal["v1"]
    bundle: BundleName
    results: list[Result]


class BundleCard(BundleName):
    """A recogniser, and what it knows."""

    description: str
    genres: list[str]
    subgenres: bool = Field(description="Whether its predictions have branches.")
    threshold: float | None = Field(description="The confidence from which it is sure.")
    accuracy: float = Field(description="On artists that it had not met, as its card says.")
    licence: str


class Bundles(BaseModel):
    """The recognisers of this service; the first one answers."""

    api: Literal["v1"]
    bundles: list[BundleCard]


class Health(BaseModel):
    """That it lives, or that it is ready."""

    status: Literal["ok", "ready"]


class PathRequest(BaseModel):
    """Files of the library."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"paths": ["AWOL/Food.mp3"]}]}
    )

    paths: list[str] = Field(min_length=1, description="Relative to the library.")


_WHY = {
    400: "The request cannot be read.",
    401: "The token is missing or wrong.",
    403: "Asked by another site, or a file that may not be read.",
    404: "There is nothing at this path; or no such file.",
    405: "The path does not take this method.",
    408: "The request came too slowly.",
    413: "More bytes or files than are taken.",
    415: "Not audio, or not sent as a form or a file.",
    421: "A name that this service does not have.",
    422: "A value out of range; or a file with nothing to recognise in it.",
    429: "The queue is full; Retry-After says when to come again.",
    500: "Something that nobody foresaw.",
    503: "The service is starting or stopping.",
    507: "The disk is full.",
}


def _problem(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": _WHY[status],
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    if status == 429:
        found["headers"] = {
            "Retry-After": {
                "required": True,
                "description": "Seconds.",
                "schema": {"type": "integer", "minimum": 1},
            }
        }
    return found


#: Every problem, as FastAPI wants to be told of responses.
PROBLEMS: dict[int | str, dict[str, Any]] = {status: _problem(status) for status in _WHY}
