"""Playlists: which tracks, in which order, and as what text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrescope.apps import playlists as module
from genrescope.apps.playlists import (
    MARKER,
    Playlist,
    flowing_order,
    gather,
    is_ours,
    playlist_text,
    steps,
    write_playlists,
)
from genrescope.errors import DataError
from genrescope.learn.prediction import Branch, Prediction


def track(path: str | Path, best: str = "Rock", share: float = 0.8, **more: object) -> Prediction:
    others = [genre for genre in ("Folk", "Rock", "Pop") if genre != best][:2]
    return Prediction.from_probabilities(
        {best: share, **dict.fromkeys(others, (1 - share) / 2)},
        threshold=0.5,
        path=Path(path),
        duration=61.6,
        **more,
    )


def names(lists: list[Playlist]) -> dict[str, list[str]]:
    return {one.name: [str(track.path) for track in one.tracks] for one in lists}


def addresses(text: str) -> list[str]:
    return [line for line in text.split("\n") if line and not line.startswith("#")]


# --- which -----------------------------------------------------------------


def test_by_genre() -> None:
    tracks = [
        track("b", "Rock"),
        track("a", "Folk"),
        track("c", "Rock", 0.6),
        track("d", share=0.4),
    ]
    assert names(gather(tracks)) == {"Folk": ["a"], "Rock": ["b", "c"]}
    assert names(gather(tracks, min_confidence=0.7)) == {"Folk": ["a"], "Rock": ["b"]}
    unsure = gather(tracks, min_confidence=0.7, unsure=True)
    assert names(unsure) == {"Folk": ["a"], "Rock": ["b"], "Not sure": ["c", "d"]}
    assert unsure[-1].name == "Not sure"


def test_by_subgenre() -> None:
    branches = (
        Branch(("Rock", "Punk"), 0.7),
        Branch(("Rock", "Garage"), 0.55),
        Branch(("Folk", "Freak-Folk"), 0.5),
    )
    tracks = [track("a", branches=branches), track("b", branches=branches[2:])]
    assert names(gather(tracks, by="subgenre")) == {
        "Rock": ["b"],
        "Rock - Garage": ["a"],
        "Rock - Punk": ["a"],
    }
    least = gather(tracks, by="subgenre", min_confidence=0.6)
    assert names(least) == {"Rock": ["b"], "Rock - Punk": ["a"]}


def test_what_cannot_be_asked() -> None:
    with pytest.raises(DataError, match="by is 'artist'"):
        gather([], by="artist")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="min_confidence is 70"):
        gather([], min_confidence=70)


# --- order -----------------------------------------------------------------


@pytest.mark.parametrize(("n", "mean"), [(500, 0.22), (20_000, 0.12)])
def test_like_is_next_to_like(n: int, mean: float) -> None:
    p = np.random.default_rng(0).dirichlet(np.full(8, 0.4), n)
    order = flowing_order(p)
    assert sorted(order.tolist()) == list(range(n))
    assert round(steps(p).mean(), 2) == 0.59
    assert round(steps(p[order]).mean(), 2) == mean
    greedy = module._nearest_first(np.sqrt(p))
    assert steps(p[order]).sum() < steps(p[greedy]).sum()
    assert steps(p[order]).max() < steps(p[greedy]).max()
    assert n > 500 or (flowing_order(p) == order).all()


def test_a_line_of_tracks_is_found_again() -> None:
    share = np.linspace(0, 1, 60)
    p = np.stack([share, 1 - share], axis=1)
    mixed = np.random.default_rng(1).permutation(60)
    order = mixed[flowing_order(p[mixed])]
    assert (np.abs(np.diff(order)) == 1).all()


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    p = np.random.default_rng(2).dirichlet(np.full(8, 0.5), 300)
    whole = steps(p[flowing_order(p)]).sum()
    monkeypatch.setattr(module, "_BLOCK", 60)
    order = flowing_order(p)
    assert sorted(order.tolist()) == list(range(300))
    assert steps(p[order]).sum() < 1.1 * whole


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 12), k=st.integers(1, 4), seed=st.integers(0, 99))
def test_few_and_equal_tracks(n: int, k: int, seed: int) -> None:
    p = np.random.default_rng(seed).dirichlet(np.ones(k), n).round(1)
    assert sorted(flowing_order(p).tolist()) == list(range(n))


def test_no_order_of_what_is_no_table() -> None:
    for wrong in ([0.5, 0.5], [[0.5, float("nan")]], [[-0.1, 1.1]]):
        with pytest.raises(DataError, match="needs a row of finite"):
            flowing_order(wrong)


def test_flow_is_asked_for() -> None:
    tracks = [track(str(i), share=share) for i, share in enumerate((0.9, 0.6, 0.85, 0.65, 0.8))]
    assert names(gather(tracks)) == {"Rock": ["0", "1", "2", "3", "4"]}
    assert names(gather(tracks, flow=True)) == {"Rock": ["0", "2", "4", "3", "1"]}


# --- text ------------------------------------------------------------------


def test_the_text(tmp_path: Path) -> None:
    one = track(tmp_path / "Music" / "Žluťoučký" / "kůň.mp3", title="Kůň\nII", artist="  A  B ")
    other = track(tmp_path / "Lists" / "x.mp3")
    text = playlist_text(Playlist("Rock", (one, other)), tmp_path / "Lists")
    assert text == (
        f"#EXTM3U\n{MARKER}\n#PLAYLIST:Rock\n#EXTINF:62,A B - Kůň II\n"
        f"{os.path.join('..', 'Music', 'Žluťoučký', 'kůň.mp3')}\n#EXTINF:62,x\nx.mp3\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of these names")
@pytest.mark.parametrize(
    "name",
    [
        "plain.mp3",
        "#1 hit.mp3",
        " leading.mp3",
        "trailing ",
        "http:x.mp3",
        "C:x.mp3",
        "100%25 & ?.mp3",
        "file:..mp3",
        "a\nb.mp3",
        "a\rb.mp3",
        "caf\udce9.mp3",
        "\u2028.mp3",
        "日本語 \U0001f3b5.mp3",
        "..mp3",
    ],
)
def test_every_name_leads_back_to_its_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "mu sic" / name
    file.parent.mkdir()
    file.write_bytes(b"x")
    (written,) = write_playlists([Playlist("L", (track(file), track(file)))], tmp_path / "lists")
    raw = written.read_bytes()
    assert b"\r" not in raw
    found = addresses(raw.decode("utf-8"))
    assert len(found) == 2
    for address in found:
        # As a player reads it: addresses are decoded, all else is a name beside the playlist.
        if address.startswith("file://"):
            path = os.fsdecode(unquote_to_bytes(urlsplit(address).path))
        else:
            assert address == address.rstrip()
            assert not address.startswith(("#", " "))
            assert not urlsplit(address).scheme
            path = os.path.join(written.parent, address)
        assert os.path.samefile(path, file)


def test_a_folder_that_is_a_link_is_left_where_it_really_is(tmp_path: Path) -> None:
    real = tmp_path / "deep" / "down" / "lists"
    real.mkdir(parents=True)
    (tmp_path / "lists").symlink_to(real)
    (tmp_path / "a.mp3").write_bytes(b"x")
    (written,) = write_playlists([Playlist("L", (track(tmp_path / "a.mp3"),))], tmp_path / "lists")
    (address,) = addresses(written.read_text("utf-8"))
    assert (written.resolve().parent / address).samefile(tmp_path / "a.mp3")


# --- files -----------------------------------------------------------------


def test_only_our_own_playlists_are_overwritten(tmp_path: Path) -> None:
    lists = [Playlist("Folk", (track("a"),)), Playlist("Rock", (track("b"),))]
    files = write_playlists(lists, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["Folk.m3u8", "Rock.m3u8"]
    assert all(is_ours(file) for file in files)
    write_playlists(lists, tmp_path / "new" / "folder")
    before = files[0].read_bytes()
    files[1].write_text("#EXTM3U\nmine.mp3\n")
    with pytest.raises(DataError, match=r"Rock\.m3u8: is there.*--force"):
        write_playlists([Playlist("Folk", ()), lists[1]], tmp_path / "new" / "folder")
    assert files[0].read_bytes() == before
    assert files[1].read_text() == "#EXTM3U\nmine.mp3\n"
    write_playlists(lists, tmp_path / "new" / "folder", force=True)
    assert is_ours(files[1])
    assert not is_ours(tmp_path / "nowhere")


def test_names_of_files(tmp_path: Path) -> None:
    odd = ["Big Band/Swing", "big band-swing", "Con", "...", 'a:"b"*?', "x" * 300, "é\n", "\udce9"]
    files = write_playlists([Playlist(name, (track("a"),)) for name in odd], tmp_path / "lists")
    stems = [file.stem for file in files]
    assert stems[:5] == ["Big Band-Swing", "big band-swing 2", "Con_", "_", "a--b---"]
    assert len({stem.casefold() for stem in stems}) == len(odd)
    assert all(len(os.fsencode(file.name)) < 200 for file in files)
    assert all(file.parent == tmp_path / "lists" for file in files)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="choose another folder"):
        write_playlists([Playlist("Rock", (track("a"),))], tmp_path / "file")
