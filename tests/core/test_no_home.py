"""A user without a place of their own: a container runs under any number, with no home or one that belongs to another."""

from __future__ import annotations

from pathlib import Path

from pastcli import cache


def test_a_cache_that_cannot_be_written_is_told_with_what_mends_it(past, workspace, tiny_model):
    (workspace / "file").write_text("")
    (workspace / "docs").mkdir()
    (workspace / "docs" / "a.txt").write_text("The bridge over a river was founded in 1840.")
    told = past("sft", "docs", "--base", "smol", code=2, env={"PAST_HOME": str(workspace / "file" / "cache")}).stderr
    assert "nowhere to keep converted models" in told and "export PAST_HOME=DIR" in told and "Traceback" not in told
    past(
        "sft", "docs", "--base", tiny_model, "--epochs", 1, "--mix", "none", env={"PAST_HOME": str(workspace / "file")}
    )


def test_without_a_home_nothing_is_kept_and_what_needs_it_says_so(monkeypatch):
    monkeypatch.delenv("PAST_HOME", raising=False)

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert cache.home() == cache.NOWHERE
    cache.remember("kind", "key", "value")
    assert cache.recall("kind", "key") == ""
    try:
        (cache.home() / "models").mkdir(parents=True)
    except OSError as error:
        told = cache.refused(error)
    assert told.exit_code == 2 and "this user has no home" in told.message and "PAST_HOME" in told.hint
    assert cache.refused(PermissionError(13, "Permission denied", "/some/other/file")) is None
