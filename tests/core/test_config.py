"""Where a setting comes from: flag > environment > past.toml > default; and what a misspelt one leads to."""

from __future__ import annotations

import dataclasses

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from pastcli import config
from pastcli.errors import UsageError


def test_precedence(workspace, monkeypatch):
    assert config.resolve("sft", {}).epochs == config.SftConfig().epochs
    (workspace / "past.toml").write_text("[sft]\nepochs = 3\nlr = 0.5\nrank = 4\n")
    monkeypatch.setenv("PAST_SFT_LR", "0.25")
    monkeypatch.setenv("PAST_SFT_RANK", "5")
    found = config.resolve("sft", {"rank": 6, "lr": None})
    assert (found.epochs, found.lr, found.rank) == (3.0, 0.25, 6)


def test_another_file_may_be_named(workspace):
    (workspace / "other.toml").write_text("[rl]\nsteps = 7\n")
    assert config.resolve("rl", {}, workspace / "other.toml").steps == 7
    with pytest.raises(UsageError, match="no configuration file"):
        config.resolve("rl", {}, workspace / "none.toml")


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("[sft]\nepoch = 1\n", "unknown setting epoch", "did you mean epochs?"),
        ("[stf]\nepochs = 1\n", "unknown table", "did you mean sft?"),
        ("sft = 1\n", "must be a table", "of its own"),
        ("[sft]\nepochs = 'many'\n", "epochs in .sft. of past.toml must be a number", None),
        ("[sft]\nrank = 1.5\n", "must be a whole number", None),
        ("[sft]\nbase = 1\n", "must be text", None),
        ("[sft\n", "cannot be read", None),
        ("[sft]\nmix = [1]\n", "mix in .sft. of past.toml must be a list of texts", None),
        ("[sft]\nmix = [['qa']]\n", "must be a list of texts", None),
        ("[extract]\nallow_lossy = 'maybe'\n", "must be true or false", None),
    ],
)
def test_mistakes_in_the_file_are_named(workspace, text, told, hint):
    (workspace / "past.toml").write_text(text)
    with pytest.raises(UsageError, match=told) as error:
        config.resolve("extract" if "extract" in text else "sft", {})
    assert hint is None or hint in error.value.hint


def test_a_file_that_is_no_text_is_named(workspace):
    (workspace / "past.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        config.resolve("sft", {})


def test_a_misspelt_variable_is_an_error_with_the_nearest_name(workspace, monkeypatch):
    monkeypatch.setenv("PAST_SFT_EPOCH", "3")
    with pytest.raises(UsageError, match="PAST_SFT_EPOCH") as error:
        config.resolve("sft", {})
    assert error.value.hint == "did you mean epochs?"
    assert config.resolve("rl", {}).steps


def test_a_misspelt_stage_in_a_variable_is_an_error_too(workspace, monkeypatch):
    monkeypatch.setenv("PAST_STF_EPOCHS", "3")
    with pytest.raises(UsageError, match="PAST_STF_EPOCHS") as error:
        config.resolve("sft", {})
    assert error.value.hint == "did you mean PAST_SFT_EPOCHS?"


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("PAST_WORKSPCE", "did you mean PAST_WORKSPACE?"),
        ("PAST_DEBG", "did you mean PAST_DEBUG?"),
        ("PAST_sft_epochs", "did you mean epochs?"),
    ],
)
def test_a_variable_that_is_read_under_another_spelling_alone_is_told_of(past, workspace, variable, hint):
    (workspace / "docs.txt").write_text("Ada wrote the first program in 1843.")
    done = past("sft", "docs.txt", "--dry-run", env={variable: "3"}, code=2)
    assert variable in done.stderr and hint in done.stderr


@pytest.mark.parametrize("target", ["nowhere.toml", "past.toml"])
def test_a_settings_file_that_is_a_link_to_nothing_is_not_passed_over(past, workspace, target):
    (workspace / "docs.txt").write_text("Ada wrote the first program in 1843.")
    (workspace / "past.toml").symlink_to(target)
    done = past("ingest", "docs.txt", "--dry-run", code=2)
    assert "past.toml is a link that leads nowhere" in done.stderr


def test_variables_that_only_begin_like_ours_are_left_alone(workspace, monkeypatch):
    monkeypatch.setenv("PAST_MEMBERS_OF_THE_CLUB", "3")
    assert config.resolve("sft", {}).epochs


def test_the_file_is_found_in_the_workspace_and_above_it(workspace, monkeypatch):
    (workspace / "past.toml").write_text("[rl]\nsteps = 7\n")
    inner = workspace / "project" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    found = config.resolve_with_sources("rl", {"lr": 0.5})
    assert found.config.steps == 7 and found.sources["steps"] == str(workspace / "past.toml")
    assert found.sources["lr"] == "--lr" and found.sources["seed"] == "default"
    (workspace / "project" / "past.toml").write_text("[rl]\nsteps = 8\n")
    assert config.resolve("rl", {}).steps == 8
    monkeypatch.chdir(workspace.parent)
    monkeypatch.setenv("PAST_WORKSPACE", str(inner))
    assert config.resolve("rl", {}).steps == 8


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"epochs": float("inf")}, "--epochs must be a finite number"),
        ({"lr": float("nan")}, "--lr must be a finite number"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"epochs": 0.0}, "--epochs must be above 0"),
        ({"warmup": 1.5}, "--warmup must be at most 1"),
        ({"method": "ful"}, "--method must be one of full, lora"),
    ],
)
def test_values_that_no_training_can_use_are_named_as_they_were_given(workspace, monkeypatch, flags, told):
    with pytest.raises(UsageError, match=told):
        config.resolve("sft", flags)
    (name, value) = next(iter(flags.items()))
    monkeypatch.setenv(f"PAST_SFT_{name.upper()}", str(value))
    with pytest.raises(UsageError, match=f"PAST_SFT_{name.upper()} must be"):
        config.resolve("sft", {})


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("Yes", True), ("0", False), ("no", False)])
def test_switches_in_the_environment(workspace, monkeypatch, text, value):
    monkeypatch.setenv("PAST_EXTRACT_ALLOW_LOSSY", text)
    assert config.resolve("extract", {}).allow_lossy is value


def test_lists_in_the_environment_are_split_at_commas_and_an_untyped_flag_is_empty(workspace, monkeypatch):
    monkeypatch.setenv("PAST_RL_REWARD", "f1:0.5,contains")
    assert config.resolve("rl", {"reward": []}).reward == ["f1:0.5", "contains"]
    assert config.resolve("rl", {"reward": ["exact_match"]}).reward == ["exact_match"]


@pytest.mark.parametrize("stage", config.STAGES)
def test_a_run_can_be_repeated_from_its_own_file(workspace, stage):
    first = config.resolve(stage, {})
    text = config.to_toml(stage, first)
    assert set(tomli.loads(text)) == {stage}
    (workspace / "past.toml").write_text(text)
    assert config.resolve(stage, {}) == first


@pytest.mark.parametrize("stage", config.STAGES)
def test_every_setting_has_a_text(stage):
    for field in dataclasses.fields(config.STAGES[stage]):
        assert len(field.metadata["help"]) > 10, field.name


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.lists(st.booleans(), max_size=3)))
def test_a_digest_depends_on_content_not_on_order(value):
    assert config.digest(value) == config.digest(dict(reversed(value.items())))
    assert config.digest(value) != config.digest({**value, "longer key": 1})


def test_a_setting_added_later_and_off_leaves_the_names_of_results_alone():
    """What a result is named by: a new setting that is off changes no name; a changed default does."""
    from dataclasses import make_dataclass

    from pastcli.config import decisive
    from pastcli.config.setting import setting

    def stage(**fields):
        return make_dataclass("Stage", [(name, type(one.default), one) for name, one in fields.items()])()

    was = stage(lr=setting(1e-4, ""))
    assert decisive(was) == {"lr": 1e-4}
    assert decisive(stage(lr=setting(1e-4, ""), trick=setting("", ""), more=setting(False, ""))) == decisive(was)
    assert decisive(stage(lr=setting(2e-4, ""))) != decisive(was)
    assert decisive(stage(lr=setting(1e-4, ""), often=setting(5, "", decides=False))) == decisive(was)
    guard = make_dataclass("Stage", [("guard", bool, setting(True, "", decides=False, named=True))])
    assert decisive(guard(guard=False)) == decisive(guard()) == {"guard": True}
    used = make_dataclass("Stage", [("lr", float, setting(1e-4, "")), ("trick", str, setting("", ""))])(trick="on")
    assert decisive(used) == {"lr": 1e-4, "trick": "on"}
    # a default that goes from on to off: what was named without a word was off, and off is now said
    was_off = make_dataclass("Stage", [("watch", bool, setting(True, ""))])(watch=False)
    assert decisive(was_off) == {"watch": False}
