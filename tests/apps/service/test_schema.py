"""A small run of the study of the service against its own description."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps.service.serving import serving, sound

pytest.importorskip("schemathesis")
study = pytest.importorskip("benchmarks.study_schema")


def test_nothing_that_fits_or_does_not_breaks_the_service(tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_bytes(sound())
    with serving(library=tmp_path) as running:
        found = study.attack(running.url, examples=5)
        assert found["passed"], found["report"]
        assert found["operations"] == 6
        assert found["cases"] > 50
        assert running.service.ready
        assert running.left() == []
