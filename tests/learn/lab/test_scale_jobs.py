"""Models that are fitted on a cluster answer what they answer here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("distributed")

from genrescope.audio.scale import Cluster
from genrescope.learn.lab.compare import make_protocol, run_models
from genrescope.learn.lab.presets import classifiers
from tests.learn.lab.test_compare import bad, by_key, table


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.local(1) as started:
        yield started


def test_a_cluster_fits_what_is_fitted_here(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = table()
    protocol = make_protocol(data, n_folds=2)
    specs = classifiers(only=["gaussian_nb", "ridge"])
    here = by_key(run_models(data, protocol, specs, jobs=0))
    monkeypatch.chdir(tmp_path)  # where the worker is not
    there = by_key(run_models(data, protocol, specs, cache=Path("cache"), cluster=cluster))
    for key, run in here.items():
        assert there[key].failure == run.failure == ""
        assert run.probabilities is not None
        np.testing.assert_allclose(there[key].probabilities, run.probabilities, atol=1e-5)
    heard = []
    run_models(
        data,
        protocol,
        specs,
        cache=Path("cache"),
        cluster=cluster,
        report=lambda event, info: heard.append((event, info.get("fits"))),
    )
    assert heard == [("plan", 0)]


def test_a_model_that_fails_or_dies_is_a_row_and_takes_no_worker_with_it(
    cluster: Cluster,
) -> None:
    data = table()
    specs = (*classifiers(only=["gaussian_nb"]), bad("Raises"), bad("Dies"))
    before = cluster.client.run(os.getpid)
    protocol = make_protocol(data, n_folds=2)
    runs = by_key(run_models(data, protocol, specs, cluster=cluster))
    assert cluster.client.run(os.getpid) == before
    assert runs["gaussian_nb"].failure == ""
    assert "4 columns and that is odd" in runs["raises"].failure
    assert "its process died, two times" in runs["dies"].failure
