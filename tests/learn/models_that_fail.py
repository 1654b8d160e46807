"""Classifiers that do what a table of models must survive; imported by worker processes."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class _Constant(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, x: Any, y: Any) -> Any:
        self.classes_ = np.unique(y)
        self.misbehave(np.asarray(x))
        return self

    def misbehave(self, x: Any) -> None:
        raise NotImplementedError

    def predict_proba(self, x: Any) -> Any:
        return np.full((len(x), len(self.classes_)), 1 / len(self.classes_))


class Raises(_Constant):
    def misbehave(self, x: Any) -> None:
        raise ValueError(f"x has {x.shape[1]} columns and that is odd")


class Sleeps(_Constant):
    def misbehave(self, x: Any) -> None:
        time.sleep(60)


class Dies(_Constant):
    def misbehave(self, x: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Gorges(_Constant):
    def misbehave(self, x: Any) -> None:
        self.kept = np.empty(1 << 33)  # 64 GiB


class Nan(_Constant):
    def misbehave(self, x: Any) -> None:
        pass

    def predict_proba(self, x: Any) -> Any:
        return np.full((len(x), len(self.classes_)), np.nan)


class Counts(_Constant):
    """Leaves a mark for every fit in the file that it is told."""

    def __init__(self, path: str = "", flavour: int = 0) -> None:
        self.path = path
        self.flavour = flavour

    def misbehave(self, x: Any) -> None:
        with open(self.path, "a") as file:
            file.write(f"{self.flavour}\n")
