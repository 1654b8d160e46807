"""``genrescope watch``: recognise, and tag, what arrives in a folder."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli import tag_options as tagging
from genrescope.apps.cli.interrupts import Interrupts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genrescope.apps.genre_policy import Policy, Proposal
    from genrescope.apps.heard import Heard
    from genrescope.apps.tagger import Tagger
    from genrescope.apps.watching import Watcher
    from genrescope.learn.prediction import FailedPrediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["watch"]

_POLL = 1.0  # s between two looks, at most as often
_SHARE = 20  # a look takes at most one part in so many of the time
_BATCH = 200  # files that are heard before any is written


def watch(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", show_default=False, help="Where files arrive, at any depth."
        ),
    ],
    write: options.Write = False,
    settle: Annotated[
        float,
        options.number(
            "--settle",
            "How long a file has to stay as it is before it is taken.",
            min=0.1,
            metavar="SECONDS",
        ),
    ] = 5.0,
    existing: tagging.Existing = tagging.ExistingGenres.keep,
    min_confidence: options.MinConfidence = None,
    subgenres: tagging.Subgenres = False,
    names: tagging.Names = None,
    never: tagging.Never = None,
    keep_times: tagging.KeepTimes = False,
    id3: tagging.Id3 = tagging.Id3Version.keep,
    split_links: options.SplitLinks = False,
    workers: options.Workers = None,
    windows: options.Windows = None,
    bundle: options.Bundle = "default",
    metadata: options.Metadata = True,
    together: options.Alone = None,
    jsonl: options.JsonLines = False,
) -> None:
    """Recognise what arrives in a folder; with --write, tag it.

    Files that are there already are left to `genrescope tag`. Tracks of an artist that arrive
    together are judged together. Every batch that is written is a run of its own for
    `genrescope undo`. It runs until Ctrl-C.

    Exit codes: 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope watch ~/Downloads
      genrescope watch ~/Music/Incoming --write --min-confidence 0.8
    """
    from genrescope.apps.heard import Heard
    from genrescope.apps.tagging import can_judge_together
    from genrescope.learn.recogniser import Recogniser

    recogniser = Recogniser.load(bundle, n_windows=windows, workers=workers, metadata=metadata)
    policy = tagging.make_policy(
        recogniser,
        existing=existing,
        min_confidence=min_confidence,
        subgenres=subgenres,
        names=names,
        never=never,
    )
    if together:
        recogniser.together([])  # says now that the bundle cannot
    told: dict[str, Any] | None = None
    if write:
        told = {
            "command": tagging.command_line(context),
            "bundle": recogniser.bundle.name,
            "keep_times": keep_times,
            "split_links": split_links,
            "id3_version": tagging.id3_version(id3),
        }
    from genrescope.apps.watching import Watcher

    with Interrupts() as interrupts, ExitStack() as stack:
        journal = None
        if write:
            from genrescope.apps.journal import Journal

            journal = stack.enter_context(Journal.open())
        work = _Work(
            Watcher(folder, settle=settle, on_trouble=_tell_trouble),
            recogniser,
            stack.enter_context(Heard.open()),
            policy,
            interrupts,
            journal=journal,
            tagging=told,
            together=can_judge_together(recogniser) if together is None else together,
            jsonl=jsonl,
        )
        try:
            work.run()
        except KeyboardInterrupt:
            work.say_end()
            code = interrupts.exit_code
    raise typer.Exit(code)


def _tell_trouble(folder: Path, why: str) -> None:
    from genrescope.apps.cli.text import printable

    what = f"cannot be read ({why}); it is tried again" if why else "can be read again"
    typer.echo(f"{printable(folder)}: {what}", err=True)


@dataclass
class _Work:
    """One call of the command."""

    watcher: Watcher
    recogniser: Recogniser
    heard: Heard
    policy: Policy
    interrupts: Interrupts
    journal: Any
    tagging: dict[str, Any] | None
    together: bool
    jsonl: bool
    count: int = 0
    written: int = 0
    failed: int = 0

    def run(self) -> None:
        """Look and take, until Ctrl-C."""
        from genrescope.apps.cli.text import printable

        typer.echo(f"watching {printable(self.watcher.root)}; Ctrl-C ends it", err=True)
        while True:
            started = time.monotonic()
            ready = self.watcher.scan(started)
            took = time.monotonic() - started
            for first in range(0, len(ready), _BATCH):
                self._take(ready[first : first + _BATCH])
            if not ready:
                pause = min(_POLL, self.watcher.settle / 2)
                time.sleep(max(pause, _SHARE * took))

    def _take(self, paths: Sequence[Path]) -> None:
        from genrescope.apps.tagging import Seen, hear, look, proposals, to_hear
        from genrescope.learn.prediction import Prediction

        seen = []
        for path in paths:
            if self._taken_back(path):
                continue
            found = look(path)
            if isinstance(found, Seen):
                seen.append(found)
            elif path.exists():  # else it has gone again, which is nobody's fault
                self._failure(found)
        alone = []
        wanted = to_hear(seen, self.policy, together=self.together)
        with closing(hear(self.heard, self.recogniser, wanted)) as results:
            for result in results:
                if isinstance(result, Prediction):
                    alone.append(result)
                elif result.path.exists():
                    self._failure(result)
        judged = self.recogniser.together(alone) if self.together else alone
        answers = {one.path: one for one in judged if one.path is not None}
        tagger = self._tagger()
        for proposal in proposals(seen, answers, self.policy):
            with self.interrupts.held():
                self._carry_out(proposal, tagger)
        self.heard.store()

    def _taken_back(self, path: Path) -> bool:
        """Whether the change that was seen is that somebody took our genres back."""
        if self.journal is None:
            return False
        last = next((one for one in self.journal.entries(path=path) if one.in_force), None)
        if last is None or last.plan.undoes is None:
            return False
        with suppress(OSError):
            status = path.stat()
            identity = (status.st_ino, status.st_size, status.st_mtime_ns)
            as_left = last.identity
            return identity == (as_left.inode, as_left.size, as_left.mtime_ns)
        return False

    def _tagger(self) -> Tagger | None:
        if self.journal is None or self.tagging is None:
            return None
        from genrescope.apps.tagger import Tagger

        return Tagger(self.journal, **self.tagging)

    def _carry_out(self, proposal: Proposal, tagger: Tagger | None) -> None:
        from genrescope.apps.tagging import write

        writes = tagger is not None and proposal.writes
        if tagger is not None and writes:
            refused = write(tagger, proposal, self.heard)
            if refused is not None:
                self._failure(refused)
                return
            if proposal.path is not None:
                self.watcher.done(proposal.path)
            self.written += 1
        self.count += 1
        if self.jsonl:
            self._print_json({**proposal.to_dict(), "written": writes})
            return
        from genrescope.apps.cli.tag_table import outcome
        from genrescope.apps.cli.text import percent, printable

        share = "" if proposal.confidence is None else f" {percent(proposal.confidence)}"
        now = (
            f"{printable('; '.join(proposal.now))} -> " if proposal.now and proposal.writes else ""
        )
        done = "  written" if writes else ""
        self._print(f"{self._name(proposal.path)}: {now}{outcome(proposal)}{share}{done}")

    def _failure(self, failure: FailedPrediction) -> None:
        from genrescope.apps.cli.text import printable

        self.failed += 1
        if self.jsonl:
            self._print_json(failure.to_dict())
        else:
            message = failure.message.removeprefix(f"{failure.path}: ")
            self._print(f"{self._name(failure.path)}: {printable(message)}")

    def _name(self, path: Path | None) -> str:
        from genrescope.apps.cli.text import printable

        if path is not None and path.is_relative_to(self.watcher.root):
            path = path.relative_to(self.watcher.root)
        return printable(path)

    def _print_json(self, entry: dict[str, Any]) -> None:
        from genrescope.apps.cli.text import dump

        out = sys.stdout
        out.write(dump(entry, encoding=out.encoding) + "\n")
        out.flush()

    def _print(self, line: str) -> None:

        out = sys.stdout
        out.write(f"{time.strftime('%H:%M:%S')}  {line}\n")
        out.flush()

    def say_end(self) -> None:
        """What there was."""
        files = "file" if self.count == 1 else "files"
        parts = [f"{self.count} {files} recognised or left as they are"]
        if self.tagging is not None:
            parts.append(f"{self.written} written")
        if self.failed:
            parts.append(f"{self.failed} failed")
        typer.echo(f"stopped: {', '.join(parts)}", err=True)
