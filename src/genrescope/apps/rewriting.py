"""The steps that put other genres into a file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genrescope.apps.journal import Planned, Run, digest_of
from genrescope.apps.safe_write import Replacement
from genrescope.catalog.genre_tags import Scan
from genrescope.errors import TagError

__all__ = ["carry_out", "listed"]


def carry_out(
    work: Replacement,
    scan: Scan,
    run: Run,
    *,
    fill: Callable[[Any], None],
    new: tuple[str, ...],
    undoes: int | None = None,
) -> None:
    """Make a copy, check it, note it, let it take the place of the file, note that."""
    entry = run.start(work.path, temporary=work.temporary)
    try:
        part = work.create()
        try:
            fill(part)
        except OSError as error:
            raise _no_copy(work.path, error) from error
        sound = scan.audio_digest()
        after = _check_copy(scan, part, work.path, new=new, sound=sound)
        identity = work.settle()
        run.plan(
            entry,
            Planned(
                container=scan.field.container,
                old=scan.field.values,
                new=after.field.values,
                kept=scan.kept,
                before=work.before,
                after=identity,
                digest_before=digest_of(work.path),
                digest_after=digest_of(work.temporary),
                sound=sound,
                kept_times=work.keep_times,
                undoes=undoes,
            ),
        )
        work.replace()
    finally:
        if work.replaced:
            run.finish(entry)
        else:
            work.discard()  # before the row, which knows its name, goes
            run.leave(entry)


def _check_copy(scan: Scan, part: Any, path: Path, *, new: tuple[str, ...], sound: str) -> Scan:
    """Read the copy back, by our eyes and by mutagen's; nothing but genres may differ."""
    part.flush()
    part.seek(0)
    after = Scan(part, str(path))
    if after.field.values != new:
        raise TagError(
            f"{path}: {after.field.container} would hold {listed(after.field.values)} instead of "
            f"{listed(new)}; nothing was changed. Name the genre in another way"
        )
    if after.audio_digest() != sound:
        raise TagError(f"{path}: the copy does not hold the same sound; nothing was changed")
    converted = after.id3_version != scan.id3_version
    if not converted and after.others_digest() != scan.others_digest():
        raise TagError(f"{path}: the copy does not hold the same other tags; nothing was changed")
    read = scan.as_read()
    if read is not None and after.as_read(like=scan) != read:
        raise TagError(f"{path}: the copy's other tags read otherwise; nothing was changed")
    return after


def _no_copy(path: Path, error: OSError) -> TagError:
    return TagError(
        f"{path}: the copy beside it cannot be written ({error.strerror or error}); it is as it "
        "was. Free some space on that disk"
    )


def listed(genres: Sequence[str]) -> str:
    """As a person is told of them."""
    return ", ".join(genres) if genres else "none"
