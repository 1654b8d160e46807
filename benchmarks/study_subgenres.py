"""Compare ways to answer for sub-genres and write what came of it, as docs/subgenres.md.

``python -m benchmarks.study_subgenres --data ../shared/data/fma --run runs/default``

Reads the out-of-fold answers of a run of ``genrescope train default``. Three minutes of processor
time on one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before NumPy is imported: the figures depend on the number of threads in their last digits.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


def main(arguments: list[str] | None = None) -> int:
    """Train, score, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_subgenres")
    parser.add_argument("--data", type=Path, required=True, help="prepared FMA data")
    parser.add_argument("--run", type=Path, required=True, help="folder of `train default`")
    parser.add_argument("--out", type=Path, default=Path("docs/subgenres.md"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)

    import torch

    from genrescope.learn.studies.hierarchy import read_tree_data, study_subgenres, write_page

    torch.set_num_threads(1)
    study = study_subgenres(read_tree_data(given.data, given.run), seed=given.seed)
    write_page(
        given.out,
        study,
        command="python -m benchmarks.study_subgenres --data ../shared/data/fma --run runs/default",
    )
    for row in study.rows:
        print(f"{row.key:14} " + " ".join(f"{k} {v:.3f}" for k, v in row.scores.values.items()))
        for name, (gap, low, high) in row.behind.items():
            print(f"    ships minus this, {name}: {gap:+.4f} ({low:+.4f} to {high:+.4f})")
    print(f"wrote {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
