"""A short run of every target, and every input that once found something."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from genrescope.errors import GenrescopeError
from tests.fuzz.loop import Judge, run_random
from tests.fuzz.mutate import mutate, mutate_json
from tests.fuzz.targets import TARGETS, Target

REGRESSIONS = Path(__file__).parent / "regressions"
# Decoders in C may end a process; these run in one of their own.
IN_C = ("decode", "tags", "genre-field")


@pytest.mark.parametrize(
    "path", sorted(REGRESSIONS.glob("*/*")), ids=lambda p: f"{p.parent.name}-{p.name}"
)
def test_what_was_found_stays_mended(path: Path) -> None:
    judge = Judge(TARGETS[path.parent.name])
    judge(path.read_bytes())
    assert not judge.finds


@pytest.mark.parametrize(
    "name", ["card", "declaration"], ids=lambda name: f"{name}-refuses-all-it-was-found-to-take"
)
def test_cards_that_were_found_are_refused(name: str) -> None:
    found = sorted((REGRESSIONS / name).iterdir())
    for path in found:
        with pytest.raises(GenrescopeError):
            TARGETS[name].run(path.read_bytes())
    assert found


@pytest.mark.parametrize("part", ["text", "tree", "familiar"])
def test_no_number_of_a_part_can_be_too_large(part: str) -> None:
    target = TARGETS["parts"]
    card = json.loads(target.seeds()[-1])
    places: list[tuple[dict[str, object], str]] = []
    waiting = [card["parts"][part]["settings"]]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            waiting += here.values()
            places += [(here, key) for key, value in here.items() if isinstance(value, int | float)]
    for holder, key in places[:10]:
        before, holder[key] = holder[key], 10**400
        with pytest.raises(GenrescopeError):
            target.run(json.dumps(card).encode())
        holder[key] = before
    assert places
    target.run(json.dumps(card).encode())


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in IN_C])
def test_a_short_run(name: str) -> None:
    target = TARGETS[name]
    judge = Judge(target)
    run_random(judge, executions=400, seconds=0.5, seed=5)
    told = "\n".join(
        f"{find.what}: {find.data[:200]!r}\n{find.trace}" for find in judge.finds.values()
    )
    assert not judge.finds, told
    assert judge.runs >= len(target.seeds())


def test_a_short_run_of_what_is_in_c(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.fuzz", "--engine", "random", "--seconds", "1"),
            *("--executions", "300", "--targets", ",".join(IN_C), "--out", str(tmp_path)),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 finds" in done.stdout
    for name in IN_C:
        assert json.loads((tmp_path / name / "note.json").read_text())["runs"] >= 5


def test_a_find_is_told_once_and_kept_short() -> None:
    def run(data: bytes) -> None:
        if b"!" in data:
            raise KeyError(data)

    judge = Judge(Target("made up", "nothing", run, lambda: [b"a!" * 50]))
    for data in (b"a", b"aaa!", b"!", b"b!"):
        judge(data)
    assert [find.data for find in judge.finds.values()] == [b"!"]
    assert "KeyError" in next(iter(judge.finds))


def test_changes_are_the_same_for_the_same_seed() -> None:
    data = b'{"a": [1, 2, {"b": "c"}]}'
    for change in (mutate, mutate_json):
        first = [change(random.Random(7), data) for _ in range(3)]
        assert len(set(first)) == 1
    made = {mutate_json(random.Random(seed), data) for seed in range(50)}
    assert len(made) > 30
    assert mutate_json(random.Random(1), b"no JSON") is None
