"""The fifteen classifiers at the study's size: ours side by side, stock scikit-learn in a row.

Stock is scikit-learn's own class with its default settings on standardised features, one after the
other, with as many threads as the libraries take by themselves. Ours is what `genrescope lab` runs.
Takes about a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study_size import make_table

__all__ = ["run"]

# Limits that a machine may set, and that stock scikit-learn would suffer from.
_UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_THREADS = tuple(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL"))


def run(*, n: int = 39_000) -> list[dict[str, Any]]:
    """Measure: a row a model, and one for all of them by the clock."""
    stock = _apart("stock", n)
    ours = _apart("ours", n)
    rows: list[dict[str, Any]] = [
        {
            "model": name,
            "stock, CPU s": stock["models"][name]["seconds"],
            "ours, CPU s": ours["models"][name]["seconds"],
            "ratio": stock["models"][name]["seconds"] / ours["models"][name]["seconds"],
            "stock accuracy": f"{stock['models'][name]['accuracy']:.4f}",
            "our accuracy": f"{ours['models'][name]['accuracy']:.4f}",
        }
        for name in stock["models"]
    ]
    rows.append(
        {
            "model": f"ALL, s by the clock, {os.cpu_count()} cores (aim: 2.5)",
            "stock, CPU s": stock["seconds"],
            "ours, CPU s": ours["seconds"],
            "ratio": stock["seconds"] / ours["seconds"],
        }
    )
    return rows


def _apart(which: str, n: int) -> dict[str, Any]:
    """Measure in a process of its own, with the threads that libraries take by themselves."""
    env = {k: v for k, v in os.environ.items() if k not in (*_UNSET, *_THREADS)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_classic", which, str(n)],
        cwd=Path(__file__).resolve().parents[1],
        env=env,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _stock(n: int) -> dict[str, Any]:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from genrescope.learn.lab.presets import FIFTEEN, classifiers

    warnings.simplefilter("ignore")
    x, y, x_test, y_test = make_table(n)
    models = {}
    began = time.perf_counter()
    for spec in classifiers(preset="cs464", only=FIFTEEN):
        module, _, name = spec.estimator.partition(":")
        kind = getattr(import_module(module), name)
        seeded = {"random_state": 0} if "random_state" in kind().get_params() else {}
        start = time.process_time()
        model = make_pipeline(StandardScaler(), kind(**seeded)).fit(x, y)
        accuracy = model.score(x_test, y_test)
        models[spec.key] = {"seconds": time.process_time() - start, "accuracy": accuracy}
        print(spec.key, models[spec.key], file=sys.stderr)
    return {"models": models, "seconds": time.perf_counter() - began}


def _ours(n: int) -> dict[str, Any]:
    from genrescope.learn.lab.compare import make_protocol, run_models
    from genrescope.learn.lab.presets import FIFTEEN, classifiers
    from genrescope.learn.lab.tabular import TabularData

    x, y, x_test, y_test = make_table(n)
    total = len(y) + len(y_test)
    names = np.arange(total).astype(str)
    data = TabularData(
        name="study-size",
        x=np.concatenate([x, x_test]),
        features=tuple(f"f{i}" for i in range(x.shape[1])),
        feature_groups=("f",) * x.shape[1],
        y=np.concatenate([y, y_test]),
        genres=tuple(f"genre {i}" for i in range(int(y.max()) + 1)),
        groups=names,
        group_name="track",
        track_id=names,
        title=names,
        artist=names,
        split=np.repeat(["training", "test"], [len(y), len(y_test)]),
    )
    began = time.perf_counter()
    protocol = make_protocol(data, kind="official")
    runs = run_models(data, protocol, classifiers(only=FIFTEEN), seconds_per_model=3600)
    seconds = time.perf_counter() - began
    models = {}
    for one in runs:
        if one.probabilities is None:
            raise SystemExit(f"{one.name}: {one.failure}")
        models[one.key] = {
            "seconds": one.fit_seconds + one.predict_seconds,
            "accuracy": float((one.probabilities.argmax(axis=1) == y_test).mean()),
        }
    return {"models": models, "seconds": seconds}


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps({"stock": _stock, "ours": _ours}[sys.argv[1]](int(sys.argv[2]))))
    else:
        for row in run():
            print(json.dumps(row))
