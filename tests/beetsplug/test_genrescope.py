"""The plugin in a real beets: import, command, options, and the way back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutagen
import pytest

pytest.importorskip("beets")

from beets.ui import UserError

from tests.beetsplug.conftest import Shelf

pytestmark = pytest.mark.data

# What the recogniser says of three of the clips, and what their tags say.
FOLK, UNSURE, METAL = "000140.mp3", "001083.mp3", "001039.mp3"


@pytest.fixture
def clip(fma_clips: list[Path]) -> Callable[[str], Path]:
    by_name = {path.name: path for path in fma_clips}
    return by_name.__getitem__


def tag(path: Path) -> list[str]:
    tags = mutagen.File(path).tags
    return list(tags["TCON"].text) if "TCON" in tags else []


def untagged(path: Path, folder: Path) -> Path:
    copy = Path(shutil.copyfile(path, folder / path.name))
    file = mutagen.File(copy)
    del file.tags["TCON"]
    file.save()
    return copy


def tagged(path: Path, folder: Path, genre: str = "Polka") -> Path:
    copy = untagged(path, folder)
    file = mutagen.File(copy)
    file["TCON"] = mutagen.id3.TCON(encoding=3, text=[genre])
    file.save()
    return copy


def test_import_gives_tracks_without_genre_one(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load()
    shelf.bring(
        untagged(clip(FOLK), tmp_path),
        untagged(clip(UNSURE), tmp_path),
        tagged(clip(METAL), tmp_path),
    )
    folk, unsure = shelf.item("Queen Of The Wires"), shelf.item("Feasting on Energy")
    assert folk.genres == ["Folk"]
    assert folk.genrescope_confidence > 0.8
    assert folk.genrescope_bundle == "fma-small-8 1"
    assert unsure.genres == []
    assert not unsure.genrescope_sure
    assert unsure.genrescope_guess == "Rock"
    assert shelf.item("13 Monsters").genres == ["Polka"]
    assert "genrescope_bundle" not in shelf.item("13 Monsters")  # it was not heard
    assert [one.title for one in shelf.lib.items("genrescope_confidence:0.8..")] == [folk.title]
    assert [one.title for one in shelf.lib.items("genrescope_sure:false")] == [unsure.title]


def test_import_does_nothing_where_auto_is_off(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    shelf.bring(untagged(clip(FOLK), tmp_path))
    assert shelf.item("Queen Of The Wires").genres == []


def test_import_reaches_the_files_where_beets_writes(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load()
    shelf.bring(untagged(clip(FOLK), tmp_path))
    path = shelf.item("Queen Of The Wires").filepath
    assert tag(path) == []  # an import as it is writes no tags: so beets decided
    shelf.beet("write")
    assert tag(path) == ["Folk"]


def test_command_fills_what_is_empty_and_writes_it(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    shelf.bring(untagged(clip(FOLK), tmp_path), tagged(clip(METAL), tmp_path), clip(UNSURE))
    told = shelf.beet("genrescope")
    folk, metal = shelf.item("Queen Of The Wires"), shelf.item("13 Monsters")
    assert (folk.genres, tag(folk.filepath)) == (["Folk"], ["Folk"])
    assert (metal.genres, tag(metal.filepath)) == (["Polka"], ["Polka"])
    assert "3 tracks: 1 given genres, 2 left with theirs, 0 not sure, 0 could not be heard" in told
    assert "13 Monsters: keeps its genres" in told
    assert "keeps its genres" not in shelf.beet("genrescope", "--quiet")


def test_pretend_shows_and_changes_nothing(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    shelf.bring(untagged(clip(FOLK), tmp_path))
    told = shelf.beet("genrescope", "--pretend")
    folk = shelf.item("Queen Of The Wires")
    assert "+ Folk" in told
    assert "nothing was changed" in told
    assert (folk.genres, tag(folk.filepath)) == ([], [])
    assert "genrescope_confidence" not in folk


def test_force_replaces_or_adds_and_modify_takes_it_back(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    shelf.bring(tagged(clip(METAL), tmp_path), clip(UNSURE))
    shelf.beet("genrescope", "--force", "--keep-existing", "title:Monsters")
    path = shelf.item("13 Monsters").filepath
    assert shelf.item("13 Monsters").genres == ["Polka", "Rock"]
    shelf.beet("genrescope", "--force", "--no-keep-existing")
    assert tag(path) == ["Rock"]
    assert shelf.item("Feasting on Energy").genres == ["Avant-Garde"]  # not sure
    shelf.beet("modify", "-y", "genrescope_wrote::.", "genres=$genrescope_before")
    assert tag(path) == shelf.item("13 Monsters").genres == ["Polka"]


def test_a_genre_that_says_nothing_counts_as_none(
    shelf: Shelf, clip: Callable[[str], Path]
) -> None:
    shelf.load(auto=False, keep_existing=True)
    shelf.bring(clip(METAL))
    assert shelf.item("13 Monsters").genres == ["Other - misc"]
    shelf.beet("genrescope")
    assert shelf.item("13 Monsters").genres == ["Rock"]
    assert shelf.item("13 Monsters").genrescope_before == ["Other - misc"]


def test_modify_takes_genres_back_where_there_was_none(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    shelf.bring(untagged(clip(FOLK), tmp_path))
    shelf.beet("genrescope")
    path = shelf.item("Queen Of The Wires").filepath
    assert tag(path) == ["Folk"]
    shelf.beet("modify", "-y", "genrescope_wrote::.", "genres=$genrescope_before")
    assert (tag(path), shelf.item("Queen Of The Wires").genres) == ([], [])


def test_the_library_alone_changes_where_beets_does_not_write(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    shelf.config["import"]["write"] = False
    shelf.bring(untagged(clip(FOLK), tmp_path))
    shelf.beet("genrescope")
    folk = shelf.item("Queen Of The Wires")
    assert (folk.genres, tag(folk.filepath)) == (["Folk"], [])


def test_a_genre_that_is_never_touched_or_too_little_confidence(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False, force=True, keep_genres=["POLKA"], min_confidence=0.9)
    shelf.bring(untagged(clip(FOLK), tmp_path), tagged(clip(METAL), tmp_path))
    shelf.beet("genrescope")
    assert shelf.item("Queen Of The Wires").genres == []  # 84 %
    assert shelf.item("13 Monsters").genres == ["Polka"]
    shelf.beet("genrescope", "-c", "0.8")
    assert shelf.item("Queen Of The Wires").genres == ["Folk"]


def test_names_of_beets_with_subgenres(shelf: Shelf, clip: Callable[[str], Path]) -> None:
    shelf.load(auto=False, force=True, canonical=True, whitelist=True, subgenres=True)
    shelf.bring(clip("000002.mp3"), clip("001082.mp3"))
    told = shelf.beet("genrescope")
    assert shelf.item("Food").genres == ["Hip Hop", "Rap"]
    assert shelf.item("Nam Nhi-tu").genres == ["World Music"]
    assert "the whitelist has no name for Balkan" in told


def test_own_names(shelf: Shelf, clip: Callable[[str], Path]) -> None:
    shelf.load(auto=False, force=True, names={"hip-hop": "Rap", "Folk": ["Folk", "Acoustic"]})
    shelf.bring(clip("000002.mp3"), clip(FOLK))
    shelf.beet("genrescope")
    assert shelf.item("Food").genres == ["Rap"]
    assert shelf.item("Queen Of The Wires").genres == ["Folk", "Acoustic"]


def test_an_album_has_the_genre_of_most_of_its_tracks(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load()
    names = ("000002.mp3", "000005.mp3", FOLK)
    shelf.bring(*(untagged(clip(name), tmp_path) for name in names), album=True)
    album = shelf.lib.albums().get()
    assert album.genres == ["Hip-Hop"]
    assert 0.6 < album.genrescope_album_confidence < 0.75
    assert shelf.item("Queen Of The Wires").genres == ["Folk"]  # its own


def test_tracks_can_have_the_genre_of_their_album(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    names = ("000002.mp3", "000005.mp3", FOLK)
    shelf.bring(*(untagged(clip(name), tmp_path) for name in names), album=True)
    told = shelf.beet("genrescope", "--source", "album", "--albums", "album:")
    assert told.count("+ Hip-Hop") == 4
    assert {tuple(item.genres) for item in shelf.lib.items()} == {("Hip-Hop",)}
    shelf.beet("modify", "-y", "-a", "-I", "genrescope_album_wrote::.", "genres=")
    assert shelf.lib.albums().get().genres == []


def test_an_album_stays_where_not_all_its_tracks_match(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    names = ("000002.mp3", "000005.mp3")
    shelf.bring(*(untagged(clip(name), tmp_path) for name in names), album=True)
    shelf.beet("genrescope", "title:Food")
    assert shelf.item("Food").genres == ["Hip-Hop"]
    assert shelf.lib.albums().get().genres == []


def test_tracks_of_an_artist_are_judged_together(shelf: Shelf, clip: Callable[[str], Path]) -> None:
    shelf.load(auto=False, force=True, together=False)
    shelf.bring(clip(METAL), clip("001040.mp3"))
    shelf.beet("genrescope")
    alone = shelf.item("Dracula Mountain").genrescope_confidence
    shelf.config["genrescope"]["together"] = True
    shelf.beet("genrescope")
    assert shelf.item("Dracula Mountain").genrescope_confidence > alone + 0.03


def test_a_file_that_cannot_be_heard_stops_nothing(
    shelf: Shelf, clip: Callable[[str], Path], sound: Callable[..., Path], tmp_path: Path
) -> None:
    shelf.load(auto=False)
    shelf.bring(untagged(clip(FOLK), tmp_path), untagged(clip(METAL), tmp_path), sound("n.wav"))
    shelf.item("13 Monsters").filepath.unlink()
    told = shelf.beet("genrescope")
    assert "13 Monsters.mp3" in told
    assert "1 given genres, 0 left with theirs, 1 not sure, 1 could not be heard" in told
    assert shelf.item("Queen Of The Wires").genres == ["Folk"]


def test_workers_stay_between_batches(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import beetsplug.genrescope as plugin
    from genrescope.audio import workers

    started: list[int] = []
    start = workers._Batch._start
    monkeypatch.setattr(plugin, "_BATCH", 1)
    monkeypatch.setattr(workers._Batch, "_start", lambda self: started.append(1) or start(self))
    shelf.load(auto=False, workers=1)
    shelf.bring(untagged(clip(FOLK), tmp_path), untagged(clip("000002.mp3"), tmp_path))
    shelf.beet("genrescope")
    assert [item.genres for item in shelf.lib.items("title+")] == [["Hip-Hop"], ["Folk"]]
    assert started == [1]


def test_what_was_heard_is_not_heard_again(
    shelf: Shelf, clip: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genrescope import Recogniser

    listened: list[str] = []
    predict = Recogniser.predict

    def spied(self: Recogniser, source: Any, **options: Any) -> Any:
        listened.append(Path(source).name)
        return predict(self, source, **options)

    monkeypatch.setattr(Recogniser, "predict", spied)
    shelf.load(auto=False)
    shelf.bring(untagged(clip(FOLK), tmp_path), clip(UNSURE))
    shelf.beet("genrescope", "--force", "--pretend")
    assert len(listened) == 2
    listened.clear()
    assert "+ Folk" in shelf.beet("genrescope", "--force")
    assert listened == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bundle": "/no/such/bundle"}, "/no/such/bundle"),
        ({"whitelist": "/no/such/list.txt"}, "whitelist: /no/such/list.txt: cannot be read"),
        ({"canonical": "/no/such/tree.yaml"}, "canonical: /no/such/tree.yaml: cannot be read"),
        ({"min_confidence": 7}, "min_confidence is 7, expected 0 to 1"),
        ({"workers": -2}, "workers is -2"),
    ],
)
def test_wrong_settings_are_told_in_the_way_of_beets(
    shelf: Shelf, options: dict[str, Any], said: str
) -> None:
    shelf.load(auto=False, **options)
    with pytest.raises(UserError, match="genrescope: ") as told:
        shelf.beet("genrescope")
    assert said in str(told.value)


def test_wrong_settings_stop_an_import_before_it_begins(
    shelf: Shelf, clip: Callable[[str], Path]
) -> None:
    shelf.load(bundle="/no/such/bundle")
    with pytest.raises(UserError, match="/no/such/bundle"):
        shelf.bring(clip(FOLK))
    assert len(shelf.lib.items()) == 0


def test_beet_itself_from_import_to_undo(fma_clips: list[Path], tmp_path: Path) -> None:
    """As a program of its own, with workers."""
    incoming, home = tmp_path / "incoming", tmp_path / "home"
    incoming.mkdir()
    home.mkdir()
    for path in fma_clips[:3]:
        untagged(path, incoming)
    (home / "config.yaml").write_text(
        f"directory: {tmp_path / 'music'}\nplugins: genrescope\ngenrescope:\n  workers: 2\n"
    )
    environment = {**os.environ, "BEETSDIR": str(home), "HOME": str(home), "NO_COLOR": "1"}

    def beet(*args: str) -> str:
        program = "import sys; from beets.ui import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, *args],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    beet("import", "-q", "-A", str(incoming))
    listed = beet("ls", "-f", "$title: $genres", "genrescope_confidence:0.6..").splitlines()
    assert sorted(listed) == ["Food: Hip-Hop", "Freeway: Pop", "This World: Hip-Hop"]
    beet("write")
    files = sorted((tmp_path / "music").rglob("*.mp3"))
    assert sorted(tag(path) for path in files) == [["Hip-Hop"], ["Hip-Hop"], ["Pop"]]
    beet("modify", "-y", "genrescope_wrote::.", "genres=$genrescope_before")
    assert [tag(path) for path in files] == [[], [], []]
