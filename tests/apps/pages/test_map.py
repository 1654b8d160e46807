"""The page *Map*, used in a real browser."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genrescope.learn.bundle import Bundle
from genrescope.learn.parts.base import describe_parts
from genrescope.learn.train.known import known_part
from tests.learn.known_world import make_known

# How many pixels are of a colour, laid over the ground more or less thickly.
PIXELS = """(colour) => {
  const map = document.querySelector("gs-map");
  const { data } = map.context.getImageData(0, 0, map.canvas.width, map.canvas.height);
  const ground = new Uint8Array(Uint32Array.of(map.ground).buffer);
  const way = [1, 3, 5].map((at, k) => parseInt(colour.slice(at, at + 2), 16) - ground[k]);
  const length = Math.hypot(...way);
  let n = 0;
  for (let i = 0; i < data.length; i += 4) {
    const off = way.map((_, k) => data[i + k] - ground[k]);
    const along = off.reduce((sum, value, k) => sum + value * way[k], 0) / length;
    if (along > 0.5 * length && Math.hypot(...off) ** 2 - along ** 2 < 64) n += 1;
  }
  return n;
}"""
WHERE = """(id) => {
  const map = document.querySelector("gs-map");
  const i = map.points.findIndex((one) => one.id === id);
  const box = map.canvas.getBoundingClientRect();
  return [box.left + map.x[i] / map.ratio, box.top + map.y[i] / map.ratio];
}"""
STILL = "() => { const m = document.querySelector('gs-map'); return m.xyz && !m.frame && !m.way; }"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recogniser that ships, with a small map."""
    folder = tmp_path_factory.mktemp("bundle") / "mapped"
    shutil.copytree(Bundle.load().folder, folder)
    part, _ = known_part(make_known())
    card = json.loads((folder / "card.json").read_text())
    card["parts"] |= describe_parts({"known": part})
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "known.onnx").write_bytes(part.graph)
    return folder


@pytest.fixture
def address(server: Callable[..., str], bundle: Path) -> str:
    return server(bundle=str(bundle))


def opened(visit: Any, path: str = "/map") -> Any:
    page = visit.go(path)
    page.wait_for_selector(".map-legend button")
    page.wait_for_function(STILL)
    return page


def heard(page: Any, *tracks: dict[str, Any]) -> None:
    """What the page Track would have kept."""
    told = json.dumps(json.dumps(list(tracks)))
    page.add_init_script(f"sessionStorage.setItem('genrescope-tracks', {told})")


MINE = {
    "id": "abc",
    "name": "mine.mp3",
    "url": "/pages/track/abc",
    "title": "My <i>own</i>",
    "artist": "Somebody",
    "genre": "Rock",
    "sure": False,
    "position": [0.1, 0.2, 0.3],
    "similar": [
        {"track_id": 1007, "percentile": 80.0},
        {"track_id": 1003, "percentile": 30.0},
    ],
}


@pytest.mark.parametrize(("width", "theme"), [(1600, "light"), (400, "dark")])
def test_it_draws_every_genre_at_every_width(
    address: str, visit: Callable[..., Any], width: int, theme: str
) -> None:
    seen = visit(address, width=width, theme=theme)
    heard(seen.page, MINE)
    page = opened(seen)
    assert seen.overflow == 0
    legend = page.locator(".map-legend button[aria-pressed]")
    assert [text.split("\n")[0] for text in legend.all_inner_texts()] == [
        *("Folk", "Hip-Hop", "Pop", "Rock")
    ]
    colours = page.evaluate("document.querySelector('gs-map').genres.map((g) => g.colour)")
    assert all(page.evaluate(PIXELS, colour) > 20 for colour in colours)
    seen.picture(f"map-{width}-{theme}")


def test_genres_are_told_by_shape_too(address: str, visit: Callable[..., Any]) -> None:
    page = opened(visit(address))
    masks = page.evaluate(
        "() => { const m = document.querySelector('gs-map');"
        "return m.genres.map((_, k) => [...m.mask(k, 6, 1, 1).cover].join()); }"
    )
    assert len(set(masks)) == 4


def test_the_legend_filters(address: str, visit: Callable[..., Any]) -> None:
    page = opened(visit(address))
    rock = page.evaluate("document.querySelector('gs-map').genres[3].colour")
    before = page.evaluate(PIXELS, rock)
    page.get_by_role("button", name="Rock").click()
    page.mouse.move(5, 5)
    page.wait_for_function(STILL)
    assert page.get_by_role("button", name="Rock").get_attribute("aria-pressed") == "false"
    assert page.evaluate(PIXELS, rock) < before / 10
    page.get_by_role("button", name="None").click()
    page.get_by_role("button", name="Rock").click()
    page.mouse.move(5, 5)
    page.wait_for_function(STILL)
    pressed = page.locator(".map-legend button[aria-pressed=true]")
    assert pressed.all_inner_texts()[0].startswith("Rock")
    assert pressed.count() == 1
    page.fill("#map-search", "artist")  # what is filtered out is not found
    assert page.locator(".map-side [role=status]").first.inner_text().startswith("48 tracks")


def test_a_track_is_found_by_name_and_shows_what_is_like_it(
    address: str, visit: Callable[..., Any]
) -> None:
    page = opened(visit(address))
    page.fill("#map-search", "SONG 17")  # accents and capitals do not matter
    page.get_by_role("button", name="Söng <b>17</b>").first.press("Enter")
    card = page.locator(".map-chosen")
    card.locator("h2", has_text="Söng <b>17</b>").wait_for()  # as text, not as markup
    assert "Artist 4" in card.inner_text()
    lines = card.locator("tbody tr")
    lines.first.wait_for()
    assert lines.count() == 8
    assert "alike" in lines.first.inner_text()
    assert page.url.endswith("/map?known=1017")
    first = lines.first.locator("span").first.inner_text()
    lines.first.get_by_role("button").click()  # from one to the next
    card.locator("h2", has_text=first).wait_for()
    page.fill("#map-search", "no such track")
    assert "No track of that name." in page.locator(".map-side").inner_text()


def test_pointing_names_a_track_and_clicking_chooses_it(
    address: str, visit: Callable[..., Any]
) -> None:
    seen = visit(address)
    heard(seen.page, MINE)
    page = opened(seen)
    x, y = page.evaluate(WHERE, "abc")
    page.mouse.move(x, y)
    assert page.locator(".map-tip").inner_text().split("\n") == [
        "My <i>own</i>",
        "Somebody",
        "Rock",
    ]
    page.mouse.click(x, y)
    card = page.locator(".map-chosen")
    card.locator("tbody tr").first.wait_for()
    said = card.inner_text()
    assert "Rock (not sure)" in said
    assert "Söng <b>7</b>" in said
    assert [one.inner_text() for one in card.locator("td.how").all()] == [
        *("very much alike", "alike")
    ]
    seen.errors.clear()  # there is no such sound on this server
    player = page.locator("audio")
    assert player.evaluate("(one) => new URL(one.src).pathname") == "/pages/track/abc/sound"


def test_dragging_turns_and_keys_do_too(address: str, visit: Callable[..., Any]) -> None:
    page = opened(visit(address))
    angles = (
        "(() => { const m = document.querySelector('gs-map'); return [m.yaw, m.pitch, m.zoom]; })()"
    )
    start = page.evaluate(angles)
    box = page.locator("gs-map canvas").first.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 260, steps=5)
    page.mouse.up()
    dragged = page.evaluate(angles)
    assert dragged[0] > start[0] + 0.3
    assert dragged[1] > start[1] + 0.2
    page.locator("gs-map canvas").first.focus()
    for key in ("ArrowLeft", "ArrowUp", "+"):
        page.keyboard.press(key)
    pressed = page.evaluate(angles)
    assert pressed == pytest.approx([dragged[0] - 0.15, dragged[1] - 0.15, 1.25])
    page.keyboard.press("0")
    page.wait_for_function(STILL)
    assert page.evaluate(angles)[2] == pytest.approx(1)


def test_it_turns_by_itself_only_when_asked(address: str, visit: Callable[..., Any]) -> None:
    page = opened(visit(address))
    yaw = "document.querySelector('gs-map').yaw"
    before = page.evaluate(yaw)
    turn = page.get_by_role("button", name="Turn slowly")
    assert turn.get_attribute("aria-pressed") == "false"
    turn.click()
    page.wait_for_function(f"{yaw} > {before + 0.02}")
    turn.click()
    page.wait_for_function(STILL)


def test_who_wants_no_motion_gets_none(address: str, visit: Callable[..., Any]) -> None:
    page = opened(visit(address, reduced_motion="reduce"), "/map?known=1005")
    page.locator(".map-chosen h2").wait_for()
    page.evaluate(
        "() => { const m = document.querySelector('gs-map'); m.come([9, 9, 9], 3); m.step(1); }"
    )
    assert page.evaluate("document.querySelector('gs-map').middle") == [9, 9, 9]


def test_an_address_names_a_track(address: str, visit: Callable[..., Any]) -> None:
    page = opened(visit(address), "/map?known=1005")
    page.locator(".map-chosen h2", has_text="Söng <b>5</b>").wait_for()
    page.locator("gs-map canvas").first.focus()
    page.keyboard.press("Escape")
    assert page.locator(".map-chosen").is_hidden()
    assert page.url.endswith("/map")


def test_what_another_page_kept_is_checked(address: str, visit: Callable[..., Any]) -> None:
    seen = visit(address)
    heard(
        seen.page,
        {**MINE, "url": "https://example.org/x"},
        {**MINE, "position": [1, None, 2]},
        {**MINE, "position": None},
        MINE,
    )
    page = opened(seen)
    assert page.locator(".map-mine li").count() == 1


def test_a_recogniser_without_known_tracks_says_so(
    server: Callable[..., str], visit: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(bundle, bare)
    card = json.loads((bare / "card.json").read_text())
    del card["parts"]["known"]
    (bare / "card.json").write_text(json.dumps(card))
    page = visit(server(bundle=str(bare))).go("/map")
    page.get_by_text("has no map").wait_for()


def test_questions_that_cannot_be_answered_are_problems(
    address: str, visit: Callable[..., Any]
) -> None:
    page = visit(address).page
    for asked in ("", "7", "x", "9" * 30, "-1"):
        answer = page.request.get(f"{address}/pages/map/near?track={asked}")
        assert answer.status == 422
        assert answer.json()["title"]
    assert page.request.get(f"{address}/pages/map/library").json() == {
        "library": False,
        "tracks": [],
        "more": False,
    }


def test_a_row_of_the_library_becomes_a_point() -> None:
    from genrescope.apps.pages.library_rows import Row
    from genrescope.apps.pages.map_routes import _track

    near = SimpleNamespace(track_id=5, percentile=12.34)
    solo: Any = SimpleNamespace(best="Pop", sure=False, position=(0.1234, 0, -1), similar=(near,))
    together: Any = SimpleNamespace(best="Folk", sure=True, position=None, similar=())
    row = Row(1, Path("/music/a/b.mp3"), "a/b.mp3", artist="Who", solo=solo, heard=together)
    assert _track(row) == {
        "path": "a/b.mp3",
        "title": "b",
        "artist": "Who",
        "genre": "Folk",
        "sure": True,
        "position": [0.1234, 0, -1],
        "similar": [[5, 12.3]],
    }
    assert _track(Row(2, Path("/music/c.mp3"), "c.mp3")) is None


@pytest.mark.data
def test_a_scanned_library_is_drawn_and_plays(
    server: Callable[..., str],
    visit: Callable[..., Any],
    bundle: Path,
    fma_clips: list[Path],
    tmp_path: Path,
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for clip in fma_clips[:2]:
        shutil.copyfile(clip, music / clip.name)
    address = server(bundle=str(bundle), library=music)
    seen = visit(address)
    page = seen.go("/library")
    page.request.post(f"{address}/pages/library/scan", data={"folder": ""})
    until = time.monotonic() + 90
    while len(page.request.get(f"{address}/pages/map/library").json()["tracks"]) < 2:
        assert time.monotonic() < until, page.request.get(f"{address}/pages/library/state").text()
        page.wait_for_timeout(200)
    page = opened(seen)
    assert page.locator(".map-mine li").count() == 2
    page.locator(".map-mine li button").first.click()
    player = page.locator(".map-chosen audio")
    player.wait_for()
    page.wait_for_function("document.querySelector('.map-chosen audio').currentTime > 0.1")
    page.locator(".map-chosen tbody tr").first.wait_for()
    seen.picture("map-library")
