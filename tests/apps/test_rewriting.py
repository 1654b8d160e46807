"""The steps of writing one file: a copy that is checked, a row that says what happens."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mutagen.id3 import ID3, TIT2

from genrescope.apps.journal import Journal, digest_of
from genrescope.apps.rewriting import carry_out, listed
from genrescope.apps.safe_write import FileIdentity, Replacement
from genrescope.catalog.genre_tags import Scan, read_genre_field
from genrescope.errors import TagError


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "state" / "journal.sqlite3") as opened:
        yield opened


def rewrite(
    journal: Journal, path: Path, *, new: tuple[str, ...] = ("Folk",), fill: Any = None,
    keep_times: bool = False, how: dict[str, Any] | None = None, **options: Any,
) -> None:  # fmt: skip
    run = journal.begin(command="a test", bundle="")
    with Replacement(path, keep_times=keep_times) as work:
        scan = Scan(work.source, str(path))

        def plain(part: Any) -> None:
            scan.rewrite(part, values=new, **how or {})

        carry_out(work, scan, run, fill=fill or plain, new=new, **options)


def test_the_row_says_all_that_is_needed_to_go_back(song: Path, journal: Journal) -> None:
    before, digest = FileIdentity.of(song.stat()), digest_of(song)
    rewrite(journal, song, new=("Folk", "Blues"), keep_times=True)
    (entry,) = journal.entries()
    plan = entry.plan
    with song.open("rb") as file:
        scan = Scan(file, str(song))
        assert plan.sound == scan.audio_digest()
        assert plan.container == scan.field.container
    assert (plan.old, plan.new) == (("Rock;Pop",), ("Folk", "Blues"))
    assert (plan.before, plan.after) == (before, FileIdentity.of(song.stat()))
    assert (plan.digest_before, plan.digest_after) == (digest, digest_of(song))
    assert plan.digest_before == hashlib.blake2b(
        _restored(song, plan.kept), digest_size=16
    ).hexdigest()  # fmt: skip
    assert (plan.kept_times, plan.undoes, entry.state) == (True, None, "written")
    assert before.mtime_ns == plan.after.mtime_ns
    rewrite(journal, song, undoes=entry.id)
    last = next(journal.entries())
    assert (last.plan.undoes, last.plan.kept_times) == (entry.id, False)


def _restored(song: Path, kept: Any) -> bytes:
    import io

    part = io.BytesIO()
    with song.open("rb") as file:
        Scan(file, str(song)).rewrite(part, values=("Rock;Pop",), kept=dict(kept))
    return part.getvalue()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("the drive is gone"), "the drive is gone"),
    ],
)
def test_a_copy_that_cannot_be_written_is_said(
    song: Path, journal: Journal, error: OSError, why: str
) -> None:
    original = song.read_bytes()

    def fill(part: Any) -> None:
        part.write(b"half")
        raise error

    with pytest.raises(TagError) as caught:
        rewrite(journal, song, fill=fill)
    assert str(caught.value) == (
        f"{song}: the copy beside it cannot be written ({why}); it is as it was. Free some space "
        "on that disk"
    )
    assert caught.value.__cause__ is error
    assert (song.read_bytes(), os.listdir(song.parent)) == (original, [song.name])
    assert list(journal.entries()) == []


def test_a_copy_that_is_no_music_names_the_file(song: Path, journal: Journal) -> None:
    with pytest.raises(TagError, match=rf"^{song}: ") as caught:
        rewrite(journal, song, fill=lambda part: part.write(b"no music at all"))
    assert "None" not in str(caught.value)
    assert read_genre_field(song).values == ("Rock;Pop",)


def test_a_copy_with_other_genres_is_thrown_away(song: Path, journal: Journal) -> None:
    with Replacement(song) as work:
        scan = Scan(work.source, str(song))
        run = journal.begin(command="a test", bundle="")
        with pytest.raises(TagError) as caught:
            carry_out(
                work, scan, run, fill=lambda part: scan.rewrite(part, values=()), new=("Folk", "B")
            )
    assert str(caught.value) == (
        f"{song}: {scan.field.container} would hold none instead of Folk, B; nothing was changed. "
        "Name the genre in another way"
    )
    assert list(journal.entries()) == []


@pytest.mark.parametrize("what", ["sound", "tags", "eyes"])
def test_a_copy_that_differs_elsewhere_is_thrown_away(
    what: str, song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, says = {
        "sound": ("audio_digest", "the copy does not hold the same sound; nothing was changed"),
        "tags": ("others_digest", "the copy does not hold the same other tags; nothing was change"),
        "eyes": ("as_read", "the copy's other tags read otherwise; nothing was changed"),
    }[what]
    answers = iter("abcdefgh")
    monkeypatch.setattr(Scan, name, lambda self, **_: next(answers))
    with pytest.raises(TagError, match=rf"^{song}: {says}"):
        rewrite(journal, song)
    assert read_genre_field(song).values == ("Rock;Pop",)
    assert os.listdir(song.parent) == [song.name]


def test_tags_that_are_turned_into_another_version_are_compared_as_they_read(
    song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ID3(song).delete(song)
    tags = ID3()
    tags["TIT2"] = TIT2(encoding=3, text="A title")  # which either version can hold
    tags.save(song)
    rewrite(journal, song, how={"id3_version": 3})
    assert ID3(song, translate=False).version[1] == 3
    assert ID3(song)["TIT2"].text == ["A title"]  # no longer in UTF-8
    assert read_genre_field(song).values == ("Folk",)
    answers = iter("abcdefgh")
    monkeypatch.setattr(Scan, "as_read", lambda self, **_: next(answers))
    with pytest.raises(TagError, match="read otherwise"):
        rewrite(journal, song, new=("Jazz",), how={"id3_version": 4})


def test_tags_that_mutagen_does_not_know_are_not_compared_by_it(
    song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scan, "as_read", lambda self, like=None: "x" if like else None)
    rewrite(journal, song)
    assert read_genre_field(song).values == ("Folk",)


def test_the_row_stands_before_the_copy_and_the_plan_before_the_rename(
    song: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []
    real = os.replace

    def states() -> list[str]:
        rows = journal._execute("SELECT state FROM entries").fetchall()
        return [state for (state,) in rows]

    def replaced(old: Path, new: Path) -> None:
        seen.append(("rename", states()))
        real(old, new)

    def fill(part: Any) -> None:
        seen.append(("copy", states()))
        with song.open("rb") as file:
            Scan(file, str(song)).rewrite(part, values=("Folk",))

    monkeypatch.setattr(os, "replace", replaced)
    rewrite(journal, song, fill=fill)
    assert seen == [("copy", ["begun"]), ("rename", ["planned"])]
    assert states() == ["written"]


def test_genres_as_a_person_is_told_of_them() -> None:
    assert (listed(()), listed(["A"]), listed(("A", "B"))) == ("none", "A", "A, B")
