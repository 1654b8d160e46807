"""Options by file and by environment: what holds, what is refused, what is written."""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from genrescope.apps import configuration
from genrescope.apps.cli.lazy import leaves, options_of
from genrescope.apps.cli.main import app
from genrescope.apps.settings import NEVER, SHARED, Option, key_of
from genrescope.apps.toml_lines import literal, with_key, without_key
from genrescope.errors import ConfigurationError
from tests.apps.command import run

TRACKS = "title,artist\nThis World,AWOL\nFreeway,Kurt Vile\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file of its own for this process."""
    for name in list(os.environ):
        if name.startswith("GENRESCOPE_"):
            monkeypatch.delenv(name)
    path = tmp_path / "config.toml"
    monkeypatch.setenv("GENRESCOPE_CONFIG", str(path))
    return path


def ask(*words: str) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, output, complaints."""
    import contextlib
    import io

    from genrescope.apps.cli.command import run as run_here

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_here(app, list(words))
    return code, out.getvalue(), err.getvalue()


def all_options() -> list[Option]:
    return [one for path, command in leaves(get_command(app)) for one in options_of(command, path)]


# --- what holds --------------------------------------------------------------


def shown(*command: str) -> dict[str, tuple[Any, str, str | None]]:
    code, out, err = ask("config", "show", *command, "--json")
    assert code == 0, err
    settings = json.loads(out)["settings"]
    return {one["option"]: (one["value"], one["source"], one["where"]) for one in settings}


def test_the_order_is_environment_file_defaults_table_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not file.exists()
    monkeypatch.delenv("GENRESCOPE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(file.parent))
    assert shown("predict")["top"] == (3, "default", None)
    monkeypatch.setenv("GENRESCOPE_CONFIG", str(file))
    file.write_text(
        "[defaults]\nworkers = 1\nbundle = 'one'\n\n[predict]\ntop = 4\nbundle = 'two'\n"
    )
    found = shown("predict")
    assert found["workers"] == (1, "file", f"{configuration.short_path(file)}:2")
    assert found["bundle"] == ("two", "file", f"{configuration.short_path(file)}:7")
    assert shown("teach")["workers"][0] == 1
    monkeypatch.setenv("GENRESCOPE_DEFAULTS_BUNDLE", "three")
    assert shown("predict")["bundle"] == ("three", "environment", "GENRESCOPE_DEFAULTS_BUNDLE")
    monkeypatch.setenv("GENRESCOPE_PREDICT_BUNDLE", "four")
    assert shown("predict")["bundle"] == ("four", "environment", "GENRESCOPE_PREDICT_BUNDLE")
    assert shown("info")["bundle"][0] == "three"
    monkeypatch.setenv("GENRESCOPE_PREDICT_BUNDLE", "")  # as if it were not there
    assert shown("predict")["bundle"][0] == "three"


def test_a_command_gets_what_is_set_and_the_command_line_wins(tmp_path: Path) -> None:
    table, config = tmp_path / "tracks.csv", tmp_path / "config.toml"
    table.write_text(TRACKS)
    config.write_text("[predict]\njsonl = true\ntop = 1\n")
    words = ("predict", "--table", table)

    def first(*more: str, **environment: str) -> dict[str, Any]:
        done = run(*words, *more, GENRESCOPE_CONFIG=str(config), **environment)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.decode().splitlines()
        assert len(lines) == 2
        return json.loads(lines[0])

    assert len(first()["top"]) == 1
    assert len(first(GENRESCOPE_PREDICT_TOP="2")["top"]) == 2
    assert len(first("--top", "4", GENRESCOPE_PREDICT_TOP="2")["top"]) == 4


def test_a_list_from_the_environment_keeps_its_spaces_and_commas(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("")
    monkeypatch.setenv("GENRESCOPE_TAG_NEVER", "Audiobook;Folk, World, & Country")
    assert shown("tag")["never"][0] == ["Audiobook", "Folk, World, & Country"]


def test_an_error_about_options_says_which_were_not_typed(file: Path) -> None:
    file.write_text("[predict]\njson = true\n")
    code, _, err = ask("predict", "--csv", "x.mp3")
    assert code == 2
    assert f"--json is set by {configuration.short_path(file)}:2" in err
    assert "--csv is set by" not in err


def test_no_file_in_the_current_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("genrescope.toml", ".genrescope.toml", "config.toml", "pyproject.toml"):
        (tmp_path / name).write_text("[predict]\ntop = 1\n[tool.genrescope.predict]\ntop = 1\n")
    monkeypatch.chdir(tmp_path)
    home = str(tmp_path / "home")
    done = run("config", "show", "predict", "--json", HOME=home, XDG_CONFIG_HOME=home)
    top = next(o for o in json.loads(done.stdout)["settings"] if o["option"] == "top")
    assert top["source"] == "default"


# --- what is refused ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[predict]\ntpo = 3\n", 2, ["tpo", "--tpo", "did you mean top?"]),
        ("[predict]\n\ntop = '5'\n", 3, ["top", "number", "without quotes"]),
        ("[predict]\ntop = 5.0\n", 2, ["top = 5.0", "whole number"]),
        ("[predict]\ntop = true\n", 2, ["top = true", "not true or false"]),
        ("[predict]\ntop = 0\n", 2, ["top = 0", "1"]),
        ("[predict]\nbundle = 3\n", 2, ["bundle = 3", 'quotes: "3"']),
        ("[predict]\njson = 'yes'\n", 2, ["json", "true or false"]),
        ("[predict]\ntop = [1, 2]\n", 2, ["top", "one value"]),
        ("[predict]\ntop = {a = 1}\n", 2, ["top", "text, a number"]),
        ("[predcit]\ntop = 1\n", 1, ["[predcit]", "did you mean [predict]?"]),
        ("top = 1\n[predict]\n", 1, ["top", "[predict]"]),
        ("[defaults]\ntop = 1\n", 2, ["top", "bundle", "workers"]),
        ("[defaults]\nbundel = 'x'\n", 2, ["bundel", "did you mean bundle?"]),
        ("[defaults]\nworkers = -1\n", 2, ["workers = -1", "0"]),
        ("[predict\ntop = 1\n", None, ["line 1", "TOML"]),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(
    file: Path, text: str, line: int | None, words: list[str]
) -> None:
    file.write_text(text)
    for command in (("predict", "x.mp3"), ("config", "show", "predict")):
        code, _, err = ask(*command)
        assert code == 2
        assert err.count("\n") == 1
        place = configuration.short_path(file) + (f":{line}: " if line else ": ")
        assert err.startswith(f"genrescope: {place}"), err
        assert all(word in err for word in words), err
    code, _, err = ask("predict", "--help")  # must be there to mend it
    assert (code, err) == (0, "")


def test_a_mistake_in_the_table_of_another_command_stops_nothing(file: Path) -> None:
    file.write_text("[teach]\nworkres = 1\n[features.extract]\nbatsch = 1\n")
    assert ask("config", "show", "predict")[0] == 0
    code, _, err = ask("config", "show")
    assert code == 2
    assert "workres" in err
    code, _, err = ask("features", "extract", "nowhere", "--out", "x")
    assert code == 2
    assert "batsch" in err


@pytest.mark.parametrize("key", sorted(NEVER))
def test_what_changes_files_is_for_the_command_line_only(
    file: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    owners = [
        (path, parameter)
        for path, command in leaves(get_command(app))
        for parameter in command.params
        if parameter.param_type_name == "option" and key_of(parameter.opts) == key
    ]
    assert owners, "no option is called so"
    assert key not in {option.key for option in all_options()}
    path = next((p for p, _ in owners if p[0] not in ("doctor", "config")), None)
    if path is None:
        return
    name = ".".join(path)
    code, _, err = ask("config", "set", f"{name}.{key}", "true")
    assert code == 2
    assert NEVER[key] in err
    assert not file.exists()
    file.write_text(f"[{name}]\n{key} = true\n")
    code, _, err = ask(*path, "x")
    assert code == 2
    assert NEVER[key] in err
    file.write_text("")
    variable = configuration.variable_of(path, key)
    monkeypatch.setenv(variable, "1")
    code, _, err = ask(*path, "x")
    assert code == 2
    assert err.startswith(f"genrescope: {variable}: ")
    assert NEVER[key] in err


def test_flags_that_write_or_remove_are_among_those() -> None:
    """One that is new and says so in its help must have been thought about."""
    # These write where --out or --write say.
    thought_of = {"existing", "export", "markdown", "page", "sound", "tensorboard"}
    for path, command in leaves(get_command(app)):
        for one in command.params:
            words = set(re.findall(r"[a-z]+", (one.help or "").lower()))
            if one.param_type_name == "option" and words & {"write", "remove", "delete", "replace"}:
                key = key_of(one.opts)
                assert key in NEVER or key in thought_of, (path, key, one.help)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GENRESCOPE_PREDICT_TPO", "3", ["did you mean GENRESCOPE_PREDICT_TOP?"]),
        ("GENRESCOPE_PREDICT_TOP", "many", ["=many", "number", "unset"]),
        ("GENRESCOPE_PREDICT_TOP", "0", ["=0", "1"]),
        ("GENRESCOPE_PREDICT_JSON", "perhaps", ["=perhaps"]),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    file.write_text("")
    monkeypatch.setenv(name, value)
    code, _, err = ask("predict", "x.mp3")
    assert code == 2
    assert err.startswith(f"genrescope: {name}")
    assert all(word in err for word in words), err


def test_a_variable_that_nobody_reads_is_told_of(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("")
    monkeypatch.setenv("GENRESCOPE_JUORNAL", "x")
    code, _, err = ask("config", "show")
    assert code == 0
    assert "GENRESCOPE_JUORNAL" in err
    assert "GENRESCOPE_JOURNAL?" in err


def test_a_file_that_is_named_and_not_there(file: Path) -> None:
    code, _, err = ask("predict", "x.mp3")
    assert code == 2
    assert "GENRESCOPE_CONFIG" in err


# --- tables against the commands ---------------------------------------------


def test_shared_options_are_shared_and_mean_one_thing() -> None:
    options = all_options()
    counts = Counter(option.key for option in options)
    assert all(counts[key] >= 2 for key in SHARED), counts
    for key in SHARED:
        assert len({(one.many, one.flag) for one in options if one.key == key}) == 1, key


def test_every_option_has_a_variable_of_its_own() -> None:
    options = all_options()
    assert len(options) > 150
    assert len({option.variable for option in options}) == len(options)
    assert not {option.variable for option in options} & set(configuration.VARIABLES)


def test_every_default_would_be_taken() -> None:
    """What `config show` prints can be put into the file as it is."""
    for option in all_options():
        if option.default not in (None, []) and "config" not in option.command:
            assert configuration.check_value(option, option.default) is None, option


# --- set and unset -----------------------------------------------------------


def test_set_writes_one_line_and_keeps_the_others(file: Path) -> None:
    text = (
        "# mine\n[tag] # tags\nnever = [ # these\n  'Audiobook',\n]\n\n"
        "[predict]\ntop = 5 # enough\n\n[features.extract]\nbatch = 64\n"
    )
    file.write_text(text)
    file.chmod(0o640)
    assert ask("config", "set", "predict.top", "7")[0] == 0
    assert file.read_text() == text.replace("top = 5", "top = 7")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert ask("config", "set", "tag.never", "Speech", "Spoken Word")[0] == 0
    assert 'never = ["Speech", "Spoken Word"]\n\n[predict]' in file.read_text()
    assert ask("config", "set", "tag.min_confidence", "0.8")[0] == 0
    assert 'Word"]\nmin-confidence = 0.8\n' in file.read_text()
    assert ask("config", "set", "teach.workers", "2")[0] == 0
    assert file.read_text().endswith("batch = 64\n\n[teach]\nworkers = 2\n")
    assert ask("config", "unset", "predict.top")[0] == 0
    assert "enough" not in file.read_text()
    code, out, _ = ask("config", "unset", "predict.top")
    assert code == 1
    assert "not set" in out
    assert file.read_text().startswith("# mine\n[tag] # tags\n")
    assert [one.name for one in file.parent.iterdir()] == ["config.toml"]


def test_set_makes_the_file_and_follows_a_link(file: Path) -> None:
    assert ask("config", "set", "defaults.workers", "1")[0] == 0
    assert file.read_text() == "[defaults]\nworkers = 1\n"
    real = file.with_name("dotfiles.toml")
    file.rename(real)
    file.symlink_to(real)
    assert ask("config", "set", "defaults.workers", "2")[0] == 0
    assert file.is_symlink()
    assert real.read_text() == "[defaults]\nworkers = 2\n"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("predict.tpo", "1", ["--tpo", "did you mean top?"]),
        ("predict.top", "many", ["many", "number"]),
        ("tag.id3", "7", ["7", "keep"]),
        ("predcit.top", "1", ["predcit", "predict"]),
        ("features.top", "1", ["features"]),
        ("top", "1", ["predict.top"]),
        ("defaults.top", "1", ["bundle"]),
    ],
)
def test_set_refuses_what_the_file_could_not_say(
    file: Path, key: str, value: str, words: list[str]
) -> None:
    code, _, err = ask("config", "set", key, value)
    assert code == 2
    assert all(word in err for word in words), err
    assert not file.exists() or not file.read_text()


def test_what_one_line_cannot_change_is_left_to_an_editor(file: Path) -> None:
    file.write_text("predict = {top = 5}\n")
    code, _, err = ask("config", "set", "predict.top", "7")
    assert code == 2
    assert "editor" in err
    assert file.read_text() == "predict = {top = 5}\n"


def test_a_mistake_can_be_unset(file: Path) -> None:
    file.write_text("[predict]\ntpo = 5\n")
    assert ask("config", "unset", "predict.tpo")[0] == 0
    assert ask("config", "show", "predict")[0] == 0


@given(
    st.dictionaries(
        st.sampled_from(["top", "bundle", "min-confidence", "never"]),
        st.one_of(
            st.booleans(),
            st.integers(-(2**60), 2**60),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(),
            st.lists(st.text(), max_size=3),
        ),
    ),
    st.sampled_from(["", "# a comment\n", "[predict]\n# inside\n", "[tag]\nid3 = '3' # x # y\n"]),
)
def test_what_is_written_is_read(values: dict[str, Any], before: str) -> None:
    import tomllib

    text = before
    try:
        for key, value in values.items():
            text = with_key(text, ("predict",), key, value)
    except ValueError:
        # Halves of surrogate pairs and the like, which no TOML can hold.
        assert any(not _encodes(value) for value in values.values())
        return
    assert tomllib.loads(text).get("predict", {}) == values
    for line in before.splitlines():
        assert line in text.splitlines()
    for key in values:
        text = without_key(text, ("predict",), key) or ""
        assert key not in tomllib.loads(text).get("predict", {})


def _encodes(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return all(not isinstance(p, str) or p.isprintable() for p in parts)


def test_a_literal_is_toml() -> None:
    assert literal('a "b" \\ \n') == '"a \\"b\\" \\\\ \\n"'


def test_show_fits_the_terminal(file: Path) -> None:
    from tests.apps.command import on_terminal

    file.write_text(f"[predict]\nbundle = '{'long/' * 20}mine'\n")
    for width in (60, 80, 160):
        code, out = on_terminal(
            "config", "show", "predict", width=width, GENRESCOPE_CONFIG=str(file)
        )
        assert code == 0
        assert "bundle" in out
        assert "top" in out


def test_path_prints_where_the_file_is(file: Path) -> None:
    assert ask("config", "path") == (0, f"{file}\n", "")


def test_an_unreadable_file(file: Path) -> None:
    file.mkdir()
    code, _, err = ask("predict", "x")
    assert code == 2
    assert "cannot be read" in err
    file.rmdir()
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in ask("predict", "x")[2]


def test_errors_have_a_name() -> None:
    assert issubclass(ConfigurationError, ValueError)


# --- the page ----------------------------------------------------------------


def part_of_page(name: str) -> str:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    return page.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0].strip()


def test_the_page_lists_what_the_code_knows() -> None:
    def rows(first: str, second: str, pairs: Any) -> str:
        lines = [f"| {first} | {second} |", "|---|---|"]
        return "\n".join([*lines, *(f"| `{name}` | {text} |" for name, text in pairs)])

    variables = configuration.VARIABLES.items()
    assert part_of_page("variables") == rows("variable", "what it is", variables)
    never = [(f"--{key}", why) for key, why in NEVER.items()]
    assert part_of_page("never") == rows("option", "why", never)
    assert part_of_page("shared") == f"{', '.join(f'`{key}`' for key in SHARED)}."


def test_the_file_on_the_page_is_right(file: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    file.write_text(page.split("```toml\n")[1].split("```")[0])
    assert shown("predict")["metadata"][0] is False
    assert shown("tag")["never"][0] == ["Audiobook", "Spoken Word"]
    assert ask("config", "show")[0] == 0


def test_every_variable_that_is_read_is_known() -> None:
    source = Path(configuration.__file__).parents[1]
    read = set()
    for path in source.rglob("*.py"):
        read |= set(re.findall(r"[\"'](GENRESCOPE_[A-Z_]+)[\"']", path.read_text()))
    known = set(configuration.VARIABLES) | {option.variable for option in all_options()}
    assert read <= known, read - known
