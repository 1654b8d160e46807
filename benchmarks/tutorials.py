"""Run the tutorials: every command and every block of Python, in order, in a fresh folder.

    python -m benchmarks.tutorials                    # compare what is printed with the pages
    python -m benchmarks.tutorials --update           # write what is printed into the pages
    python -m benchmarks.tutorials collector          # one of them

A page is ordinary Markdown. Blocks of ``console`` are commands behind ``$`` with what they print;
blocks of ``python`` share one interpreter, and a block of ``text`` right after one is what it
prints. An HTML comment right before a block says what a reader need not see:

``<!-- not run: REASON -->``
    The block is parsed only: commands must be commands of genrescope, with options it has.
``<!-- file: NAME -->``
    The block is a file that the reader keeps.
``<!-- exit: 1 -->``
    The exit code of its last command.
``<!-- within: 0.2; REASON -->``
    Numbers with a decimal point may differ by so much.
``<!-- terminal: NAME; ready: TEXT -->``
    A second terminal: the command goes on until ``<!-- stop: NAME; after: TEXT -->``; TEXT is what
    it must have printed before the page goes on, and before it is stopped.
``<!-- picture: SOURCE -->``
    The picture right after it is made, with --update, from SOURCE: a file, or a page (a file or
    http address, with what to do there as ``WIDTHxHEIGHT``, then ``click:``, ``wait:`` and
    ``scroll:`` with a selector, + for a space).

What may differ from machine to machine and from run to run is `NORMAL` in
benchmarks/tutorial_pages.py, and nothing else may.
POSIX only: commands see a terminal of 92 columns, as a reader does.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.tutorial_pages import (
    PORT,
    Block,
    Command,
    TutorialError,
    check_syntax,
    read_blocks,
    read_commands,
    same,
    tidy,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "tutorials"
COLUMNS = 92
_PATIENCE = 180.0  # s that one command may take


# --- running -----------------------------------------------------------------


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
    return port


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, command: str, *, folder: Path, env: dict[str, str]) -> None:
        import pty

        self._read, write = pty.openpty()
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            start_new_session=True,
        )
        os.close(write)
        self._raw = b""

    @property
    def text(self) -> str:
        """What it printed so far."""
        return self._raw.decode("utf-8", "replace").replace("\r\n", "\n")

    def wait(self, *, until: str | None = None) -> None:
        """Read until it ends, or until it has printed a text."""
        limit = time.monotonic() + _PATIENCE
        while until is None or until not in self.text:
            if time.monotonic() > limit:
                self.stop()
                raise TutorialError(f"nothing but this after {_PATIENCE:.0f} s:\n{self.text}")
            if not select.select([self._read], [], [], 0.2)[0]:
                continue
            try:
                more = os.read(self._read, 65_536)
            except OSError:  # EIO: nobody has it open for writing any more
                more = b""
            if not more:
                break
            self._raw += more
        if until is not None and until not in self.text:
            raise TutorialError(f"it ended without {until!r}:\n{self.text}")

    def stop(self) -> int:
        """Ctrl-C, and what else it takes; the exit code."""
        for number in (signal.SIGINT, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                try:
                    self.wait_for_end(20.0)
                except subprocess.TimeoutExpired:
                    continue
        return self.end()

    def wait_for_end(self, seconds: float) -> None:
        """Read on until it has ended."""
        limit = time.monotonic() + seconds
        while self._process.poll() is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired("bash", seconds)
            if select.select([self._read], [], [], 0.1)[0]:
                try:
                    self._raw += os.read(self._read, 65_536)
                except OSError:
                    break
        self._process.wait(max(0.1, limit - time.monotonic()))

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        code = self._process.wait(_PATIENCE)
        if self._read >= 0:
            os.close(self._read)
            self._read = -1
        return code


_INTERPRETER = """
import contextlib, io, json, sys, traceback
room = {"__name__": "__main__"}
def main():
    for line in sys.stdin:
        name, code = json.loads(line)
        said, failed = io.StringIO(), ""
        with contextlib.redirect_stdout(said):
            try:
                exec(compile(code, name, "exec"), room)
            except BaseException:
                failed = traceback.format_exc()
        print(json.dumps([said.getvalue(), failed]), file=sys.__stdout__, flush=True)
if __name__ == "__main__":
    main()
"""


class Python:
    """One interpreter for all the Python of a page."""

    def __init__(self, *, folder: Path, env: dict[str, str]) -> None:
        # A file, so that the processes it starts can import what is their main program.
        program = folder / ".interpreter.py"
        program.write_text(_INTERPRETER, encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, str(program)],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str, code: str) -> str:
        """What a block prints.

        Raises
        ------
        TutorialError
            If it raises.
        """
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise TypeError("the interpreter has pipes")
        process.stdin.write(json.dumps([name, code]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise TutorialError(f"{name}: the interpreter ended")
        said, failed = json.loads(answer)
        if failed:
            raise TutorialError(f"{name}: {failed}")
        return str(said)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


# --- a page ------------------------------------------------------------------


@dataclass
class Tutorial:
    """One page that is being run.

    Attributes
    ----------
    page : Path
        The Markdown file.
    folder : Path
        A fresh folder, where everything happens.
    update : bool
        Whether the page is rewritten rather than compared.
    wrong : list of str
        What differed.
    """

    page: Path
    folder: Path
    update: bool
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self._port = free_port()
        self._text = self.page.read_text(encoding="utf-8")
        self._new: dict[tuple[int, int], list[str]] = {}
        self._terminals: dict[str, tuple[Block, Command, Terminal]] = {}
        self._python: Python | None = None
        (self.folder / "home").mkdir()
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GENRESCOPE_", "XDG_"))},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": str(self.folder / "home"),
            "COLUMNS": str(COLUMNS),
            "LINES": "50",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
        }
        # The clips of the demonstration are fetched once for all pages.
        from genrescope.apps.clips import fetch_clips

        clips = fetch_clips()
        (self.folder / "clips" / "fma").mkdir(parents=True)
        for path in clips:
            shutil.copy(path, self.folder / "clips" / "fma")

    def run(self) -> None:
        """Run every block; compare or rewrite.

        Raises
        ------
        TutorialError
            If a command or a block of Python fails. Differences are in `wrong`.
        """
        blocks = read_blocks(self._text)
        try:
            for place, block in enumerate(blocks):
                after = blocks[place + 1] if place + 1 < len(blocks) else None
                self._run_block(block, after)
        except Exception as error:
            self.wrong.append(f"{self.page.name}: {error}")
            raise
        finally:
            for _, _, terminal in self._terminals.values():
                terminal.stop()
            if self._python is not None:
                self._python.close()
        if self.update:
            self._rewrite()

    def _run_block(self, block: Block, after: Block | None) -> None:
        notes = block.notes
        if block.kind == "stop":
            self._stop(notes["stop"])
        elif block.kind == "picture":
            self._picture(block)
        elif "not run" in notes:
            check_syntax(block)
        elif "file" in notes:
            target = self.folder / notes["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("\n".join(block.lines) + "\n", encoding="utf-8")
        elif "terminal" in notes:
            self._start(block)
        elif block.kind == "console":
            self._run_commands(block)
        elif block.kind == "python":
            self._run_python(block, after)

    def _own(self, text: str) -> str:
        """A command or code with the port that is free here."""
        text = text.replace(f":{PORT}", f":{self._port}")
        return re.sub(r"\bgenrescope serve\b", f"genrescope serve --port {self._port}", text)

    def _run_commands(self, block: Block) -> None:
        commands = read_commands(block)
        told: list[str] = []
        for place, command in enumerate(commands):
            terminal = Terminal(self._own(command.text), folder=self.folder, env=self._env)
            terminal.wait()
            code = terminal.end()
            printed = tidy(terminal.text, folder=self.folder, port=self._port)
            last = place == len(commands) - 1
            wanted = int(block.notes.get("exit", "0")) if last else 0
            if code != wanted:
                text = "\n".join(printed)
                raise TutorialError(f"{command.text}: exit code {code}, not {wanted}\n{text}")
            self._compare(block, command.text, command.printed, printed)
            told += [*command.shown, *printed]
        self._new[block.start, block.end] = told

    def _run_python(self, block: Block, after: Block | None) -> None:
        if self._python is None:
            self._python = Python(folder=self.folder, env=self._env)
        name = f"{self.page.name}, line {block.start + 1}"
        said = self._python.run(name, self._own("\n".join(block.lines)))
        printed = tidy(said, folder=self.folder, port=self._port)
        follows = after is not None and after.kind == "text" and after.start <= block.end + 5
        if after is not None and follows:
            self._compare(after, name, after.lines, printed)
            self._new[after.start, after.end] = printed
        elif printed:
            raise TutorialError(f"{name}: prints, and no block of text follows:\n{said}")

    def _start(self, block: Block) -> None:
        name, _, ready = block.notes["terminal"].partition("; ready: ")
        (command,) = read_commands(block)
        terminal = Terminal(self._own(command.text), folder=self.folder, env=self._env)
        self._terminals[name] = (block, command, terminal)
        terminal.wait(until=ready)

    def _stop(self, note: str) -> None:
        name, _, last = note.partition("; after: ")
        block, command, terminal = self._terminals[name]
        if last:
            terminal.wait(until=last)
        terminal.stop()
        del self._terminals[name]
        printed = tidy(terminal.text, folder=self.folder, port=self._port)
        self._compare(block, command.text, command.printed, printed)
        self._new[block.start, block.end] = [*command.shown, *printed]

    def _compare(self, block: Block, what: str, shown: Sequence[str], told: Sequence[str]) -> None:
        within = float(block.notes.get("within", "0").partition(";")[0])
        if self.update or same(shown, told, within=within):
            return
        lines = difflib.unified_diff(list(shown), list(told), "page", "printed", lineterm="", n=1)
        self.wrong.append(f"{self.page.name}, line {block.start + 1}: {what}\n" + "\n".join(lines))

    def _picture(self, block: Block) -> None:
        match = re.match(r"!\[[^\]]*\]\(([^)]+)\)", block.lines[0])
        if match is None:
            raise TutorialError(f"line {block.start + 1}: this is no picture")
        target = (self.page.parent / match[1]).resolve()
        source, *how = self._own(block.notes["picture"]).split()
        if not how:
            found = self.folder / source
            if not found.is_file():
                raise TutorialError(f"line {block.start + 1}: {source} was not made")
            if self.update:
                shutil.copy(found, target)
        elif source.startswith("http"):
            with urllib.request.urlopen(source, timeout=60) as answer:
                if answer.status != 200:
                    raise TutorialError(f"{source}: status {answer.status}")
        if how and self.update:
            address = source if source.startswith("http") else (self.folder / source).as_uri()
            take_picture(address, target, how)
        if not target.is_file():
            raise TutorialError(f"line {block.start + 1}: {match[1]} is not there; --update")

    def _rewrite(self) -> None:
        lines = self._text.splitlines()
        for (start, end), new in sorted(self._new.items(), reverse=True):
            lines[start:end] = new
        self.page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def take_picture(address: str, target: Path, how: Sequence[str]) -> None:
    """A picture of a page in Chromium.

    Parameters
    ----------
    address : str
    target : Path
        PNG.
    how : list of str
        "WIDTHxHEIGHT", then any of "click:SELECTOR", "wait:SELECTOR" and "scroll:SELECTOR".
    """
    from playwright.sync_api import sync_playwright

    width, height = (int(n) for n in how[0].split("x"))
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(address)
        page.wait_for_load_state("load")
        for step in how[1:]:
            kind, _, selector = step.partition(":")
            selector = selector.replace("+", " ")
            if kind == "click":
                page.click(selector, timeout=60_000)
            elif kind == "scroll":
                page.locator(selector).first.evaluate("e => e.scrollIntoView({block: 'start'})")
            else:
                page.wait_for_selector(selector, timeout=60_000)
        page.wait_for_timeout(1500)
        page.screenshot(path=str(target))
        browser.close()


def pages(names: Sequence[str]) -> Iterator[Path]:
    """The pages of these names, or all."""
    for path in sorted(PAGES.glob("*.md")):
        if not names or path.stem in names:
            yield path


def run_page(page: Path, *, update: bool = False, folder: Path | None = None) -> list[str]:
    """Run one page; what differed, nothing where all is well."""
    with tempfile.TemporaryDirectory(prefix="tutorial-") as temporary:
        tutorial = Tutorial(page, folder or Path(temporary), update)
        tutorial.run()
        return tutorial.wrong


def main() -> int:
    """Run the pages that are named, or all; 1 where one does not do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tutorials", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--update", action="store_true", help="write outputs and pictures")
    parser.add_argument("--folder", type=Path, help="an empty folder, kept afterwards")
    options = parser.parse_args()
    failed = 0
    for page in pages(options.names):
        start, used = time.monotonic(), _processor_time()
        folder = options.folder / page.stem if options.folder else None
        if folder is not None:
            folder.mkdir(parents=True)
        try:
            wrong = run_page(page, update=options.update, folder=folder)
        except TutorialError as error:
            wrong = [f"{page.name}: {error}"]
        failed += bool(wrong)
        took = f"{time.monotonic() - start:.0f} s, processor {_processor_time() - used:.0f} s"
        print(f"{page.name}: {'differs' if wrong else 'as it says'} ({took})")
        for text in wrong:
            print(text)
    return 1 if failed else 0


def _processor_time() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(main())
