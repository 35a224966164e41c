"""Training in several processes over gloo: the numbers of one process, each row once, and no worker left behind."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import itertools
import json
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import dying
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from train_tools import RL, SFT, job_of, rl_rows, sft_rows, variety, weights

from pastcli.errors import FullDisk, Interrupted, MismatchError, PastError, UsageError

TOLERANCE = 1e-5
"""Of weights and losses, absolute: float32 sums in another order, amplified by fourteen (SFT) or six (GRPO) Adam steps of 1e-3."""

STAGES = {"sft": (SFT, sft_rows), "rl": (RL, rl_rows)}


def short(prompts, completions, **_):
    Path(os.environ["LEFT_BY"] + os.environ["RANK"]).write_text(json.dumps(dict(os.environ)))
    raise MismatchError("no such scale", "weigh again")


LEFT_BEHIND = []


class Aborts:
    def __del__(self, abort=os.abort):
        abort()


def leaving_an_abort_behind(prompts, completions, answers, **columns):
    """What is left in a worker when it has done its work ends in an abort once the interpreter is taken apart."""
    if not LEFT_BEHIND:
        LEFT_BEHIND.append(Aborts())
        atexit.register(Path(os.environ["LEFT_BY"] + os.environ["RANK"]).touch)
    return variety(prompts, completions, answers, **columns)


def aborting(prompts, completions, **_):
    os.abort()


@pytest.fixture
def train(request, tmp_path, tiny_model, monkeypatch, forks):
    """`train("sft", processes=2, sharding="full")` trains the small job of that stage in a folder of its own.

    The launcher and its workers are forked from what has loaded torch already. Slow tests start them as a user's are, and so does
    the fast one that kills a worker.
    """
    from past_hf.training import HFTrainer

    here = Path(__file__).parent
    if forks is not None:
        monkeypatch.setattr(sys, "executable", str(forks.python))
    if request.node.get_closest_marker("slow"):
        monkeypatch.setenv("PYTEST_COLD", "1")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(here), str(here.parent / "support")])
    )  # workers import rewards
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    numbers = itertools.count()

    def call(stage, folder=None, resume=False, progress=None, reward=variety, model=tiny_model, **changes):
        config, rows = STAGES[stage]
        folder = folder or tmp_path / str(next(numbers))
        job = job_of(folder, stage, model, rows(), dataclasses.replace(config, **changes), watch=folder / "watch")
        rewards = [("variety", 1.0, reward)]
        return getattr(HFTrainer(), stage)(dataclasses.replace(job, rewards=rewards, resume=resume, progress=progress))

    yield call
    torch.set_num_threads(before)


def agree(one, other):
    """Weights and every step's loss and reward within `TOLERANCE`, counts exactly."""
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys() and {tensor.dtype for tensor in theirs.values()} == {torch.float32}
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=TOLERANCE)
    assert len(one.log) == len(other.log) and one.tokens == other.tokens
    for a, b in zip(one.log, other.log):
        for key in {"loss", "reward", "completion_length"} & a.keys():
            assert b[key] == pytest.approx(a[key], abs=TOLERANCE), (a["step"], key)
        assert (a["step"], a["rows"], a["tokens"]) == (b["step"], b["rows"], b["tokens"])
    assert rollouts(one) == rollouts(other)


def rollouts(made):
    """The answers sampled of each step, which are of the whole step."""
    file = made.path.parents[1] / "watch" / "rollouts.jsonl"
    return file.read_text() if file.is_file() else None


@pytest.mark.parametrize("stage, sharding, more", [("sft", "none", {}), ("rl", "full", {"loss": "bnpo"})])
def test_two_processes_give_the_numbers_of_one(train, tmp_path, stage, sharding, more):
    """`bnpo` divides by the tokens of a batch: of the step, not of what one process holds at once. (RL as it is by default: killed, below.)"""
    one = train(stage, **more)
    both = dict(processes=2, sharding=sharding, batch_tokens=120, **more)
    try:
        two = train(stage, **both)
    except PastError as error:  # seen once: torch 2.13 itself freed memory twice, in gloo under FSDP2
        if "SIGABRT" not in error.message:
            raise
        logs = "\n".join(log.read_text() for log in sorted(tmp_path.rglob("rank*.log")))
        warnings.warn(f"{error.message}; once more. {logs[-4000:]}", stacklevel=1)
        two = train(stage, **both)
    agree(one, two)
    if stage == "sft":
        assert sum(entry["rows"] for entry in two.log) == SFT.epochs * len(sft_rows())


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo"])
def test_sharded_rl_gives_the_numbers_of_one_process(train, loss):
    """`dapo` is what RL does by default; `grpo` takes the mean of each answer, `dr_grpo` divides by a length that never changes."""
    agree(train("rl", loss=loss), train("rl", loss=loss, processes=2, sharding="full", batch_tokens=120))


@pytest.mark.slow
def test_a_packed_base_gives_two_processes_the_numbers_of_one(train, make_tiny, tmp_path):
    """By small steps: in steps of 1e-3 Adam carried one of 8,192 weights, whose gradient is what is left of two like sums, off by
    2.6e-5 on a Xeon. One row in place of another is seen in 626 of them, and in the loss."""
    pytest.importorskip("bitsandbytes")
    wide = make_tiny(tmp_path / "wide", hidden_size=64, intermediate_size=128)
    how = dict(model=wide, method="lora", rank=4, quantize="4bit", epochs=1, lr=1e-4)
    agree(train("sft", **how), train("sft", processes=2, batch_tokens=120, **how))


@pytest.mark.slow
def test_the_mean_over_tokens_is_one_of_the_whole_step_however_it_is_shared(train):
    """The same in pieces of half that size, and without sharding."""
    agree(train("rl", loss="bnpo", steps=3), train("rl", loss="bnpo", steps=3, processes=2, batch_tokens=60))


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """Workers that leave their process ids, and one of which may be told to die."""
    from past_hf.training import layout

    monkeypatch.setattr(layout, "MODULE", "dying")
    folder = tmp_path / "pids"
    folder.mkdir()
    monkeypatch.setenv(dying.PIDS, str(folder))
    return Workers(folder, monkeypatch)


class Workers:
    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch

    @contextlib.contextmanager
    def one_dies(self, rank, step, suspends=False, place="past_hf.training.watch:Watch.on_log"):
        """kill -9 of that worker by itself, when it has logged that step, or come so often out of another `place`; `suspends`: the
        launcher learns of it when it goes on. All are started from nothing: each is its parent's own child, as a user's are."""
        told = {"DYING": f"{place} {step}", "DYING_RANK": str(rank), "PYTEST_COLD": "1"}
        with self.monkeypatch.context() as until_then:
            for name, value in {**told, **({"DYING_SUSPENDS": "1"} if suspends else {})}.items():
                until_then.setenv(name, value)
            yield

    def alive(self):
        """The ranks of those that run, after a training whose workers all began."""
        pids = {file.stem: int(file.read_text()) for file in self.folder.glob("[0-9].pid")}
        assert pids.keys() == {"0", "1"}
        return [rank for rank, pid in pids.items() if self._runs(pid)]

    @staticmethod
    def _runs(pid):
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def let_the_launcher_go_on_when_all_are_dead(self):
        """Nobody else reaps the workers meanwhile."""
        end, file = time.monotonic() + 120, self.folder / "launcher.pid"
        while not (file.is_file() and file.read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        try:
            while self.alive() and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            os.kill(int(file.read_text()), signal.SIGCONT)


@pytest.mark.parametrize("stage, sharding", [("rl", "none"), pytest.param("sft", "full", marks=pytest.mark.slow)])
def test_kill_9_of_a_worker_ends_all_and_resume_gives_the_same(train, workers, tmp_path, stage, sharding):
    folder = tmp_path / "killed"
    with workers.one_dies(rank=1, step=5), pytest.raises(PastError, match="worker 1 was killed by SIGKILL"):
        train(stage, folder, processes=2, sharding=sharding)
    assert not workers.alive()
    seen = []
    resumed = train(stage, folder, True, lambda *told: seen.append(told[0]), processes=2, sharding=sharding)
    agree(train(stage), resumed)
    assert seen == list(range(STAGES[stage][0].save_every * (5 // STAGES[stage][0].save_every) + 1, resumed.steps + 1))
    assert [entry["step"] for entry in resumed.log] == list(range(1, resumed.steps + 1))
    written = [json.loads(line) for line in (folder / "watch" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in written] == list(range(1, resumed.steps + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "place, calls, checkpoints",
    [
        ("past_hf.training.run:load", 1, 0),  # before the first step
        ("transformers.trainer:Trainer._save_rng_state", 2, 1),  # while a checkpoint is written
        ("past_hf.training.run:gathered", 1, 4),  # after the last step
        ("past_hf.training.run:run", 1, 4),  # when all is written, and the other waits
    ],
    ids=["loading", "checkpoint", "gathering", "end"],
)
def test_kill_9_at_an_odd_moment_leaves_what_resume_makes_the_same_of(
    train, workers, tmp_path, place, calls, checkpoints
):
    folder, every = tmp_path / "killed", STAGES["sft"][0].save_every
    with workers.one_dies(1, calls, place=place), pytest.raises(PastError, match="worker 1 was killed by SIGKILL"):
        train("sft", folder, processes=2)
    assert not workers.alive()
    seen = []
    resumed = train("sft", folder, True, lambda *told: seen.append(told[0]), processes=2)
    assert seen[0] == 1 + every * checkpoints and (resumed.steps - 1) // every == 4
    agree(train("sft"), resumed)
    assert sorted(path.name for path in (folder / "state").glob(".partial*")) == []


@pytest.mark.slow
def test_a_killed_worker_is_named_although_the_other_failed_for_want_of_it_before_the_launcher_looked(
    train, workers, tmp_path
):
    folder = tmp_path / "killed"
    waiting = threading.Thread(target=workers.let_the_launcher_go_on_when_all_are_dead)
    waiting.start()
    with (
        workers.one_dies(rank=1, step=2, suspends=True),
        pytest.raises(PastError, match="worker 1 was killed by SIGKILL"),
    ):
        train("sft", folder, processes=2)
    waiting.join()
    assert list(folder.rglob("error0.json")), "worker 0 had told its own error"
    assert not workers.alive()


LAUNCHER = """
past_hf.training.worker FAILED
Failures:
[1]:
  time      : 2026-11-25_18:51:02
  host      : localhost
  rank      : {} (local_rank: 1)
  exitcode  : {} (pid: 6807)
  error_file: <N/A>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-25_18:51:02
  host      : localhost
  rank      : {} (local_rank: 0)
  exitcode  : {} (pid: 6806)
"""


@pytest.mark.parametrize(
    "ends, said",
    [
        ((1, -9, 0, 1), "worker 1 was killed by SIGKILL"),
        ((0, 1, 1, -9), "worker 1 was killed by SIGKILL"),
        ((2, -11, 0, 1), "worker 2 was killed by SIGSEGV"),
        ((1, -15, 0, 1), "worker 1: its own error"),  # stopped by the launcher
        ((0, 1, 1, 1), "worker 1: its own error"),
        ((1, 1, 0, 1), "worker 1: its own error"),  # the launcher takes who lost the connection for the cause
    ],
)
def test_a_signal_goes_before_an_error_and_that_before_a_lost_connection_whichever_the_launcher_noticed_first(
    tmp_path, ends, said
):
    from past_hf.training.launch import _failure

    (tmp_path / "launcher.log").write_text(LAUNCHER.format(*ends))
    for rank, message in enumerate(["connection reset", "its own error"]):
        told = {"rank": rank, "type": "PastError", "message": message, "hint": None, "lost": rank == 0}
        (tmp_path / f"error{rank}.json").write_text(json.dumps(told))
    assert str(_failure(tmp_path, 1)).startswith(said)


def test_a_killed_launcher_is_named(tmp_path):
    """It was `the workers ended with exit code -9: `, and nothing."""
    from past_hf.training.launch import _failure

    (tmp_path / "launcher.log").write_text("")
    told = _failure(tmp_path, -9)
    assert "launcher of the workers was killed by SIGKILL" in told.message and "--resume" in told.hint


def test_a_launcher_that_was_told_to_end_is_no_failure_of_the_workers(tmp_path):
    """It was `the workers ended with exit code 1: torch...SignalException`. A scheduler tells every process of a job."""
    from past_hf.training.launch import _failure

    (tmp_path / "launcher.log").write_text("torch.distributed...SignalException: Process 5211 got signal: 15\n")
    told = _failure(tmp_path, 1)
    assert isinstance(told, Interrupted) and told.exit_code == 143


def test_a_disk_that_takes_no_word_of_it_is_named(tmp_path, monkeypatch):
    """Neither worker nor launcher could write why they ended: it was `the workers ended with exit code 1: `, and nothing."""
    from past_hf.training import launch

    def nothing_goes_in(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "launcher.log").write_text("")
    assert "the workers ended with exit code 1" in launch._failure(tmp_path, 1).message
    monkeypatch.setattr(launch.tempfile, "TemporaryFile", nothing_goes_in)
    told = launch._failure(tmp_path, 1)
    assert isinstance(told, FullDisk) and "no space left in" in told.message


def test_the_error_of_a_worker_is_the_error_of_the_run(train, workers, tmp_path, monkeypatch, forks):
    monkeypatch.setenv("LEFT_BY", str(tmp_path / "left"))
    with pytest.raises(PastError, match="worker [01]: reward 'variety' failed: MismatchError: no such scale"):
        train("rl", processes=2, reward=short)
    assert not workers.alive()
    if (
        forks is not None
    ):  # nothing that a launcher tells its workers makes them load torch anew, but threads for more than two cores
        (left, *_) = (json.loads(file.read_text()) for file in tmp_path.glob("left*"))
        assert not forks.unlike(left) - {"OMP_NUM_THREADS"}


@pytest.mark.slow
def test_what_the_first_worker_warns_of_comes_with_what_mends_it(train, capsys):
    train("sft", processes=2, epochs=1, max_length=9)
    told = capsys.readouterr().err
    assert "warning: skipped: 1 of 26 examples are longer than 9 tokens" in told
    assert told.count("  hint: raise --max-length") == 1


@pytest.mark.slow
def test_a_run_that_is_written_does_not_fail_by_what_its_workers_leave_behind(train, tmp_path, monkeypatch):
    monkeypatch.setenv("LEFT_BY", str(tmp_path / "left"))
    assert train("rl", steps=1, processes=2, reward=leaving_an_abort_behind).steps == 1
    assert {path.name for path in tmp_path.glob("left*")} == {"left0", "left1"}, "what was to be done at the end is"


@pytest.mark.slow
def test_a_worker_that_aborts_leaves_word_of_where(train, tmp_path):
    with pytest.raises(PastError, match="worker [01] was killed by SIGABRT"):
        train("rl", steps=1, processes=2, reward=aborting)
    logs = [log.read_text() for log in tmp_path.rglob("rank*.log")]
    assert any("Fatal Python error: Aborted" in log and "in aborting" in log for log in logs)


def test_what_cannot_work_is_said_before_anything_starts(train, tmp_path):
    with pytest.raises(UsageError, match="cannot be handed to other processes"):
        train("rl", processes=2, reward=lambda *_, **__: [])
    with pytest.raises(UsageError, match="no accelerate configuration"):
        (tmp_path / "empty.yaml").write_text("a: 1\n")
        train("sft", launch=str(tmp_path / "empty.yaml"))
    with pytest.raises(UsageError, match="2 machines need the address of the first"):
        (tmp_path / "two.yaml").write_text("distributed_type: MULTI_GPU\nnum_machines: 2\nnum_processes: 4\n")
        train("sft", launch=str(tmp_path / "two.yaml"))


def test_sixteen_bit_gathering_of_full_weights_is_refused():
    from past_hf.training.engine import _keeps_the_skill

    with pytest.raises(UsageError, match="loses a skill") as caught:
        _keeps_the_skill(True, "full")
    assert "--method lora" in caught.value.hint
    assert _keeps_the_skill(True, "lora") is None and _keeps_the_skill(False, "full") is None


# ---------------------------------------------------------------- dealing out

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(1, 5), st.integers(20, 200), st.integers(20, 400), st.integers(0, 5))
def test_each_row_is_dealt_to_one_process_once_an_epoch(lengths, processes, budget, step_tokens, seed):
    from past_hf.training import plans

    config = dataclasses.replace(SFT, epochs=3, step_tokens=step_tokens, seed=seed)
    steps = plans.sft_plan(lengths, config)
    dealt = plans.deal(steps, lengths, processes, budget)
    assert {len(step) for step in dealt} == {len(dealt[0])} and all(len(r) == processes for s in dealt for r in s)
    for step, rounds in zip(steps, dealt):
        parts = [part for each in rounds for part in each]
        assert all(parts), "a process without a row would not reach the others' reduction"
        assert sorted(row for part in parts for row in part if row >= 0) == sorted(step)
        assert all(len(p) == 1 or len(p) * max(lengths[r] for r in p) <= budget for p in parts if p[0] >= 0)
    seen = [row for rounds in dealt for each in rounds for part in each for row in part if row >= 0]
    assert all(seen.count(row) == 3 for row in range(len(lengths)))


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(2, 8), st.integers(1, 4), st.integers(10, 400))
def test_the_answers_of_a_step_are_shared_evenly_within_the_memory(prompts, answers, processes, batch_tokens):
    from past_hf.training import plans

    config = dataclasses.replace(RL, prompts_per_step=prompts, num_generations=answers, batch_tokens=batch_tokens)
    if prompts * answers % processes:
        with pytest.raises(UsageError, match=f"cannot be shared by {processes} processes"):
            plans.rl_rounds(config, processes, 10)
        return
    rounds = plans.rl_rounds(config, processes, 10)
    mine = prompts * answers // processes
    assert mine % rounds == 0 and (mine // rounds == 1 or mine // rounds * 16 <= batch_tokens)
