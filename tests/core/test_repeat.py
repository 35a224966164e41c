"""A run's config.toml repeats it: the same command with `--config runs/X/config.toml` makes the same weights."""

from __future__ import annotations

import pytest

from pastcli import runs


@pytest.fixture
def docs(workspace):
    (workspace / "docs").mkdir()
    text = " ".join(f"The bridge {n} over a river was founded in {1800 + n}." for n in range(12))
    (workspace / "docs" / "a.txt").write_text(text)
    return workspace


def hashes(name):
    return runs.find(name).manifest["metrics"]["final_hash"]


def test_sft_from_a_runs_own_config_gives_the_same_weights(docs, past, tiny_model):
    """Settings from three places, and passages cut as another stage's settings say."""
    (docs / "past.toml").write_text("[sft]\nlr = 0.01\n[ingest]\nmax_chars = 90\n")
    words = ("sft", "docs", "--base", tiny_model, "--epochs", "1", "--mix", "none")
    past(*words, "--name", "first", env={"PAST_SFT_SEED": "5"})
    (docs / "past.toml").unlink()
    past("sft", "docs", "--config", "runs/first/config.toml", "--name", "again")
    assert hashes("again") == hashes("first")
    past(*words, "--name", "other", "--seed", "5", "--lr", "0.01")
    assert hashes("other") != hashes("first"), "[ingest] decides as well"


def test_another_cut_of_the_documents_is_another_work(docs, past, tiny_model):
    words = ("sft", "docs", "--base", tiny_model, "--epochs", "1", "--mix", "none", "--resume")
    past(*words)
    assert "already finished" in past(*words).stderr
    (docs / "past.toml").write_text("[ingest]\nmax_chars = 90\n")
    assert "already finished" not in past(*words).stderr
