"""What a shell offers for the values of options; nothing heavy is imported to say it.

Where the names are defined beside what is heavy, they are repeated here, and a test compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = [
    "archives",
    "audio_subsets",
    "bundles",
    "changes",
    "datasets",
    "devices",
    "encoders",
    "genres",
    "network_presets",
    "networks",
    "of",
    "presets",
    "protocols",
    "pulled",
    "references",
    "subsets",
]


def of(*names: str) -> Callable[[str], list[str]]:
    """A completer that offers these names."""

    def complete(incomplete: str) -> list[str]:
        return _matching(names, incomplete)

    return complete


encoders = of("frames", "musicnn", "musicnn:MTT")
devices = of("auto", "cpu", "cuda", "mps")
datasets = of("fma-small-mfcc", "fma-small-mel", "fma-echonest", "fma")
archives = of("metadata", "small", "medium", "large", "full")
subsets = of("small", "medium", "large", "full")
audio_subsets = of("large", "medium", "small", "none")
presets = of("default", "cs464")
network_presets = of("modern", "cs464-adam", "cs464-sgd")
protocols = of("folds", "official", "random")
references = of("cs464")
changes = of(
    "mp3-320", "mp3-128", "mp3-64", "mp3-32", "opus-24", "lowpass-16k", "rate-22k", "rate-16k",
    "rate-8k", "minus-20db", "plus-6db", "mono", "left", "ten-seconds", "elsewhere", "key-up",
    "key-down", "faster", "slower", "noise", "fade",
)  # fmt: skip


def genres(incomplete: str) -> list[str]:
    """The top-level genres of FMA, in any case."""
    from genrescope.catalog.genres import GENRE_COLOURS

    return [name for name in GENRE_COLOURS if name.lower().startswith(incomplete.lower())]


def networks(incomplete: str) -> list[str]:
    """The networks that can be trained."""
    from genrescope.learn.deep.architectures import ARCHITECTURES

    return _matching((one.key for one in ARCHITECTURES), incomplete)


def pulled(incomplete: str) -> list[str]:
    """The repositories that bundles were pulled from."""
    from platformdirs import user_data_path

    folder = user_data_path("genrescope") / "bundles"
    return _matching(sorted(p.name.replace("--", "/") for p in folder.glob("*--*")), incomplete)


def bundles(incomplete: str) -> list[str]:
    """Names that ``--bundle`` takes; where none begins so, the shell goes on with folders."""
    return _matching(["default", *(f"hub:{name}" for name in pulled(""))], incomplete)


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
