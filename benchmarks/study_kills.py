"""Kill processes that write tags, at random moments, and look at every file and journal row.

``python -m benchmarks.study_kills --kills 500 --markdown docs/reliability.md``

Small files in six containers stand in one folder. A process writes genres into them in random
order, or takes runs back, and is ended by SIGKILL after a random time; every fifth time two
processes do so side by side. Then the journal is opened, as the next command would do it, and

- every file that changed is read: its sound and its other tags have to be those of the original,
  its genres one of the sets that are written;
- every row is compared with its file: the last one written says the genres that are there and the
  digest of all bytes, each row begins with what the one before ended with, none is left open;
- no temporary file may be left in the folder.

At the end every run is taken back, and each file has to be its original, byte by byte.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import mutagen
import numpy as np
import soundfile

from benchmarks.reliability_page import write_section
from genrescope.apps.journal import Entry, Journal, digest_of
from genrescope.apps.tagger import Tagger
from genrescope.apps.undoing import undo, undo_all
from genrescope.catalog.genre_tags import Scan
from genrescope.errors import GenrescopeError

SETS = (("Rock",), ("Rock", "Punk"), ("Folk", "Älter", "日本"), ("x" * 400,), ())
KINDS = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
}
LONGEST = 0.25  # s until a kill


@dataclass
class Outcome:
    """What was seen.

    Attributes
    ----------
    kills : int
        Processes that were ended.
    written : int
        Rows of files that were written (or put back).
    open_rows : Counter
        Rows that a kill left open, by state: the kills that came in the middle of a file.
    damaged, wrong : list of str
        Files that are neither old nor new, and rows that are not true, in words.
    leftovers : list of str
        Temporary files that the journal did not find again.
    restored : int
        Files that were their originals, byte by byte, once everything was taken back.
    """

    kills: int = 0
    written: int = 0
    open_rows: collections.Counter[str] = field(default_factory=collections.Counter)
    damaged: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    restored: int = 0


def make_files(folder: Path, n: int) -> list[Path]:
    """Small files with a title and an old genre in every second, in all kinds in turn."""
    t = np.arange(4800) / 48_000
    paths = []
    for i in range(n):
        kind, (form, subtype) = list(KINDS.items())[i % len(KINDS)]
        path = folder / f"{i:04d}.{kind}"
        y = 0.3 * np.sin(2 * np.pi * (200 + i) * t)
        soundfile.write(path, y.astype(np.float32), 48_000, format=form, subtype=subtype)
        opened = mutagen.File(path)
        if opened.tags is None:
            opened.add_tags()
        if kind in ("mp3", "wav", "aiff"):
            from mutagen.id3 import TCON, TIT2

            opened.tags.add(TIT2(encoding=3, text=f"Title {i}"))
            if i % 2:
                opened.tags.add(TCON(encoding=0, text="Rock;Pop"))
        else:
            opened["title"] = f"Title {i}"
            if i % 2:
                opened["GENRE"] = ["Rock;Pop"]
        opened.save()
        paths.append(path)
    return paths


def run_kills(folder: Path, *, kills: int, files: int, seed: int = 0) -> Outcome:
    """Kill that many processes that write into a folder, and look at everything.

    Parameters
    ----------
    folder : Path
        Empty.
    kills : int
        Processes to end.
    files : int
        Files to write into.
    seed : int
        Of files, genres and moments.
    """
    music = folder / "music"
    music.mkdir()
    paths = make_files(music, files)
    originals = {path: digest_of(path) for path in paths}
    facts = {path: _facts(path) for path in paths}
    seen = {path: os.stat(path) for path in paths}
    journal_path = folder / "journal.sqlite3"
    rng = random.Random(seed)
    outcome = Outcome()
    while outcome.kills < kills:
        group = 2 if outcome.kills % 5 == 4 and outcome.kills + 2 <= kills else 1
        children = [_fork(journal_path, paths, rng.randrange(2**32)) for _ in range(group)]
        for child in children:
            time.sleep(rng.uniform(0.0, LONGEST))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                outcome.wrong.append(f"a writer ended by itself with status {status}")
            outcome.kills += 1
        _note_open_rows(journal_path, outcome)
        with Journal.open(journal_path) as journal:
            changed = [path for path in paths if _moved(os.stat(path), seen[path])]
            for path in changed:
                seen[path] = os.stat(path)
                _look(journal, path, facts[path], originals[path], outcome)
        _note_open_rows(journal_path, outcome, after=True)
        outcome.leftovers += [p.name for p in music.iterdir() if p not in originals]
    with Journal.open(journal_path) as journal:
        for path in paths:
            _look(journal, path, facts[path], originals[path], outcome)
        outcome.written = sum(e.state == "written" for e in journal.entries())
        outcome.wrong += [
            undone.message
            for undone in undo_all(journal, folder)
            if undone.state not in ("restored", "as before")
        ]
        outcome.restored = sum(digest_of(path) == originals[path] for path in paths)
    return outcome


def _fork(journal_path: Path, paths: list[Path], seed: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        rng = random.Random(seed)
        with Journal.open(journal_path) as journal:
            while True:
                if rng.random() < 0.2:
                    with_last = undo(journal, last=True)
                    for _ in range(rng.randrange(1, 12)):
                        next(with_last, None)
                    continue
                tagger = Tagger(journal, command="study", bundle="none")
                for path in rng.sample(paths, rng.randrange(1, len(paths))):
                    tagger.write(path, rng.choice(SETS))
    except GenrescopeError as error:
        if "nothing to take back" in str(error):
            while True:
                signal.pause()
        print(error, file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def _facts(path: Path) -> tuple[str, str]:
    """Digest of the sound, and of all tags but the genres as mutagen reads them."""
    with path.open("rb") as file:
        sound = Scan(file, path.name).audio_digest()
    opened = mutagen.File(path)
    tags = {} if opened.tags is None else dict(opened.tags.items())
    rest = sorted((k, repr(v)) for k, v in tags.items() if k.lower() not in ("tcon", "genre"))
    return sound, hashlib.sha256(repr(rest).encode()).hexdigest()


def _moved(now: os.stat_result, before: os.stat_result) -> bool:
    return (now.st_ino, now.st_mtime_ns, now.st_size) != (
        before.st_ino, before.st_mtime_ns, before.st_size,
    )  # fmt: skip


def _look(
    journal: Journal, path: Path, facts: tuple[str, str], original: str, outcome: Outcome
) -> None:
    """Compare one file with its original, and its rows with it."""
    try:
        with path.open("rb") as file:
            values = Scan(file, path.name).field.values
        if _facts(path) != facts:
            outcome.damaged.append(f"{path.name}: other sound or other tags")
        if values not in (*SETS, ("Rock;Pop",)):
            outcome.damaged.append(f"{path.name}: genres {values}")
    except (OSError, GenrescopeError, mutagen.MutagenError) as error:
        outcome.damaged.append(f"{path.name}: {error}")
        return
    rows: list[Entry] = [e for e in journal.entries(path=path) if e.state != "left"]
    if any(row.state != "written" for row in rows):
        outcome.wrong.append(f"{path.name}: rows {[row.state for row in rows]}")
    digest = digest_of(path)
    if digest != (rows[0].plan.digest_after if rows else original):
        outcome.wrong.append(f"{path.name}: is not what the last row says")
    if rows and rows[0].new != values:
        outcome.wrong.append(f"{path.name}: {values}, and the last row says {rows[0].new}")
    for later, earlier in itertools.pairwise(rows):
        if later.plan.digest_before != earlier.plan.digest_after:
            outcome.wrong.append(f"{path.name}: a change between two rows is in no row")
    if rows and rows[-1].plan.digest_before != original:
        outcome.wrong.append(f"{path.name}: the first row does not begin with the original")


def _note_open_rows(journal_path: Path, outcome: Outcome, *, after: bool = False) -> None:
    if not journal_path.exists():
        return
    db = sqlite3.connect(journal_path)
    try:
        rows = db.execute(
            "SELECT state, count(*) FROM entries WHERE state IN ('begun', 'planned') GROUP BY state"
        ).fetchall()
    except sqlite3.OperationalError:  # killed before there was a table
        rows = []
    finally:
        db.close()
    for state, count in rows:
        if after:
            outcome.wrong.append(f"{count} rows are {state} after the journal was opened")
        else:
            outcome.open_rows[state] += count


def main() -> None:
    """Run the study, print what was seen, and write the section of the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, help="page to put the section on")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="genrescope-kills-") as folder:
        outcome = run_kills(Path(folder), kills=given.kills, files=given.files, seed=given.seed)
    seconds = time.monotonic() - started
    for line in (*outcome.damaged, *outcome.wrong, *outcome.leftovers):
        print(line)
    body = _section(outcome, given.files, given.kills)
    print(body)
    print(f"\n{seconds:.0f} s")
    if given.markdown:
        write_section(given.markdown, "kills", body)
    if outcome.damaged or outcome.wrong or outcome.leftovers or outcome.restored < given.files:
        sys.exit(1)


def _section(outcome: Outcome, files: int, kills: int) -> str:
    inside = sum(outcome.open_rows.values())
    return f"""`python -m benchmarks.study_kills --kills {kills} --markdown docs/reliability.md`

Processes wrote genres into {files} small files (mp3, flac, ogg, opus, wav, aiff), or took them
back, and were ended by SIGKILL at random moments; every fifth time two wrote side by side. After
each, the journal was opened as the next command would do it, and all that had changed was compared.

| | |
|---|---:|
| processes killed | {outcome.kills} |
| files written before the kills, in all | {outcome.written} |
| kills in the middle of a file | {inside} |
| ... before the new file was complete | {outcome.open_rows["begun"]} |
| ... between the journal's note and the note that it is done | {outcome.open_rows["planned"]} |
| damaged files (other sound, other tags, or neither old nor new genres) | {len(outcome.damaged)} |
| wrong journal rows | {len(outcome.wrong)} |
| temporary files left behind | {len(outcome.leftovers)} |
| originals again, byte by byte, once all runs were taken back | {outcome.restored} |
"""


if __name__ == "__main__":
    main()
