"""``genrescope evaluate``: the bundle's own figures, and nothing left out silently."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from rich.console import Console
from typer.testing import CliRunner

from genrescope.apps.cli import evaluate as command
from genrescope.apps.cli import render
from genrescope.audio.frames import FRONT_END, N_FEATURES, describe_prepared
from genrescope.errors import DataError, TableError
from genrescope.learn.bundle import Bundle
from genrescope.learn.evaluate import score
from tests.learn.tinybundle import GENRES, make_bundle, make_card

STABLE = {
    *("accuracy", "balanced_accuracy", "artist_weighted_accuracy", "macro_f1", "top3"),
    *("log_loss", "ece", "per_genre", "confusion", "intervals", "coverage"),
    *("accuracy_when_sure", "n"),
}

Run = Callable[..., Any]


def bundle_trained_on(folder: Path, track_ids: list[int | str], **changes: Any) -> Path:
    training = {**make_card(n_features=N_FEATURES)["training"], "track_ids": track_ids}
    make_bundle(folder, n_features=N_FEATURES, front_end=FRONT_END, training=training, **changes)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_trained_on(tmp_path_factory.mktemp("bundle"), [1000, 1001, 1002], sharpness=2.0)


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    app.command()(command.evaluate)

    def call(*args: object, fails: bool = False) -> Any:
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        if not fails and result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def prepare(folder: Path, labels: list[str], artists: list[str] | None = None) -> Path:
    """A prepared folder of made-up features, its files in different orders."""
    folder.mkdir(exist_ok=True)
    n = len(labels)
    rng = np.random.default_rng(0)
    ids = 1000 + np.arange(n)
    mel = rng.integers(0, 256, (n, 128, 128)).astype(np.uint8)
    mel //= rng.integers(1, 9, (n, 128, 1)).astype(np.uint8)
    mfcc = rng.normal(size=(n, 130, 20)).astype(np.float16)
    back = np.arange(n)[::-1]
    np.savez(folder / "small_mel_frames.npz", track_id=ids[back].astype(np.int32), mel=mel[back])
    np.savez(folder / "small_mfcc.npz", track_id=ids.astype(np.int32), mfcc_3s=mfcc)
    rows = ["track_id,title,genre_top,subgenres,artist_id,artist_name"]
    for i, label in enumerate(labels):
        artist = artists[i] if artists else str(i // 2)
        rows.append(f'{ids[i]},t,"{label}",,{artist},x')
    (folder / "small_tracks.csv").write_text("\n".join(rows) + "\n")
    return folder


def expected(folder: Path, bundle: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ids and probabilities, the simple way."""
    mel = np.load(folder / "small_mel_frames.npz")
    mfcc = np.load(folder / "small_mfcc.npz")
    order = np.argsort(mel["track_id"])
    features = describe_prepared(mel["mel"][order], mfcc["mfcc_3s"])
    return mfcc["track_id"], Bundle.load(bundle).run(features[:, None, :])[0]


def rounded(value: Any) -> Any:
    """The same, with numbers to nine digits: batches may differ in the last."""
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 9))


def sounds(folder: Path, n: int) -> list[str]:
    """Short pieces of sound, each different."""
    rng = np.random.default_rng(1)
    names = []
    for i in range(n):
        t = np.arange(22_050) / 22_050
        y = 0.3 * np.sin(2 * np.pi * 110 * 2**i * t) + 0.02 * (i + 1) * rng.normal(size=len(t))
        soundfile.write(folder / f"piece {i}.wav", y.astype(np.float32), 22_050)
        names.append(f"piece {i}.wav")
    return names


# --- prepared features -----------------------------------------------------


def test_the_figures_are_those_of_the_bundle(run: Run, bundle: Path, tmp_path: Path) -> None:
    labels = [GENRES[i % 8] for i in range(40)]
    data = prepare(tmp_path / "data", labels)
    result = run("--data", data, "--bundle", bundle, "--out", tmp_path / "x.json")
    assert result.exit_code == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert set(found) >= STABLE
    _, p = expected(data, bundle)
    y = np.array([GENRES.index(label) for label in labels])
    groups = [str(i // 2) for i in range(40)]
    by_hand = score(y, p, genres=GENRES, groups=groups, threshold=0.5).to_dict()
    for name in STABLE:
        assert rounded(by_hand[name]) == rounded(found[name]), name
    assert found["n_artists"] == 20
    assert found["resampling"]["unit"] == "artist"
    for words in ("Accuracy", "Macro-F1", "Confusion", "Reliability", *GENRES):
        assert words in result.stdout
    assert f"{found['accuracy']:.3f}" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "x.json"]


def test_batches_bound_the_memory(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(tmp_path / "data", [GENRES[i % 8] for i in range(20)])
    whole = run("--data", data, "--bundle", bundle, "--json").stdout
    sizes = []

    def spy(mel: Any, mfcc: Any) -> Any:
        sizes.append(len(mel))
        return describe_prepared(mel, mfcc)

    monkeypatch.setattr("genrescope.audio.frames.describe_prepared", spy)
    monkeypatch.setattr(command, "_BATCH", 7)
    again = run("--data", data, "--bundle", bundle, "--json").stdout
    assert sizes == [7, 7, 6]
    assert json.loads(again)["log_loss"] == pytest.approx(json.loads(whole)["log_loss"])


def test_without_artists_intervals_are_by_track(run: Run, bundle: Path, tmp_path: Path) -> None:
    data = prepare(tmp_path / "data", [GENRES[i % 8] for i in range(20)], artists=[""] * 20)
    found = json.loads(run("--data", data, "--bundle", bundle, "--json").stdout)
    assert found["resampling"]["unit"] == "track"
    assert found["artist_weighted_accuracy"] is None
    assert found["intervals"]["accuracy"] is not None


def test_the_conformal_sets_are_measured(run: Run, bundle: Path, tmp_path: Path) -> None:
    data = prepare(tmp_path / "data", [GENRES[i % 8] for i in range(30)])
    found = json.loads(run("--data", data, "--bundle", bundle, "--json").stdout)
    _, p = expected(data, bundle)
    sets = (1 - p <= 0.9) | (p == p.max(axis=1, keepdims=True))
    assert found["conformal"]["mean_set_size"] == pytest.approx(sets.sum(axis=1).mean())
    assert found["conformal"]["coverage"] == pytest.approx(
        sets[np.arange(30), np.arange(30) % 8].mean()
    )


# --- tracks that were trained on -------------------------------------------


@pytest.mark.parametrize(
    ("trained", "tracks", "words"),
    [
        (list(range(1000, 1010)), 10, "these are training figures"),
        (["1000", "1001"], 2, "partly training figures"),  # a card may have ids as text
        ([1, 2], 0, "none of these tracks was trained on"),
        ([], None, "the card lists no training tracks"),
    ],
)
def test_training_figures_say_so(
    run: Run, tmp_path: Path, trained: list[int | str], tracks: int | None, words: str
) -> None:
    bundle = bundle_trained_on(tmp_path / "bundle", trained)
    data = prepare(tmp_path / "data", [GENRES[i % 8] for i in range(10)])
    result = run("--data", data, "--bundle", bundle, "--out", tmp_path / "x.json")
    overlap = json.loads((tmp_path / "x.json").read_text())["training_overlap"]
    assert (overlap["tracks"], overlap["of"]) == (tracks, 10)
    assert words in overlap["note"]
    assert words in result.stdout
    assert result.stdout.count("WARNING") == (2 if tracks else 0)
    quiet = run("--data", data, "--bundle", bundle, "--json")
    assert ("WARNING" in quiet.stderr) == bool(tracks)


def test_a_recogniser_that_was_taught_knows_its_files_by_name(run: Run, tmp_path: Path) -> None:
    bundle = bundle_trained_on(tmp_path / "bundle", ["piece 0.wav", "elsewhere.wav"])
    names = sounds(tmp_path, 2)
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,genre\n" + "".join(f"{name},Rock\n" for name in names))
    found = json.loads(
        run("--manifest", manifest, "--bundle", bundle, "--workers", 0, "--json").stdout
    )
    overlap = found["training_overlap"]
    assert (overlap["tracks"], overlap["of"], overlap["by"]) == (1, 2, "names of files")


# --- labels ----------------------------------------------------------------


def test_labels_that_are_not_known_are_left_out_and_counted(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    labels = ["Rock", "hip hop", "Jazz", "Jazz", "Polka dots", "", "Techno", "FOLK", "Pop"]
    data = prepare(tmp_path / "data", labels)
    result = run("--data", data, "--bundle", bundle, "--out", tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["n"] == 5
    assert found["left_out"] == {
        "tracks": 4,
        "unknown_genres": {"Jazz": 2, "Polka dots": 1},
        "without_genre": 1,
    }
    # A genre below a known one counts as that one, and is listed; a spelling is no other genre.
    assert found["counted_as"] == {"Techno": {"genre": "Electronic", "tracks": 1}}
    support = {genre: row["support"] for genre, row in found["per_genre"].items()}
    assert {g for g, n in support.items() if n == 1} == {
        "Rock",
        "Hip-Hop",
        "Electronic",
        "Folk",
        "Pop",
    }
    for words in ("2 tracks of Jazz", "1 track of Polka dots", "without a genre", "Techno counts"):
        assert words in result.stdout


def test_no_label_is_known(run: Run, bundle: Path, tmp_path: Path) -> None:
    data = prepare(tmp_path / "data", ["Jazz", "Blues", "Jazz"])
    result = run("--data", data, "--bundle", bundle, fails=True)
    assert isinstance(result.exception, DataError)
    assert "none of its 3 tracks" in str(result.exception)
    assert "Jazz (2)" in str(result.exception)
    assert "Hip-Hop" in str(result.exception)


def test_genres_that_fma_does_not_have(run: Run, tmp_path: Path) -> None:
    bundle = bundle_trained_on(tmp_path / "bundle", [1], genres=("Gabber 3000", "hiphop"))
    data = prepare(tmp_path / "data", ["Gabber 3000", "Hip-Hop", "Rock"])
    found = json.loads(run("--data", data, "--bundle", bundle, "--json").stdout)
    assert {g: row["support"] for g, row in found["per_genre"].items()} == {
        "Gabber 3000": 1,
        "hiphop": 1,
    }
    assert found["left_out"]["unknown_genres"] == {"Rock": 1}
    assert found["counted_as"] == {}


# --- sound -----------------------------------------------------------------


def test_sound_with_files_that_fail(run: Run, bundle: Path, tmp_path: Path) -> None:
    names = sounds(tmp_path, 4)
    (tmp_path / "text.mp3").write_text("no sound")
    rows = ["path,genre,artist_id"]
    rows += [
        f"{name},{genre},a{i // 2}"
        for i, (name, genre) in enumerate(
            zip(names, ("Rock", "Pop", "hip-hop", "Folk"), strict=True)
        )
    ]
    rows += ["text.mp3,Rock,a9", "gone.wav,Rock,a9", "never opened.wav,Polka dots,a9"]
    manifest = tmp_path / "m.csv"
    manifest.write_text("\n".join(rows) + "\n")
    result = run("--manifest", manifest, "--bundle", bundle, "--out", tmp_path / "x.json")
    assert result.exit_code == 1
    found = json.loads((tmp_path / "x.json").read_text())
    assert (found["n"], found["n_artists"], found["n_failed"]) == (4, 2, 2)
    errors = {Path(row["path"]).name: row["error"] for row in found["errors"]}
    assert errors == {"text.mp3": "AudioUnsupportedError", "gone.wav": "AudioNotFoundError"}
    assert "2 of 6 files could not be scored" in result.stderr
    assert "text.mp3" in result.stderr
    assert "gone.wav" in result.stderr
    assert found["left_out"]["unknown_genres"] == {"Polka dots": 1}
    assert found["training_overlap"]["tracks"] is None

    from genrescope.learn.recogniser import Recogniser

    recogniser = Recogniser.load(bundle)
    predicted = [recogniser.predict(tmp_path / name) for name in names]
    own = [
        p.probabilities[g]
        for p, g in zip(predicted, ("Rock", "Pop", "Hip-Hop", "Folk"), strict=True)
    ]
    assert found["log_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-5)


def test_nothing_could_be_read(run: Run, bundle: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,genre\ngone.wav,Rock\nlost.wav,Pop\n")
    result = run(
        "--manifest", manifest, "--bundle", bundle, "--workers", 0, "--out", tmp_path / "x.json"
    )
    assert result.exit_code == 1
    found = json.loads((tmp_path / "x.json").read_text())
    assert set(found) >= STABLE
    assert (found["n"], found["n_failed"], found["accuracy"]) == (0, 2, None)
    assert "2 of 2 files" in result.stderr


def test_a_manifest_without_genres(run: Run, bundle: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,artist_id\na.wav,1\n")
    result = run("--manifest", manifest, "--bundle", bundle, fails=True)
    assert isinstance(result.exception, TableError)
    assert "no column genre" in str(result.exception)
    assert "path, artist_id" in str(result.exception)


@pytest.mark.parametrize(("column", "by"), [("", "file names"), ("track_id", "track_id")])
def test_sound_that_was_trained_on(run: Run, tmp_path: Path, column: str, by: str) -> None:
    """FMA names its files by track id."""
    bundle = bundle_trained_on(tmp_path / "bundle", [2])
    names = sounds(tmp_path, 2)
    if not column:
        for old, new in zip(names, ("000002.wav", "000003.wav"), strict=True):
            (tmp_path / old).rename(tmp_path / new)
        names = ["000002.wav", "000003.wav"]
    rows = [f"path,genre,{column or 'comment'}"]
    rows += [f"{name},Rock,{i + 2}" for i, name in enumerate(names)]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    args = ("--manifest", tmp_path / "m.csv", "--bundle", bundle, "--workers", 0, "--json")
    overlap = json.loads(run(*args).stdout)["training_overlap"]
    assert (overlap["tracks"], overlap["of"], overlap["by"]) == (1, 2, by)


def test_real_clips(run: Run, bundle: Path, data_dir: Path) -> None:
    """The manifest of the shared clips says genre_top, as FMA does."""
    manifest = data_dir / "audio" / "fma_clips.csv"
    found = json.loads(run("--manifest", manifest, "--bundle", bundle, "--json").stdout)
    assert (found["n"], found["n_failed"]) == (8, 0)
    assert found["training_overlap"]["tracks"] == 0
    assert sum(map(sum, found["confusion"])) == 8


# --- usage and output ------------------------------------------------------


@pytest.mark.parametrize("args", [(), ("--data", "x", "--manifest", "y")])
def test_exactly_one_source(run: Run, args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert "give one of them" in result.stderr


def test_a_json_file_that_cannot_be_is_refused_before_the_work(run: Run, tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "no" / "x.json"):
        result = run("--data", "not there", "--out", target)
        assert result.exit_code == 2
        assert "--out" in result.stderr


def test_a_missing_folder_is_an_error(run: Run, bundle: Path, tmp_path: Path) -> None:
    result = run("--data", tmp_path / "none", "--bundle", bundle, fails=True)
    assert isinstance(result.exception, DataError)


def test_json_on_stdout_is_nothing_but_json(run: Run, bundle: Path, tmp_path: Path) -> None:
    data = prepare(tmp_path / "data", ["Jazz", *(GENRES[i % 8] for i in range(9))])
    result = run("--data", data, "--bundle", bundle, "--json")
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))
    assert found["n"] == 9
    assert "Left out: 1 track of Jazz" in result.stderr


def test_json_is_written_whole_or_not_at_all(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(tmp_path / "data", [GENRES[i % 8] for i in range(8)])
    target = tmp_path / "x.json"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = run("--data", data, "--bundle", bundle, "--json", target, fails=True)
    assert isinstance(result.exception, DataError)
    assert "No space left" in str(result.exception)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "x.json"]


def test_a_table_in_a_pipe_is_plain(run: Run, bundle: Path, tmp_path: Path) -> None:
    data = prepare(tmp_path / "data", [GENRES[i % 8] for i in range(16)])
    result = run("--data", data, "--bundle", bundle)
    assert "\x1b" not in result.stdout
    assert result.stderr == ""  # no progress bar


def test_nothing_is_cut_on_a_terminal(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console of a narrow terminal wraps every note."""
    out = io.StringIO()
    narrow = Console(file=out, width=60, highlight=False, markup=False, soft_wrap=True)
    monkeypatch.setattr(render, "console", lambda *_: narrow)
    data = prepare(tmp_path / "data", ["Jazz", *(GENRES[i % 8] for i in range(9))])
    run("--data", data, "--bundle", bundle, "--out", tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= 60
    words = " ".join(out.getvalue().split())
    for note in (*found["notes"], found["training_overlap"]["note"], "which it does not know."):
        assert note in words
