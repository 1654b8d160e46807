"""Gets genres for a beets library from the sound of its files.

The recogniser is genrescope's; see docs/beets.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confuse
from beets import ui
from beets.dbcore import types
from beets.library import Album, Item, Library
from beets.plugins import BeetsPlugin

from genrescope.apps.genre_policy import Policy, mentions, propose, says_nothing
from genrescope.errors import BundleError, GenrescopeError
from genrescope.learn.prediction import FailedPrediction, Prediction

from .albums import of_album
from .hearing import Ear, by_artist
from .names import Names, UserError, lastgenre_file, unique

if TYPE_CHECKING:
    from beets.importer import ImportSession, ImportTask

    from genrescope.learn.recogniser import Recogniser

__all__ = ["GenrescopePlugin"]

_BATCH = 64  # files heard before anything is stored, where an artist has not more


@dataclass
class _Tally:
    """What became of the tracks."""

    given: int = 0
    kept: int = 0
    unsure: int = 0
    failed: int = 0

    def __str__(self) -> str:
        parts = [
            f"{self.given} given genres",
            f"{self.kept} left with theirs",
            f"{self.unsure} not sure",
            f"{self.failed} could not be heard",
        ]
        return ", ".join(parts)


@dataclass
class _Group:
    """Tracks that are heard together: those of an artist, with their albums where whole."""

    items: list[Item] = field(default_factory=list)
    albums: list[tuple[Album, list[Item]]] = field(default_factory=list)


class GenrescopePlugin(BeetsPlugin):
    """The plugin; see docs/beets.md for its options."""

    item_types = {  # noqa: RUF012 (beets reads it from the class)
        "genrescope_confidence": types.Float(3),
        "genrescope_guess": types.STRING,
        "genrescope_sure": types.BOOLEAN,
        "genrescope_bundle": types.STRING,
        "genrescope_wrote": types.MULTI_VALUE_DSV,
        "genrescope_before": types.MULTI_VALUE_DSV,
    }
    album_types = {  # noqa: RUF012
        "genrescope_album_confidence": types.Float(3),
        "genrescope_album_wrote": types.MULTI_VALUE_DSV,
        "genrescope_album_before": types.MULTI_VALUE_DSV,
    }

    def __init__(self) -> None:
        super().__init__()
        self.config.add(
            {
                "auto": True,
                "force": False,
                "keep_existing": False,
                "keep_genres": [],
                "pretend": False,
                "quiet": False,
                "source": "track",
                "min_confidence": None,
                "subgenres": False,
                "together": True,
                "metadata": True,
                "whitelist": False,
                "canonical": False,
                "names": {},
                "title_case": True,
                "bundle": "default",
                "workers": None,
            }
        )
        self._ear: Ear | None = None
        if self.config["auto"].get(bool):
            self.import_stages = [self.imported]
            self.register_listener("import_begin", self._check)
        self.register_listener("cli_exit", self._close)

    # --- settings ----------------------------------------------------------

    @cached_property
    def names(self) -> Names:
        """What genres are called in this library."""
        return Names.read(
            whitelist=self._list("whitelist", "genres.txt"),
            tree=self._list("canonical", "genres-tree.yaml"),
            own=self._own_names(),
            title_case=self.config["title_case"].get(bool),
        )

    @cached_property
    def recogniser(self) -> Recogniser:
        """What hears."""
        from genrescope.learn.recogniser import Recogniser

        bundle = self.config["bundle"].as_str()
        try:
            return Recogniser.load(
                str(Path(bundle).expanduser()), metadata=self.config["metadata"].get(bool)
            )
        except GenrescopeError as error:
            raise UserError(f"genrescope: {error}") from error

    def _list(self, option: str, shipped: str) -> Path | None:
        value = self.config[option].get()
        if value is False:
            return None
        if value in (True, "", None):
            return lastgenre_file(shipped)
        return Path(self.config[option].as_filename())

    def _own_names(self) -> dict[str, list[str]]:
        given: dict[Any, Any] = self.config["names"].get(
            confuse.OneOf([confuse.MappingValues(confuse.StrSeq())])
        )
        return {str(name): list(theirs) for name, theirs in given.items()}

    def _workers(self) -> int | None:
        workers: int | None = self.config["workers"].get(confuse.Optional(int))
        if workers is not None and workers < 0:
            raise UserError(f"genrescope: workers is {workers}, expected 0 or more")
        return workers

    def _min_confidence(self) -> float | None:
        share: float | None = self.config["min_confidence"].get(confuse.Optional(confuse.Number()))
        if share is not None and not 0 <= share <= 1:
            raise UserError(f"genrescope: min_confidence is {share}, expected 0 to 1")
        return share

    def _by_track(self) -> bool:
        return bool(self.config["source"].as_choice(["track", "album"]) == "track")

    def _check(self, **_: Any) -> None:
        """Say what is wrong with the settings before anything is heard."""
        self._workers()
        self._min_confidence()
        self._by_track()
        self.config["keep_genres"].as_str_seq()
        _names, _recogniser = self.names, self.recogniser

    def _close(self, **_: Any) -> None:
        if self._ear is not None:
            self._ear.close()

    # --- the command and the import ----------------------------------------

    def commands(self) -> list[ui.Subcommand]:
        """``beet genrescope``."""
        command = ui.Subcommand("genrescope", help="recognise genres by their sound")
        add = command.parser.add_option
        add("-p", "--pretend", action="store_true", help="show actions but do nothing")
        add("-f", "--force", dest="force", action="store_true", help="modify existing genres")
        add("-F", "--no-force", dest="force", action="store_false", help="keep existing genres")
        add(
            "-k",
            "--keep-existing",
            dest="keep_existing",
            action="store_true",
            help="combine with existing genres when modifying",
        )
        add(
            "-K",
            "--no-keep-existing",
            dest="keep_existing",
            action="store_false",
            help="don't combine with existing genres when modifying",
        )
        add("-s", "--source", dest="source", type="string", help="genres by track or by album")
        add("-c", "--min-confidence", type="float", help="least probability of a genre, 0 to 1")
        add("-q", "--quiet", action="store_true", help="show only what changes and what fails")
        add("-A", "--items", action="store_false", dest="album", help="match items (default)")
        add("-a", "--albums", action="store_true", dest="album", help="match albums")
        command.parser.set_defaults(album=False)
        command.func = self._command
        return [command]

    def _command(self, lib: Library, opts: Any, args: list[str]) -> None:
        self.config.set_args(vars(opts))
        self._check()
        if opts.album:
            items = [item for album in lib.albums(args) for item in album.items()]
        else:
            items = list(lib.items(args))
        tally = _Tally()
        try:
            for group in self._groups(lib, items):
                self._process(group, tally, write=ui.should_write(), show=True)
        finally:
            self._close()
        pretended = " (pretended, nothing was changed)" if self._pretends() else ""
        self._log.info("{} tracks: {}{}", len(items), tally, pretended)

    def imported(self, _: ImportSession, task: ImportTask) -> None:
        """Recognise what an import brings; beets writes the files after it."""
        items = list(task.imported_items())
        albums = [(task.album, items)] if task.is_album else []
        self._process(_Group(items, albums), _Tally(), write=False, show=False)

    def _groups(self, lib: Library, items: Sequence[Item]) -> Iterator[_Group]:
        """Tracks by artist, and the albums of which every track was matched."""
        matched = {item.id for item in items}
        by_album: dict[int, list[Item]] = defaultdict(list)
        singles: dict[str, _Group] = defaultdict(_Group)
        for item in items:
            if item.album_id:
                by_album[item.album_id].append(item)
            else:
                singles[item.artist.casefold()].items.append(item)
        for album_id, tracks in by_album.items():
            album = lib.get_album(album_id)
            group = singles[(tracks[0].albumartist or tracks[0].artist).casefold()]
            group.items += tracks
            if album is not None and all(item.id in matched for item in album.items()):
                group.albums.append((album, tracks))
        group = _Group()
        for _, one in sorted(singles.items()):
            group.items += one.items
            group.albums += one.albums
            if len(group.items) >= _BATCH:
                yield group
                group = _Group()
        if group.items:
            yield group

    # --- one group ---------------------------------------------------------

    def _process(self, group: _Group, tally: _Tally, *, write: bool, show: bool) -> None:
        waiting = [(album, tracks) for album, tracks in group.albums if self._may_change(album)]
        wanted = {item.id for item in group.items if self._may_change(item)}
        of_albums = {item.id for _, tracks in waiting for item in tracks}
        heard = self._hear([one for one in group.items if one.id in wanted | of_albums], tally)
        chosen = heard
        pooled: dict[int | None, Prediction] = {
            album.id: answer
            for album, tracks in waiting
            if (answer := of_album([heard[one.id] for one in tracks if one.id in heard]))
        }
        if not self._by_track():
            chosen = {
                item.id: pooled[item.album_id] if item.album_id in pooled else heard[item.id]
                for item in group.items
                if item.id in heard
            }
        for item in group.items:
            if item.id not in wanted:
                tally.kept += 1
                self._tell(item, "keeps its genres")
            elif item.id in heard:
                self._settle(item, chosen[item.id], heard[item.id], tally, write=write, show=show)
        for album, _ in waiting:
            if album.id in pooled:
                self._settle_album(album, pooled[album.id], show=show)

    def _hear(self, items: Sequence[Item], tally: _Tally) -> dict[int | None, Prediction]:
        """Answers by the id of the item; failures are logged and left out."""
        if self._ear is None:
            self._ear = Ear(self.recogniser, workers=self._workers())
        answers = self._ear.hear([item.filepath for item in items])
        found: dict[int | None, Prediction] = {}
        artists = []
        for item, answer in zip(items, answers, strict=True):
            if isinstance(answer, FailedPrediction):
                tally.failed += 1
                self._log.warning("{}", answer.message)
            else:
                found[item.id] = answer
                artists.append(item.artist)
        judged = by_artist(list(found.values()), artists)
        if self.config["together"].get(bool):
            try:
                judged = self.recogniser.together(judged)
            except BundleError as error:
                self._log.debug("tracks are judged one by one: {}", error)
        return dict(zip(found, judged, strict=True))

    def _may_change(self, obj: Item | Album) -> bool:
        existing = [name for name in _genres_of(obj) if not says_nothing(name)]
        if mentions(existing, self.config["keep_genres"].as_str_seq()):
            return False
        return not existing or self.config["force"].get(bool)

    def _genres_for(self, answer: Prediction) -> list[str]:
        """The library's names for what was recognised; empty where it is not sure."""
        policy = Policy(
            existing="replace",
            min_confidence=self._min_confidence(),
            subgenres=self.config["subgenres"].get(bool),
        )
        proposal = propose(answer, (), policy)
        if not proposal.writes:
            return []
        names, dropped = self.names.of(proposal.proposed)
        for genre in dropped:
            self._log.info("the whitelist has no name for {}", genre)
        return names

    def _settle(
        self,
        item: Item,
        answer: Prediction,
        heard: Prediction,
        tally: _Tally,
        *,
        write: bool,
        show: bool,
    ) -> None:
        names = self._genres_for(answer)
        item["genrescope_confidence"] = round(heard.confidence, 4)
        item["genrescope_guess"] = heard.best
        item["genrescope_sure"] = heard.sure
        item["genrescope_bundle"] = self.recogniser.bundle.name
        changed = bool(names) and self._give(item, names, prefix="genrescope")
        if changed:
            tally.given += 1
        elif names:
            tally.kept += 1
        else:
            tally.unsure += 1
        if changed and show:
            ui.show_model_changes(item, fields=["genres"])
        else:
            self._tell(item, f"{answer}: {'; '.join(_genres_of(item)) or 'no genre'}")
        if self._pretends():
            item.load()
        elif changed:
            item.try_sync(write=write, move=False)
        else:
            item.store()

    def _settle_album(self, album: Album, answer: Prediction, *, show: bool) -> None:
        names = self._genres_for(answer)
        album["genrescope_album_confidence"] = round(answer.confidence, 4)
        changed = bool(names) and self._give(album, names, prefix="genrescope_album")
        if changed and show:
            ui.show_model_changes(album, fields=["genres"])
        else:
            self._tell(album, str(answer))
        if self._pretends():
            album.load()
        else:
            # Tracks have genres of their own.
            album.store(inherit=False)

    def _give(self, obj: Item | Album, names: Sequence[str], *, prefix: str) -> bool:
        """Set genres, and keep what was there before; whether that changes anything."""
        before, wrote, old = f"{prefix}_before", f"{prefix}_wrote", _genres_of(obj)
        combine = self.config["force"].get(bool) and self.config["keep_existing"].get(bool)
        kept = [name for name in old if not says_nothing(name)] if combine else []
        new = unique([*kept, *names])
        if new == old:
            return False
        # Genres that were set here are not what the user had before.
        if _own(obj, before) is None or old != _own(obj, wrote):
            obj[before] = old
        obj[wrote] = new
        obj.genres = new
        return True

    def _tell(self, obj: Item | Album, text: str) -> None:
        if not self.config["quiet"].get(bool):
            self._log.info("{}: {}", obj, text)

    def _pretends(self) -> bool:
        return bool(self.config["pretend"].get(bool))


def _own(obj: Item | Album, key: str) -> Any:
    """The value of the object itself; an item would answer with that of its album."""
    return obj.get(key, with_album=False) if isinstance(obj, Item) else obj.get(key)


def _genres_of(obj: Item | Album) -> list[str]:
    return [name for name in _own(obj, "genres") or () if name.strip()]
