"""The page *Track*: one sound, what the recogniser says of it, and why."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from nicegui import ui

from genrescope.apps.pages.shell import page_frame
from genrescope.apps.pages.theme import mark
from genrescope.apps.pages.track_samples import Sample, samples
from genrescope.audio.decode import AUDIO_SUFFIXES

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["add_routes", "build"]


def add_routes(app: FastAPI) -> None:
    """Put the data of the page on an application."""
    from genrescope.apps.pages.track_routes import add_routes as add

    add(app)


def build(service: Any) -> None:
    """Build the page.

    Parameters
    ----------
    service : Service
        Who answers.
    """
    with page_frame(active="track", service=service, styles=("track.css",), scripts=("track.js",)):
        ui.html(_content(service), sanitize=False)


def _content(service: Any) -> str:
    told = {
        "genres": list(service.recogniser.genres),
        "max_bytes": service.settings.max_bytes,
        "level": service.recogniser.card["conformal"]["level"],
        "explains": service.recogniser.card["front_end"]["name"] == "frames",
    }
    return (
        f'<gs-track data-told="{escape(json.dumps(told))}">'
        + _START.format(
            accept=escape(_accept()),
            samples=_samples(samples(), service.recogniser.genres),
            bytes=_size(service),
        )
        + _RESULT
        + "</gs-track>"
    )


def _accept() -> str:
    return ",".join(["audio/*", *sorted(AUDIO_SUFFIXES)])


def _size(service: Any) -> str:
    return f"{service.settings.max_bytes / 1e6:,.0f} MB"


def _samples(found: tuple[Sample, ...], genres: tuple[str, ...]) -> str:
    clips = [one for one in found if one.track_id is not None]
    own = [one for one in found if one.track_id is None]
    parts = []
    if clips:
        parts.append(
            "<h2>Or try a clip of the Free Music Archive</h2>"
            "<p class=gs-quiet>With the genre that the archive gives it.</p>"
            f"<ul class=samples>{''.join(_sample(one, genres) for one in clips)}</ul>"
        )
    parts.append(
        f"<h2>{'Or' if clips else 'Or try'} something that this program plays itself</h2>"
        "<p class=gs-quiet>Ten seconds each, made by a few lines of code. "
        + (
            ""
            if clips
            else "The clips of the Free Music Archive are not on this machine; "
            "<code>genrescope demo</code> fetches them. "
        )
        + "They have no genre; see what it makes of them.</p>"
        f"<ul class='samples own'>{''.join(_sample(one, genres) for one in own)}</ul>"
    )
    return "".join(parts)


def _sample(one: Sample, genres: tuple[str, ...]) -> str:
    note = f"<small>{mark(one.note, genres)}{escape(one.note)}</small>" if one.note else ""
    return (
        f'<li><button type="button" class="gs-button" data-sample="{escape(one.key)}">'
        f"<span>{escape(one.label[:1].upper() + one.label[1:])}</span>{note}</button></li>"
    )


_START = """
<section id="start" aria-labelledby="start-title">
  <div id="drop" class="drop">
    <h1 id="start-title">What genre is this?</h1>
    <p class="gs-lead">Drop a song here. It is heard on this server, which forgets it two hours
    after you last looked at it, or when it stops.</p>
    <p><label class="gs-button primary" for="file">Choose a file</label>
    <input id="file" class="gs-sr" type="file" accept="{accept}"></p>
    <p class="gs-quiet">Any format that can be decoded, up to {bytes}.</p>
  </div>
  {samples}
</section>
<div id="trouble" class="gs-alert" role="alert" hidden></div>
<section id="coming" hidden><p id="coming-text" role="status"></p>
  <progress id="coming-bar" aria-label="Upload" max="1"></progress></section>
"""

_RESULT = """
<section id="result" hidden aria-labelledby="title">
  <header class="of">
    <div><h1 id="title"></h1><p id="artist" class="gs-lead"></p></div>
    <button type="button" id="another" class="gs-button">Another track</button>
  </header>
  <div class="two">
    <div class="answer" id="answer" aria-live="polite" aria-busy="true"></div>
    <div class="answer more" id="more"></div>
    <div class="scene">
      <div class="transport">
        <button type="button" id="play" class="gs-button primary" disabled>
          <span class="sign" aria-hidden="true"></span><span id="play-word">Play</span></button>
        <span id="clock" class="clock">0:00</span>
        <span class="spring"></span>
        <button type="button" id="zoom" class="gs-button small" hidden>Whole track</button>
      </div>
      <audio id="audio" preload="metadata"></audio>
      <p id="sound-trouble" class="gs-quiet" role="status" hidden></p>
      <div id="stack" class="stack">
        <div class="pane"><h2>Waveform</h2>
          <div class="plot wave"><canvas id="wave" role="img" aria-label="Waveform"></canvas>
            <div id="slider" role="slider" tabindex="0" aria-label="Position in the track"
              aria-valuemin="0" aria-valuemax="0" aria-valuenow="0"></div></div></div>
        <div class="pane"><h2>Spectrogram <small>mel bands to 15 kHz</small></h2>
          <div class="plot mel"><canvas id="mel" role="img" aria-label="Mel spectrogram"></canvas>
          </div></div>
        <div class="pane ticks" aria-hidden="true"><h2></h2>
          <div class="plot" id="ticks"></div></div>
        <div class="pane" id="over-time"><h2>Over time
          <small id="over-time-how"></small></h2>
          <div class="plot moments" id="moments" role="toolbar"
            aria-label="Genre over time; left and right move, Enter jumps there"></div></div>
        <div id="rows"></div>
        <div id="cursor" class="cursor" aria-hidden="true"><i></i></div>
      </div>
      <p class="gs-quiet hint">Click anywhere to jump. With the keyboard: arrows move by a second
      (with Shift by five), Home and End, Space plays.</p>
      <section id="why" class="why" aria-labelledby="why-title">
        <h2 id="why-title">What spoke for it?</h2>
        <p class="gs-quiet">Parts of the sound are hidden, many hundred times over, and the
        recogniser is asked again. What it misses most spoke for the genre.</p>
        <div class="asking">
          <label for="why-genre">Genre</label> <select id="why-genre"></select>
          <button type="button" id="ask" class="gs-button" disabled>Show what spoke for it</button>
        </div>
        <div id="why-coming" hidden><p role="status" id="why-text"></p>
          <progress aria-label="Asking"></progress></div>
        <div id="why-trouble" class="gs-alert" role="alert" hidden></div>
        <div id="why-told" hidden></div>
      </section>
    </div>
  </div>
</section>
"""
