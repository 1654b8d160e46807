"""A model in the cache as an encoder: its pieces, its files, and what is wrong with them.

The network is a stand-in, so that none of the large libraries is needed but torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.audio.encoders.base import mean_and_spread, resample
from genrescope.audio.encoders.hub_models import HubEncoder, load
from genrescope.errors import (
    AudioNotFiniteError,
    ChecksumError,
    DataError,
    MissingExtraError,
)
from tests.audio.encoders.conftest import COMMIT

pytest.importorskip("torch")

from genrescope.audio.encoders import hub_networks

NAME = f"hf:a/b@{COMMIT}"
SR = 100  # Hz, of the stand-in
TYPES = {
    "audio-spectrogram-transformer": ("ast", 10),
    "mert_model": ("mert", 5),
    "hubert": ("mert", 5),
    "clap": ("clap", 10),
}


def first_three(pieces: np.ndarray) -> np.ndarray:
    return pieces[:, :3]


class Builders:
    """In the place of the networks; notes what was asked for."""

    def __init__(self) -> None:
        self.forward: Callable[[np.ndarray], np.ndarray] = first_three
        self.asked: list[tuple[Path, int]] = []

    def __call__(self, folder: Path, sr: int) -> Callable[[np.ndarray], np.ndarray]:
        self.asked.append((folder, sr))
        return lambda pieces: self.forward(pieces)


@pytest.fixture(autouse=True)
def builders(monkeypatch: pytest.MonkeyPatch) -> Builders:
    found = Builders()
    for kind in ("ast", "mert", "clap", "passt"):
        monkeypatch.setitem(hub_networks.BUILDERS, kind, found)
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: object())
    return found


def put(folder: Path, kind: str = "audio-spectrogram-transformer", **changes: Any) -> Path:
    """Files of an encoder of three numbers; `changes` are of encoder.json."""
    folder.mkdir(parents=True, exist_ok=True)
    width = "projection_dim" if kind == "clap" else "hidden_size"
    (folder / "config.json").write_text(json.dumps({"model_type": kind, width: 3}), "utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": SR}), "utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    said: dict[str, Any] = {
        "name": NAME, "about": "x", "licence": "MIT", "source": {"commit": COMMIT},
        "files": {"model.safetensors": digest},
    }  # fmt: skip
    said.update(changes)
    (folder / "encoder.json").write_text(json.dumps(said), "utf-8")
    return folder


def told(ask: Callable[[], Any], error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as refused:
        ask()
    return str(refused.value)


# --- what it says of itself ------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_an_encoder_says_what_decides_its_numbers(tmp_path: Path, kind: str) -> None:
    encoder = HubEncoder(NAME, folder=put(tmp_path / "a", kind))
    assert (encoder.name, encoder.version, encoder.licence) == (NAME, 1, "MIT")
    assert (encoder.n_features, encoder.sample_rate) == (6, SR)
    said = json.loads((tmp_path / "a" / "encoder.json").read_text("utf-8"))
    assert encoder.parameters() == {
        "source": {"commit": COMMIT},
        "kind": TYPES[kind][0],
        "files": said["files"],
        "sample_rate": SR,
        "resampling": "soxr HQ",
        "piece_seconds": TYPES[kind][1],
        "pooling": "mean and standard deviation over pieces",
    }


def test_what_is_not_noted_down_is_unknown(tmp_path: Path) -> None:
    folder = put(tmp_path / "a")
    (folder / "encoder.json").write_text("{}", "utf-8")
    encoder = HubEncoder(NAME, folder=folder)
    assert encoder.licence == "unknown"
    assert encoder.parameters()["source"] == encoder.parameters()["files"] == {}
    assert told(lambda: encoder.encode([np.ones(SR, np.float32)], sr=SR)) == (
        f"encoder {NAME}: its files were not noted down; install it again"
    )


def test_passt_has_a_rate_of_its_own(tmp_path: Path, builders: Builders) -> None:
    folder = put(tmp_path / "a", "passt")
    (folder / "preprocessor_config.json").unlink()
    encoder = HubEncoder("passt", folder=folder)
    assert encoder.sample_rate == encoder.parameters()["sample_rate"] == 32_000
    encoder.encode([np.ones(32_000, np.float32)], sr=32_000)
    assert builders.asked == [(folder, 32_000)]


# --- sound -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "samples", "starts"),
    [
        ("clap", 2_999, [0, 1_000]),
        ("clap", 2_000, [0, 1_000]),
        ("clap", 1_999, [0]),
        ("clap", 1_000, [0]),
        ("hubert", 1_999, [0, 500, 1_000]),
    ],
)
def test_a_window_is_cut_into_pieces(
    tmp_path: Path, builders: Builders, kind: str, samples: int, starts: list[int]
) -> None:
    lengths = []
    builders.forward = lambda pieces: (lengths.append(pieces.shape), pieces[:, :3])[1]
    encoder = HubEncoder(NAME, folder=put(tmp_path / "a", kind))
    y = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    (row,) = encoder.encode([y], sr=SR)
    assert lengths == [(len(starts), TYPES[kind][1] * SR)]
    np.testing.assert_array_equal(row, mean_and_spread(np.stack([y[i : i + 3] for i in starts])))


@pytest.mark.parametrize("samples", [999, 500, 400, 50])
def test_a_short_window_is_repeated(tmp_path: Path, builders: Builders, samples: int) -> None:
    heard = []
    builders.forward = lambda pieces: (heard.append(pieces), pieces[:, :3])[1]
    y = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    HubEncoder(NAME, folder=put(tmp_path / "a")).encode([y], sr=SR)
    assert heard[0].shape == (1, 1_000)
    np.testing.assert_array_equal(heard[0][0], np.resize(y, 1_000))


def test_a_window_comes_at_the_rate_of_the_model(tmp_path: Path, builders: Builders) -> None:
    encoder = HubEncoder(NAME, folder=put(tmp_path / "a"))
    y = np.random.default_rng(0).normal(size=4_000).astype(np.float32)
    both = encoder.encode([y, 2 * y], sr=200)
    np.testing.assert_array_equal(both[:1], encoder.encode([resample(y, 200, SR)], sr=SR))
    assert both.shape == (2, 6)
    np.testing.assert_allclose(both[1], 2 * both[0], rtol=1e-4)
    assert builders.asked == [(tmp_path / "a", SR)], "opened once"


def test_an_encoder_that_was_used_can_be_sent(tmp_path: Path, builders: Builders) -> None:
    encoder = HubEncoder(NAME, folder=put(tmp_path / "a"))
    y = np.arange(1_000, dtype=np.float32)
    row = encoder.encode([y], sr=SR)
    there = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(there.encode([y], sr=SR), row)
    assert len(builders.asked) == 2


# --- what goes wrong -------------------------------------------------------


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_a_network_that_fails_is_told_in_one_line(
    tmp_path: Path, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = HubEncoder(NAME, folder=put(tmp_path / "a"))
    y = np.ones(1_000, np.float32)
    builders.forward = failing(ValueError("two\n  lines"))
    assert told(lambda: encoder.encode([y], sr=SR)) == (
        f"encoder {NAME}: could not be run (ValueError: two lines); install another version of "
        "its library"
    )
    builders.forward = failing(ValueError("x" * 188))
    assert f"(ValueError: {'x' * 188})" in told(lambda: encoder.encode([y], sr=SR))
    builders.forward = failing(ValueError("x" * 189))
    assert f"(ValueError: {'x' * 185}...)" in told(lambda: encoder.encode([y], sr=SR))
    other = HubEncoder(NAME, folder=tmp_path / "a")
    monkeypatch.setitem(hub_networks.BUILDERS, "ast", failing(KeyError("x")))
    assert told(lambda: other.encode([y], sr=SR)) == (
        f"encoder {NAME}: cannot be opened (KeyError: 'x'); install it again, or another version "
        "of its library"
    )
    monkeypatch.setitem(hub_networks.BUILDERS, "ast", failing(DataError("ours")))
    assert told(lambda: other.encode([y], sr=SR)) == "ours"


@pytest.mark.parametrize(
    ("found", "shape"),
    [
        (np.zeros((1, 4)), [1, 4]),
        (np.zeros(3), [3]),
        (np.zeros((1, 3, 3)), [1, 3, 3]),
        (np.array([[0, np.nan, 0]]), [1, 3]),
        (np.array([[0, np.inf, 0]]), [1, 3]),
    ],
)
def test_answers_that_cannot_be_used(
    tmp_path: Path, builders: Builders, found: np.ndarray, shape: list[int]
) -> None:
    builders.forward = lambda pieces: found
    encoder = HubEncoder(NAME, folder=put(tmp_path / "a"))
    y = np.ones(1_000, np.float32)
    assert told(lambda: encoder.encode([y], sr=SR), AudioNotFiniteError) == (
        f"encoder {NAME}: gave {shape} numbers, or some that are not finite, expected [pieces, 3]; "
        "install it again"
    )


def test_files_that_were_not_noted_down(tmp_path: Path) -> None:
    encoder = HubEncoder(NAME, folder=put(tmp_path / "a", files={}))
    assert told(lambda: encoder.encode([np.ones(SR, np.float32)], sr=SR)) == (
        f"encoder {NAME}: its files were not noted down; install it again"
    )


def test_files_that_changed_or_are_gone(tmp_path: Path, builders: Builders) -> None:
    folder = put(tmp_path / "a")
    weights = folder / "model.safetensors"
    expected = f"{weights}: is not the file that was installed; install the encoder again"
    y = np.ones(1_000, np.float32)
    weights.write_bytes(b"other")
    encoder = HubEncoder(NAME, folder=folder)
    assert told(lambda: encoder.encode([y], sr=SR), ChecksumError) == expected
    weights.unlink()
    assert told(lambda: encoder.encode([y], sr=SR), ChecksumError) == expected
    assert builders.asked == [], "nothing of it was read"


def test_only_files_of_its_own_folder_are_looked_at(tmp_path: Path, builders: Builders) -> None:
    (tmp_path / "outside").write_bytes(b"weights")
    folder = put(tmp_path / "a")
    said = json.loads((folder / "encoder.json").read_text("utf-8"))
    digest = said["files"]["model.safetensors"]
    said["files"] = {"../outside": digest}
    (folder / "encoder.json").write_text(json.dumps(said), "utf-8")
    encoder = HubEncoder(NAME, folder=folder)
    y = np.ones(1_000, np.float32)
    words = told(lambda: encoder.encode([y], sr=SR), ChecksumError)
    assert words.startswith(f"{folder / 'outside'}: is not the file")
    assert builders.asked == []


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "[]", "holds no JSON object; install the encoder again"),
        ("encoder.json", "5", "holds no JSON object; install the encoder again"),
        (
            "preprocessor_config.json", "{",
            "cannot be read as JSON (JSONDecodeError: Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1)); install the encoder again",
        ),
        *(
            (
                "preprocessor_config.json", json.dumps({"sampling_rate": value}),
                f"key sampling_rate is {value!r}, expected an integer, 1 or more",
            )
            for value in (0, -1, 1.5, True, "16000", None)
        ),
        *(
            (
                "config.json", json.dumps({"model_type": "hubert", "hidden_size": value}),
                f"key hidden_size is {value!r}, expected an integer, 1 or more",
            )
            for value in (0, None)
        ),
    ],
)  # fmt: skip
def test_damaged_files_are_told(tmp_path: Path, file: str, content: str, words: str) -> None:
    folder = put(tmp_path / "a")
    (folder / file).write_text(content, "utf-8")
    assert told(lambda: HubEncoder(NAME, folder=folder)) == f"{folder / file}: {words}"


def test_a_number_of_one_is_enough(tmp_path: Path) -> None:
    folder = put(tmp_path / "a")
    config = {"model_type": "hubert", "hidden_size": 1}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 1}', "utf-8")
    encoder = HubEncoder(NAME, folder=folder)
    assert (encoder.n_features, encoder.sample_rate) == (2, 1)


def test_an_unknown_type_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", "llama")
    assert told(lambda: HubEncoder(NAME, folder=folder)) == (
        f"encoder {NAME}: is a model of the type llama, known are audio-spectrogram-transformer, "
        "mert_model, hubert, clap, passt; export it as ONNX and use onnx:PATH"
    )


@pytest.mark.parametrize(
    ("kind", "packages"),
    [
        ("clap", ("torch", "safetensors", "transformers")),
        ("passt", ("torch", "safetensors", "hear21passt")),
    ],
)
def test_every_library_it_needs_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, packages: tuple[str, ...]
) -> None:
    folder = put(tmp_path / "a", kind)
    asked: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: asked.append(package) or 1)
    HubEncoder(NAME, folder=folder)
    assert tuple(asked) == packages
    for gone in packages:
        there = set(packages) - {gone}
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda package, there=there: package in there or None
        )
        assert told(lambda: HubEncoder(NAME, folder=folder), MissingExtraError) == (
            f"encoder {NAME} needs the package {gone}, which is not installed; "
            'run: pip install "genrescope[encoders]"'
        )


# --- by name ---------------------------------------------------------------


def test_what_is_installed_is_loaded_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    for name, kind in ((NAME, "clap"), ("hf:a/b@v1.0", "clap"), ("passt", "passt")):
        assert told(lambda name=name: load(name)) == (
            f"encoder {name}: is not installed; run: genrescope encoders install {name}"
        )
        folder = name.replace(":", "-").replace("/", "-")
        put(tmp_path / "genrescope" / "encoders" / folder, kind)
        encoder = load(name)
        assert (encoder.name, encoder.folder.name) == (name, folder)


@pytest.mark.parametrize(
    "name", ["hf:", "hf:a@v1", "hf:a/b", "hf:a/b@", "hf:a/b/c@v1", "hf:a/b@v1/x", "xhf:a/b@v1"]
)
def test_a_name_has_an_owner_a_repository_and_a_commit(name: str) -> None:
    assert told(lambda: load(name)) == (
        f"encoder {name}: expected hf:OWNER/REPOSITORY@COMMIT, with the 40 hexadecimal digits of a "
        "commit or the name of a tag"
    )


@pytest.mark.parametrize("revision", ["main", "master", "COMMIT"])
def test_a_branch_is_no_commit(revision: str) -> None:
    name = f"hf:a/b@{revision}"
    assert told(lambda: load(name)) == (
        f"encoder {name}: {revision} is no commit, and what is there changes; name one by its 40 "
        "hexadecimal digits, as the hub shows it under Files and versions"
    )
