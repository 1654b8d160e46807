"""Encoders by name, side by side, and as a card asks for them."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.audio import frames
from genrescope.audio.encoders import combine, describe_tags, find_front_end, get_encoder
from genrescope.audio.encoders.frames_encoder import WholeFrames
from genrescope.audio.encoders.install import install_encoder, known_encoders, remove_encoder
from genrescope.errors import BundleError, DataError
from tests.audio.encoders.conftest import COMMIT, make_graph
from tests.audio.encoders.test_contract import SR, sound


def through_json(section: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(section))
    return copy


def test_frames_are_the_statistics_of_whole_rows() -> None:
    y = sound(35)
    rows = get_encoder("frames").describe_samples(y, sr=SR).features
    whole = frames.describe_samples(y, sr=SR).features
    np.testing.assert_array_equal(rows, whole[:, : frames.N_STATISTICS])


def test_a_card_that_says_frames_gets_whole_rows() -> None:
    front_end = find_front_end(through_json(frames.FRONT_END))
    assert isinstance(pickle.loads(pickle.dumps(front_end)), WholeFrames)
    assert front_end.card_section() == frames.FRONT_END
    y = sound(3)
    np.testing.assert_array_equal(
        front_end.describe_samples(y, sr=SR).features, frames.describe_samples(y, sr=SR).features
    )


def test_several_side_by_side(home: Path, tmp_path: Path) -> None:
    name = f"onnx:{make_graph(tmp_path)}"
    both = combine([name, "frames"])
    y = sound(40)
    described = both.describe_samples(y, sr=SR)
    assert both.n_features == 8 + frames.N_STATISTICS == described.features.shape[1]
    for part, columns in both.columns.items():
        alone = get_encoder(part).describe_samples(y, sr=SR).features
        np.testing.assert_array_equal(described.features[:, columns], alone)
    found = find_front_end(through_json(both.card_section()))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(found)).describe_samples(y, sr=SR).features, described.features
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "at least one"), (["frames", "frames"], "named twice"), (["nothing"], "none of that")],
)
def test_names_that_cannot_be_combined(names: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        combine(names)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("musicnn:MTT", "genrescope encoders install musicnn:MTT"),
        (f"hf:a/b@{COMMIT}", f"genrescope encoders install hf:a/b@{COMMIT}"),
        ("passt", "genrescope encoders install passt"),
    ],
)
def test_a_missing_one_says_how_to_have_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda app: tmp_path / app)
    with pytest.raises(DataError, match=command):
        get_encoder(name)
    said = {"name": name, "version": 1, "n_features": 400, "parameters": {}}
    section = {
        "name": "encoders", "version": 1, "n_features": 400, "parameters": {"encoders": [said]},
    }  # fmt: skip
    with pytest.raises(BundleError, match=f"B: needs the encoder {name}; .*{command}"):
        find_front_end(section, where="B")


def refusal(section: dict[str, Any], **where: str) -> str:
    with pytest.raises(BundleError) as refused:
        find_front_end(section, **where)
    return str(refused.value)


WAY_OUT = "install the version of genrescope that the bundle was made with, or train it again"


def test_a_card_is_compared_with_what_is_here() -> None:
    section = through_json(combine(["frames"]).card_section())
    (said,) = section["parameters"]["encoders"]

    def with_encoder(**changes: Any) -> dict[str, Any]:
        return {**section, "parameters": {"encoders": [{**said, **changes}]}}

    for changes, needed in (
        ({"version": 2}, "version 2 with 2872 features"),
        ({"n_features": 5}, "version 1 with 5 features"),
    ):
        assert refusal(with_encoder(**changes)) == (
            f"the bundle: needs the encoder frames {needed}, this genrescope has frames version 1 "
            f"with 2872; {WAY_OUT}"
        )
    parameters = said["parameters"]
    for changed, value, here in (("top_hz", 9000.0, parameters["top_hz"]), ("extra", 1, None)):
        assert refusal(with_encoder(parameters={**parameters, changed: value}), where="B") == (
            f"B: was trained on the encoder frames with {changed} = {value}, the one here has "
            f"{here}; install the same one, or train the bundle again"
        )
    # What a newer encoder says beyond that does no harm.
    fewer = {key: parameters[key] for key in list(parameters)[1:]}
    assert find_front_end(with_encoder(parameters=fewer)).n_features == 2872


def test_a_card_that_is_damaged_says_what_it_should_list() -> None:
    section = through_json(combine(["frames"]).card_section())
    (said,) = section["parameters"]["encoders"]
    for encoders in (
        ..., None, [], {}, "frames", ["frames"], [said, 5],
        *([{key: value for key, value in said.items() if key != left}] for left in
          ("name", "version", "n_features", "parameters")),
        [{**said, "name": 5}], [{**said, "parameters": []}], [said, {**said, "name": None}],
    ):  # fmt: skip
        parameters = {} if encoders is ... else {"encoders": encoders}
        assert refusal({**section, "parameters": parameters}, where="B") == (
            "B: key front_end.parameters.encoders does not list encoders with name, version, "
            "n_features, parameters; the card was damaged: get the bundle again"
        )


def test_another_front_end_is_refused() -> None:
    for changes, needed in (
        ({"version": 7}, "frames version 7 with 20192 features"),
        ({"name": "spectra"}, "spectra version 1 with 20192 features"),
        ({"n_features": 3}, "frames version 1 with 3 features"),
    ):
        assert refusal({**frames.FRONT_END, **changes}) == (
            f"the bundle: needs the front end {needed}, this genrescope has frames version 1 with "
            f"20192; {WAY_OUT}"
        )
    section = through_json(combine(["frames"]).card_section())
    assert refusal({**section, "version": 2}, where="B") == (
        "B: needs the front end encoders version 2 with 2872 features, this genrescope has "
        f"encoders version 1; {WAY_OUT}"
    )
    assert refusal({**section, "n_features": 9}, where="B") == (
        "B: needs the front end encoders version 1 with 9 features, this genrescope has encoders "
        f"version 1 with 2872; {WAY_OUT}"
    )


def test_an_encoder_that_is_not_here_is_told_with_its_own_words() -> None:
    said = {"name": "vggish", "version": 1, "n_features": 1, "parameters": {}}
    section = {
        "name": "encoders", "version": 1, "n_features": 1, "parameters": {"encoders": [said]},
    }  # fmt: skip
    assert refusal(section) == f"the bundle: needs the encoder vggish; {NO_SUCH}"


NO_SUCH = (
    "encoder vggish: there is none of that name; `genrescope encoders list` names those there are "
    "(frames, hf, musicnn, onnx, passt)"
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vggish", NO_SUCH),
        ("frames:all", "encoder frames:all: frames has no variants; name it frames"),
        (
            "musicnn:big",
            "encoder musicnn:big: there is musicnn, musicnn:MTT; name one of them",
        ),
        ("onnx", "encoder onnx: name the graph, as onnx:PATH"),
        ("onnx:", "encoder onnx:: name the graph, as onnx:PATH"),
        ("passt:x", "encoder passt:x: expected hf:OWNER/REPOSITORY@COMMIT, with the 40 hexadecimal "
         "digits of a commit or the name of a tag"),
    ],
)  # fmt: skip
def test_a_name_that_is_none_says_which_there_are(name: str, words: str) -> None:
    with pytest.raises(DataError) as refused:
        get_encoder(name)
    assert str(refused.value) == words


def test_a_graph_is_found_by_its_hash_after_it_moved(home: Path, tmp_path: Path) -> None:
    name = f"onnx:{make_graph(tmp_path)}"
    section = through_json(combine([name]).card_section())
    kept = install_encoder(name)
    (listed,) = [entry for entry in known_encoders() if entry.name == name]
    assert listed.installed
    assert listed.licence == "CC0-1.0"
    shutil.rmtree(tmp_path)
    assert find_front_end(section).card_section() == section
    assert remove_encoder(name) == kept
    with pytest.raises(BundleError, match="genrescope encoders install onnx:PATH"):
        find_front_end(section)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 9}, "key format is 9"),
        ({"licence": ""}, "key licence"),
        ({"sample_rate": 5}, "key sample_rate"),
        ({"input": {"kind": "video"}}, r"key input\.kind"),
        ({"embedding": {"tensor": "embedding"}}, "key embedding"),
        ({"tags": {"tensor": "tags", "names": []}}, "key tags"),
    ],
)
def test_a_declaration_is_checked(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        get_encoder(f"onnx:{make_graph(tmp_path, **changes)}")


def test_a_graph_that_is_not_what_is_declared(tmp_path: Path) -> None:
    path = make_graph(tmp_path, embedding={"tensor": "embedding", "size": 5})
    with pytest.raises(DataError, match="declaration says 5 numbers"):
        get_encoder(f"onnx:{path}").describe_samples(sound(1), sr=SR)
    path = make_graph(tmp_path, embedding={"tensor": "missing", "size": 4})
    with pytest.raises(DataError, match=r"embedding\.tensor = missing"):
        get_encoder(f"onnx:{path}").describe_samples(sound(1), sr=SR)
    path.write_bytes(b"no graph")
    with pytest.raises(DataError, match="cannot be opened"):
        get_encoder(f"onnx:{path}").describe_samples(sound(1), sr=SR)
    path.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=r"tiny\.json: cannot be read"):
        get_encoder(f"onnx:{path}")


def test_tags_of_files(tmp_path: Path) -> None:
    import soundfile

    name = f"onnx:{make_graph(tmp_path)}"
    song, missing = tmp_path / "song.wav", tmp_path / "missing.wav"
    soundfile.write(song, sound(3), SR)
    (first, heard), (second, failed) = describe_tags([song, missing], name, workers=0)
    assert (first, second) == (song, missing)
    assert isinstance(failed, FileNotFoundError)
    assert not isinstance(heard, Exception)
    assert sorted(heard.tags) == ["loud", "soft"]
    values = list(heard.tags.values())
    assert values == sorted(values, reverse=True)
    assert heard.top(1)[0][0] == next(iter(heard.to_dict()["tags"]))
    with pytest.raises(DataError, match="gives no tags; musicnn does"):
        describe_tags([song], "frames")
