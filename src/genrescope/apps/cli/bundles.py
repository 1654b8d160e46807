"""``genrescope bundles``: recognisers from the Hugging Face Hub, and to it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genrescope.apps.cli import completion, options
from genrescope.apps.cli.command import Family
from genrescope.apps.cli.text import print_json

if TYPE_CHECKING:
    from genrescope.learn.hub.pulled import PulledBundle

__all__ = ["bundles"]

bundles = Family("List, pull, push and remove recognisers of the Hugging Face Hub.")

_SHORT = 12  # digits of a commit

Repo = Annotated[
    str, typer.Argument(metavar="OWNER/NAME", show_default=False, help="A repository of the Hub.")
]
RepoAtRevision = Annotated[
    str,
    typer.Argument(
        metavar="OWNER/NAME[@REVISION]",
        show_default=False,
        help="A repository of the Hub, and a branch, tag or commit of it.",
        autocompletion=completion.pulled,
    ),
]


@bundles.command("list")
def list_(
    json: options.Json = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read every file and compare its SHA-256.")
    ] = False,
) -> None:
    """Show the recognisers that --bundle takes by name.

    Nothing is fetched or written.

    Exit codes: 0 done, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope bundles list --check
    """
    from genrescope.learn.bundle import DEFAULT_BUNDLE, Bundle
    from genrescope.learn.hub.pulled import pulled_bundles

    shipped = Bundle.load(DEFAULT_BUNDLE)
    rows = [{"name": DEFAULT_BUNDLE, "title": shipped.name, "folder": str(shipped.folder)}]
    rows += [_described(found, check=check) for found in pulled_bundles()]
    if json:
        print_json(rows)
        return
    _print(rows)


@bundles.command("pull")
def pull(
    name: RepoAtRevision,
    sha256: Annotated[
        str | None,
        options.text(
            "--sha256",
            "What the SHA-256 of its card.json has to be; anything else is not taken.",
            metavar="HEX",
        ),
    ] = None,
    moved: Annotated[
        bool,
        typer.Option(
            "--moved",
            help="Take a tag or branch that is another commit than when it was pulled before.",
        ),
    ] = False,
) -> None:
    """Fetch a recogniser from the Hub, check it, and keep it for use by name.

    Only its card and the graphs that the card names are fetched. The commit and the SHA-256 of
    every file are kept beside it; the same revision has to be the same the next time. Prints the
    name that always means this very recogniser.

    Exit codes: 0 it is here, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope bundles pull someone/my-genres
      genrescope bundles pull someone/my-genres@v1 --sha256 5f70bf18a0...
      genrescope predict ~/Music --bundle hub:someone/my-genres@v1
    """

    _quiet_unless_terminal()
    from genrescope.learn.hub.transfer import pull_bundle

    found = pull_bundle(name, sha256=sha256, moved=moved)
    if found.moved_from:
        typer.echo(
            f"{found.origin.repo}: was {found.moved_from[:_SHORT]}, which is still here, and is "
            f"{found.origin.revision[:_SHORT]} now",
            err=True,
        )
    typer.echo(f"SHA-256 of its card: {found.sha256}", err=True)
    sys.stdout.write(f"{found.name}\n")


@bundles.command("push")
def push(
    bundle: Annotated[
        str,
        typer.Argument(metavar="FOLDER", show_default=False, help="The folder of a recogniser."),
    ],
    repo: Repo,
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository for your eyes only.")
    ] = False,
    tag: Annotated[
        str | None,
        options.text("--tag", "Name this revision, such as v1."),
    ] = None,
) -> None:
    """Send a recogniser to the Hub, in one commit, with a page that describes it.

    It is loaded and run first, and nothing is sent where it does not work. Needs a login: run
    `hf auth login`, or set HF_TOKEN. Prints the name of what was sent.

    Exit codes: 0 it is there, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope bundles push mine someone/my-genres --tag v1
    """

    _quiet_unless_terminal()
    from genrescope.learn.hub.transfer import push_bundle

    def page(card: Any) -> str:
        from genrescope.apps.hub_page import hub_page

        return hub_page(card, repo=repo.removeprefix("hub:"))

    sent = push_bundle(bundle, repo, page=page, private=private, tag=tag)
    typer.echo(f"{sent.url}\nSHA-256 of its card: {sent.sha256}", err=True)
    sys.stdout.write(f"hub:{sent.repo}@{sent.revision}\n")


@bundles.command("remove")
def remove(
    name: RepoAtRevision,
    everything: Annotated[
        bool, typer.Option("--all", help="Every revision that was pulled.")
    ] = False,
) -> None:
    """Remove a pulled recogniser from this machine.

    What is on the Hub stays as it is.

    Exit codes: 0 it is gone, 2 wrong usage or nothing to do, 130 stopped by Ctrl-C.

    Examples:

      genrescope bundles remove someone/my-genres@v1
      genrescope bundles remove someone/my-genres --all
    """
    from genrescope.learn.hub.pulled import HubName, remove_bundle

    count = remove_bundle(HubName.parse(name), everything=everything)
    typer.echo(f"removed {count} {'bundle' if count == 1 else 'bundles'}", err=True)


def _described(found: PulledBundle, *, check: bool) -> dict[str, Any]:
    from genrescope.errors import BundleError
    from genrescope.learn.bundle import Bundle

    fault, title = found.damage() if check else found.fault, ""
    if not fault:
        try:
            title = Bundle.load(found.folder).name
        except BundleError as error:
            fault = str(error)
    return {
        "name": found.name,
        "title": title,
        "folder": str(found.folder),
        "asked": sorted(found.origin.asked),
        "pulled": found.origin.pulled,
        "bytes": found.n_bytes,
        "sha256": found.sha256,
        "fault": fault,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.text import Text

    from genrescope.apps.cli.render import console, paragraph
    from genrescope.apps.cli.text import printable
    from genrescope.catalog.storage import human_bytes

    screen = console()
    for row in rows:
        repo, _, commit = row["name"].partition("@")
        names = [printable(repo)]
        if commit:
            names += [f"{printable(repo)}@{name}" for name in [*row["asked"], commit[:_SHORT]]]
        screen.print(Text(f" {names[0]}", style="bold"))
        if row.get("fault"):
            paragraph(screen, f"damaged: {printable(row['fault'])}", indent=3)
        else:
            paragraph(screen, printable(row["title"]), indent=3)
        if commit:
            paragraph(screen, "also as " + ", ".join(names[1:]), indent=3)
            pulled = f"{human_bytes(row['bytes'])}, pulled {row['pulled'][:10] or 'once'}"
            paragraph(screen, pulled, indent=3)


def _quiet_unless_terminal() -> None:
    """No bars in a log file."""
    import os
    import sys

    if not sys.stderr.isatty():
        # Read once, when huggingface_hub is imported.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
