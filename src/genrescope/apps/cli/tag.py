"""``genrescope tag``: genres into the tags of files, where their owner wants them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import options
from genrescope.apps.cli import tag_options as tagging
from genrescope.apps.cli.batch import Batch
from genrescope.apps.cli.interrupts import Interrupts

if TYPE_CHECKING:
    from genrescope.apps.cli.progress import Progress
    from genrescope.apps.cli.tag_table import ProposalSink
    from genrescope.apps.genre_policy import Policy, Proposal
    from genrescope.apps.heard import Heard
    from genrescope.apps.tagger import Tagger
    from genrescope.apps.tagging import Seen
    from genrescope.learn.prediction import FailedPrediction, Prediction
    from genrescope.learn.recogniser import Recogniser

__all__ = ["tag"]

_SHORT = 4  # paths that are repeated in the line that writes
_TOP = 5  # genres that the summary names


def tag(
    context: typer.Context,
    paths: options.Paths = None,
    null: options.Null = False,
    write: options.Write = False,
    names_template: Annotated[
        bool,
        typer.Option("--names-template", help="Print a file for --names to start from, and stop."),
    ] = False,
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
    json: options.Json = False,
    jsonl: options.JsonLines = False,
    csv: options.Csv = False,
    changes: Annotated[
        bool,
        typer.Option(
            "--changes", help="Show only files that change.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
) -> None:
    """Show which genres would be written into the tags of files; with --write, write them.

    Only genre fields change, and `genrescope undo` takes it back. What was heard is remembered:
    to look first and write then hears nothing twice. "Not sure" writes nothing.

    Exit codes: 0 all went well, 1 some files could not be read or written, 2 wrong usage or
    nothing to do, 130 stopped by Ctrl-C (what was written until then is written).

    Examples:

      genrescope tag ~/Music
      genrescope tag ~/Music --write
      genrescope tag ~/Music --existing replace --never Audiobook
      genrescope tag --names-template > names.toml
      genrescope tag ~/Music --names names.toml --subgenres --csv > proposals.csv
    """
    if names_template:
        _print_template(bundle)
        return
    given = options.check_paths(paths, null=null)
    form = options.form_of(json=json, jsonl=jsonl, csv=csv)
    if not given:
        raise typer.BadParameter("PATH: is missing; give files or folders")

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
    if together is None:
        together = can_judge_together(recogniser)
    elif together:
        recogniser.together([])  # says now, rather than at the end, that the bundle cannot
    line = tagging.command_line(context, "--write") if len(given) <= _SHORT else ""
    with Interrupts() as interrupts, ExitStack() as stack:
        heard = stack.enter_context(Heard.open())
        tagger = None
        if write:
            from genrescope.apps.journal import Journal
            from genrescope.apps.tagger import Tagger

            tagger = Tagger(
                stack.enter_context(Journal.open()),
                command=tagging.command_line(context),
                bundle=recogniser.bundle.name,
                keep_times=keep_times,
                split_links=split_links,
                id3_version=tagging.id3_version(id3),
            )
        work = _Work(
            Batch(given, null=null),
            recogniser,
            heard,
            policy,
            interrupts,
            tagger=tagger,
            together=together,
            form=form,
            changes=changes,
            line=line,
        )
        code = work.run()
    raise typer.Exit(code)


def _print_template(bundle: str) -> None:
    from genrescope.apps.genre_names import names_template
    from genrescope.learn.recogniser import Recogniser

    typer.echo(names_template(*tagging.all_genres(Recogniser.load(bundle))), nl=False)


@dataclass
class _Work:
    """One call of the command."""

    batch: Batch
    recogniser: Recogniser
    heard: Heard
    policy: Policy
    interrupts: Interrupts
    tagger: Tagger | None
    together: bool
    form: str
    changes: bool
    line: str  # that writes; empty where it is too long to show
    seen: list[Seen] = field(default_factory=list)
    unheard: list[FailedPrediction] = field(default_factory=list)
    untagged: list[FailedPrediction] = field(default_factory=list)
    actions: Counter[str] = field(default_factory=Counter)
    genres: Counter[str] = field(default_factory=Counter)
    written: int = 0

    def run(self) -> int:
        from genrescope.apps.cli import tag_table
        from genrescope.apps.cli.progress import Progress

        out = sys.stdout
        sink: ProposalSink | None = None
        tell = Progress("", unit="", wanted=False).tell
        try:
            self._look()
            if not self.seen and not self.untagged and not self.batch.unread:
                tell(f"genrescope: {self.batch.nothing_found()}")
                return 2
            progress = self._progress("Hearing", len(self._wanted()))
            live = progress.console if progress.shown and out.isatty() else None
            sink = tag_table.make_sink(self.form, out, base=self._base(), live=live)
            for failure in [*self.batch.unread, *self.untagged]:
                sink.failure(failure)
            if self.together:
                answers = self._hear_all(progress)
                self._carry_out(self._judged(answers), sink)
            else:
                with progress:
                    self._carry_out(self._one_by_one(progress), sink)
        except KeyboardInterrupt:
            pass
        finally:
            if sink is not None:
                sink.close(run=self.tagger.run if self.tagger and self.written else None)
                out.flush()
            elif self.form == "json":
                typer.echo('{"proposals": [], "errors": [], "run": null}')
        return self._close(tell)

    # --- the steps ---------------------------------------------------------

    def _look(self) -> None:
        """Read the genres that the files have."""
        from genrescope.apps.tagging import Seen, look

        progress = self._progress("Reading tags", None)
        if progress.shown:
            self.batch.look_ahead()
            progress.total = self.batch.total
        with progress:
            for path in self.batch:
                if path is None:
                    continue
                found = look(path)
                if isinstance(found, Seen):
                    self.seen.append(found)
                else:
                    self.untagged.append(self.batch.explain(found))  # type: ignore[arg-type]
                progress.advance()

    def _wanted(self) -> list[Path]:
        from genrescope.apps.tagging import to_hear

        return to_hear(self.seen, self.policy, together=self.together)

    def _hear_all(self, progress: Progress) -> dict[Path, Prediction]:
        from genrescope.apps.tagging import hear
        from genrescope.learn.prediction import Prediction

        alone: list[Prediction] = []
        with progress, closing(hear(self.heard, self.recogniser, self._wanted())) as results:
            for result in results:
                if isinstance(result, Prediction):
                    alone.append(result)
                else:
                    self.unheard.append(result)
                progress.advance()
        judged = self.recogniser.together(alone)
        return {one.path: one for one in judged if one.path is not None}

    def _judged(self, answers: dict[Path, Prediction]) -> Iterator[Proposal]:
        from genrescope.apps.tagging import proposals

        yield from proposals(self.seen, answers, self.policy)

    def _one_by_one(self, progress: Progress) -> Iterator[Proposal]:
        """Each proposal as soon as its file is heard."""
        from genrescope.apps.tagging import hear, proposals
        from genrescope.learn.prediction import Prediction

        wanted = self._wanted()
        asked = set(wanted)
        with closing(hear(self.heard, self.recogniser, wanted)) as results:
            for one in self.seen:
                answers: dict[Path, Prediction] = {}
                if one.path in asked:
                    result = next(results)
                    progress.advance()
                    if isinstance(result, Prediction):
                        answers[one.path] = result
                    else:
                        self.unheard.append(result)
                yield from proposals([one], answers, self.policy)

    def _carry_out(self, found: Iterator[Proposal], sink: ProposalSink) -> None:
        from genrescope.apps.tagging import write

        reported = 0
        for proposal in found:
            with self.interrupts.held():  # a file is written whole, and told of
                for unheard in self.unheard[reported:]:
                    sink.failure(unheard)
                reported = len(self.unheard)
                refused = None
                if self.tagger is not None and proposal.writes:
                    refused = write(self.tagger, proposal, self.heard)
                if refused is not None:
                    self.untagged.append(refused)
                    sink.failure(refused)
                    continue
                self._count(proposal)
                if proposal.writes or not self.changes:
                    sink.proposal(proposal, written=self.tagger is not None and proposal.writes)
        for unheard in self.unheard[reported:]:
            sink.failure(unheard)

    def _count(self, proposal: Proposal) -> None:
        self.actions[proposal.action] += 1
        if proposal.writes:
            self.genres.update(name for name in proposal.proposed if name not in proposal.now)
            self.written += self.tagger is not None

    # --- the end -----------------------------------------------------------

    def _close(self, tell: Any) -> int:
        from genrescope.apps.cli.sinks import list_failures

        failures = [*self.batch.unread, *self.unheard, *self.untagged]
        total = sum(self.actions.values()) + len(failures)
        if self.form == "table":
            unheard = [*self.batch.unread, *self.unheard]
            list_failures(unheard, total=total, write=tell)
            list_failures(
                self.untagged,
                total=total,
                write=lambda text: tell(text.replace("not be recognised:", "not be tagged:")),
            )
        elif failures:
            tell(f"{len(failures)} of {total} files could not be tagged; the output says why")
        if total and (self.form == "table" or self.tagger is not None):
            self._summarise(tell)
        if self.interrupts.happened:
            return self._stopped(tell)
        if failures:
            return 2 if self.batch.only_patterns(failures) and not self.seen else 1
        return 0

    def _summarise(self, tell: Any) -> None:
        from genrescope.apps.cli.text import printable

        count = self.actions
        will = "got" if self.tagger is not None else "would get"
        parts = [f"{count['write']} {will} a genre"] if count["write"] else []
        if count["same"]:
            parts.append(f"{count['same']} {_have(count['same'])} it already")
        kept = count["keep"] + count["protected"]
        if kept:
            parts.append(f"{kept} {'keeps its' if kept == 1 else 'keep their'} genre")
        if count["not sure"]:
            parts.append(f"{count['not sure']} not sure")
        if count["unwanted"]:
            parts.append(f"{count['unwanted']} without a name of yours")
        total = sum(count.values())
        if parts:
            tell(f"\n {total} {'file' if total == 1 else 'files'}: {', '.join(parts)}.")
        shown = self.genres.most_common(_TOP)
        named = [f"{n} {printable(genre)}" for genre, n in shown]
        if rest := sum(self.genres.values()) - sum(n for _, n in shown):
            named.append(f"{rest} of others")
        if len(named) > 1:
            tell(f" {', '.join(named)}.")
        if self.tagger is None:
            if count["write"] and not self.interrupts.happened:
                tell(" Nothing was changed. To write this:")
                self._tell_whole(f"   {self.line or 'the same command with --write'}")
            else:
                tell(" Nothing was changed.")
        elif self.written:
            tell(f" To take it back: genrescope undo {self.tagger.run}")
        else:
            tell(" Nothing was written.")

    @staticmethod
    def _tell_whole(line: str) -> None:
        """A line to copy, which is not to be broken between words."""
        import sys

        from genrescope.apps.cli.render import console
        from genrescope.apps.cli.text import printable

        console(sys.stderr).print(printable(line), soft_wrap=True)

    def _stopped(self, tell: Any) -> int:
        if self.tagger is not None:
            tell(f"stopped; {self.written} files were written, the others are as they were")
        else:
            tell("stopped; what was heard is remembered, the same command goes on from there")
        return self.interrupts.exit_code

    def _progress(self, title: str, total: int | None) -> Progress:
        import sys

        from genrescope.apps.cli.progress import Progress

        streams = self.form in ("jsonl", "csv") and sys.stdout.isatty()
        return Progress(title, unit="files", total=total, wanted=not streams)

    def _base(self) -> Path | None:
        """The folder that all files are in."""
        if not self.seen:
            return None
        folders = {os.path.dirname(os.path.abspath(one.path)) for one in self.seen}
        try:
            return Path(os.path.commonpath(folders))
        except ValueError:  # on several drives
            return None


def _have(count: int) -> str:
    return "has" if count == 1 else "have"
