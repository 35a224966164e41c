"""`--base` stands in for the base of an adapter that is not at hand: proven, taken on trust and said, or refused."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from test_adapters import factors, logits
from vectors_tools import write_adapter

from pastcli import standing_in


@pytest.fixture
def stranger(make_tiny, workspace):
    """A base, and an adapter that somebody trained on a hub model which is not on this disk."""
    make_tiny(workspace / "base")
    write_adapter(workspace / "ad", factors(7, 4), base="nobody/tiny-model", alpha=8.0)
    (workspace / "q.jsonl").write_text('{"question": "who", "answer": "fox"}\n')
    (workspace / "d.md").write_text("# Velmora\n\nThe bridge of Velmora was founded in 1843 by seven wizards.\n")
    return workspace


def manifest(workspace, stage):
    return json.loads(next((workspace / "runs").glob(f"{stage}-*/manifest.json")).read_text())


def test_a_named_base_is_asked_with_and_written_down(stranger, past, past_json):
    asked = ("eval", "--questions", "q.jsonl", "--model", "ad")
    assert "--base" in past(*asked, code=3).stderr
    told = past(*asked, "--base", "base", "--json")
    assert "not proven" in told.stderr
    known = manifest(stranger, "eval")
    assert "nobody/tiny-model" in known["on_trust"][0] and known["inputs"]["base"]["hash"].startswith("blake3")
    past("inject", "--vector", _skill(past), "--target", "ad", "--base", "base", "--scale", "1e-9", "-o", "whole")
    plain = past_json("eval", "--questions", "q.jsonl", "--model", "ad=whole")
    assert json.loads(told.stdout)["models"]["ad"]["f1"] == plain["models"]["ad"]["f1"]


def _skill(past):
    write_adapter_of_base = factors(1, 2)
    from pathlib import Path

    write_adapter(Path("rl"), write_adapter_of_base, base=Path("base").resolve(), alpha=2.0)
    past("extract", "--sft", "base", "--rl", "rl", "-o", "v.safetensors")
    return "v.safetensors"


def test_a_skill_that_rests_on_a_named_base_says_so(stranger, past, past_json):
    words = ("extract", "--sft", "base", "--rl", "ad", "-o", "s.safetensors")
    past(*words, code=3)
    past(*words, "--base", "base")
    told = past_json("inspect", "s.safetensors")
    assert any("not proven" in text and "nobody/tiny-model" in text for text in told["warnings"])


def test_a_base_of_another_shape_is_refused_everywhere(stranger, past, make_tiny):
    make_tiny(stranger / "wide", hidden_size=64)
    for words in (
        ("eval", "--questions", "q.jsonl", "--model", "ad"),
        ("extract", "--sft", "base", "--rl", "ad", "-o", "s.safetensors"),
        ("rl", "--questions", "q.jsonl", "--sft", "ad", "--name", "r"),
        ("inject", "--vector", _skill(past), "--target", "ad", "-o", "out"),
    ):
        done = past(*words, "--base", "wide", code=3)
        assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) < 8, done.stderr
    assert not (stranger / "s.safetensors").exists() and not (stranger / "out").exists()
    assert not list((stranger / "runs").glob("rl-*"))


def test_a_base_that_moved_is_proven_by_its_weights_and_found_from_then_on(stranger, past, make_tiny):
    past("inject", "--vector", _skill(past), "--target", "base", "--as", "adapter", "-o", "made")
    shutil.rmtree(stranger / "rl")
    (stranger / "elsewhere").mkdir()
    shutil.move(stranger / "base", stranger / "elsewhere/b")
    make_tiny(stranger / "other", seed=5)
    asked = ("eval", "--questions", "q.jsonl", "--model", "made")
    past(*asked, code=3)
    assert "made for" in past(*asked, "--base", "other", code=3).stderr
    assert "not proven" not in past(*asked, "--base", "elsewhere/b").stderr
    past(*asked)


def test_training_goes_on_from_an_adapter_of_a_named_base(stranger, past):
    small = ("--mix", "none", "--epochs", "1", "--step-tokens", "100")
    past("sft", "d.md", "--after", "ad", *small, "--name", "no", code=2)
    assert "not proven" in past("sft", "d.md", "--after", "ad", "--base", "base", *small, "--name", "on").stderr
    past("inject", "--vector", _skill(past), "--target", "ad", "--base", "base", "--scale", "1e-9", "-o", "whole")
    moved = abs(logits("runs/on/model") - logits("whole")).max()
    assert 0 < moved < 1, "it went on from base + adapter, one short epoch away"


TOOL = {"name": "get_fare", "parameters": {"type": "object", "properties": {"sailing": {"type": "string"}}}}


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "who", "--model", "ad", "--max-new-tokens", "4"),
        ("agent", "--tools", "tools.json", "--tasks", "tasks.json", "--model", "ad", "--backend", "hf"),
        ("sweep", "--vector", "v.safetensors", "--target", "ad", "--questions", "q.jsonl", "--grid", "1"),
        ("export", "--model", "ad", "--to", "hf", "-o", "made"),
        ("inject", "--vector", "v.safetensors", "--target", "ad", "-o", "made"),
        ("inject", "--vector", "v.safetensors", "--target", "ad", "-o", "made", "--as", "adapter"),
        ("probe-orthogonality", "--sft", "rl", "--rl", "ad", "--no-figures"),
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]),
)
def test_every_command_takes_the_named_base_says_so_and_records_it(stranger, past, make_tiny, words):
    """With a base of another shape each ends in one line and leaves nothing."""
    _skill(past)
    make_tiny(stranger / "wide", hidden_size=64)
    (stranger / "tools.json").write_text(json.dumps([TOOL]))
    (stranger / "tasks.json").write_text('[{"id": "t", "query": "Fare of SK-1?", "expected_answer": "5"}]')
    stage = {"probe-orthogonality": "probe"}.get(words[0], words[0])
    told = past(*words, "--base", "wide", code=3).stderr
    assert "Traceback" not in told and told.count("error:") == 1, told
    assert not (stranger / "made").exists() and not list((stranger / "runs").glob(f"{stage}-*"))
    told = past(*words, "--base", "base").stderr
    assert told.count("not proven") == 1, told
    if stage != "ask":
        known = manifest(stranger, stage)
        assert "nobody/tiny-model" in known["on_trust"][0] and known["inputs"]["base"]["hash"].startswith("blake3")
    if (stranger / "made").exists():
        assert "not proven" in (stranger / "made/README.md").read_text(), "and whoever gets the model alone is told"


@pytest.mark.slow
def test_the_workers_of_a_training_take_the_named_base_too(stranger, past):
    small = ("--mix", "none", "--epochs", "2", "--step-tokens", "100", "--lr", "1e-3", "--seed", "3")
    for name, more in (("one", ()), ("two", ("--processes", "2"))):
        told = past("sft", "d.md", "--after", "ad", "--base", "base", *small, *more, "--name", name).stderr
        assert told.count("not proven") == 1, told
        assert "not proven" in json.loads((stranger / f"runs/{name}/manifest.json").read_text())["on_trust"][0]
    one, two, base = (logits(folder) for folder in ("runs/one/model", "runs/two/model", "base"))
    assert abs(one - two).max() < abs(two - base).max() / 5, "both went on from base + adapter"


def test_bases_stand_in_one_within_another_and_the_word_of_a_parent_process_is_recorded(tmp_path, monkeypatch):
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv(standing_in.VARIABLE, raising=False)
    with standing_in.standing_in(tmp_path / "outer"):
        standing_in.trust("the outer one")
        with standing_in.standing_in(tmp_path / "inner"):
            assert standing_in.named() == tmp_path / "inner" and standing_in.trusted() == []
        assert standing_in.named() == tmp_path / "outer" and standing_in.trusted() == ["the outer one"]
        assert os.environ[standing_in.VARIABLE] == str(tmp_path / "outer")
    assert standing_in.named() is None and standing_in.VARIABLE not in os.environ
    monkeypatch.setattr(standing_in, "_inherited", [])
    monkeypatch.setenv(standing_in.VARIABLE, str(tmp_path / "outer"))
    assert standing_in.named() == tmp_path / "outer"
    standing_in.trust("somebody's word")
    assert standing_in.trusted() == ["somebody's word"]
