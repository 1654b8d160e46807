"""Which networks study_networks trains, and how: what the table of networks is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ENTRIES", "FOLDS", "Entry", "folder_of"]

FOLDS = (0, 1)  # of the project's five


@dataclass(frozen=True)
class Entry:
    """One line of the table: a network and how it is trained."""

    label: str
    network: str
    arguments: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def options(self) -> dict[str, str]:
        """What the arguments choose of the network itself."""
        pairs = zip(self.arguments, self.arguments[1:], strict=False)
        return dict(v.split("=", 1) for name, v in pairs if name == "--with")


_STUDY = ("--preset", "cs464-adam", "--epochs", "15", "--set", "patience=4")

ENTRIES = (
    Entry("naive-cnn", "naive-cnn", (*_STUDY, "--precision", "bf16")),
    Entry("cs464-cnn", "cs464-cnn", (*_STUDY, "--precision", "bf16")),
    Entry(
        "cs464-cnn-modern",
        "cs464-cnn",
        ("--epochs", "16", "--set", "patience=6", "--precision", "bf16"),
        seeds=(0,),
    ),
    Entry(
        "compact-cnn",
        "compact-cnn",
        ("--epochs", "24", "--set", "crop=0.5", "--precision", "bf16"),
    ),
    Entry(
        "compact-cnn-no-specaugment",
        "compact-cnn",
        (
            *("--epochs", "24", "--set", "crop=0.5", "--precision", "bf16"),
            *("--set", "band_masks=0", "--set", "time_masks=0"),
        ),
        seeds=(0,),
    ),
    Entry("frame-net", "frame-net", ("--epochs", "16", "--precision", "bf16"), seeds=(0,)),
    Entry(
        "vit-tiny",
        "vit-tiny",
        ("--epochs", "8", "--with", "overlap=0x0", "--set", "warm_up=2"),
        seeds=(0,),
    ),
)


def folder_of(runs: Path, entry: Entry, seed: int) -> Path:
    """Where a training is kept."""
    return runs / f"{entry.label}-seed{seed}"
