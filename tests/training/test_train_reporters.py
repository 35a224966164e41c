"""Reporters of `--report-to`: what keeps one from beginning is told before the first step, and what it fails at later ends no training."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from past_hf.training import HFTrainer, reporting
from train_tools import SFT, job_of, sft_rows
from transformers import TrainerCallback

from pastcli import leaving
from pastcli.errors import PastError, UsageError


class Own(TrainerCallback):
    """A reporter as transformers has them; what it does at an event is set by the test."""

    at: ClassVar[dict] = {}
    told: ClassVar[list] = []

    def on_train_begin(self, args, state, control, **_):
        self._do("begin", args.run_name)

    def on_log(self, args, state, control, logs=None, **_):
        self._do("log", {**logs, "step": state.global_step})

    def on_train_end(self, args, state, control, **_):
        self._do("end", None)

    def _do(self, event, what):
        if event in self.at:
            self.at[event]()
        self.told.append((event, what))


@pytest.fixture
def own(monkeypatch):
    from transformers import integrations

    monkeypatch.setattr(integrations, "get_available_reporting_integrations", lambda: ["own"])
    monkeypatch.setitem(integrations.integration_utils.INTEGRATION_TO_CALLBACK, "own", Own)
    monkeypatch.setattr(reporting, "PATIENCE", 2.0)
    monkeypatch.setattr(leaving, "_kept", False)
    monkeypatch.setattr(Own, "at", {})
    monkeypatch.setattr(Own, "told", [])
    return Own


@pytest.fixture
def train(tmp_path, tiny_model):
    def call(**more):
        watch = tmp_path / "my-run"
        config = dataclasses.replace(SFT, report_to=["own"])
        return HFTrainer().sft(job_of(tmp_path, "sft", tiny_model, sft_rows(), config, watch=watch, **more))

    return call


def fails():
    raise ConnectionError("no route to the server\nand a page of where")


def hangs():
    threading.Event().wait(600)


def asks():
    if not sys.stdin.read():
        raise EOFError("no key, and nobody to ask for one")


def test_a_reporter_is_told_what_the_log_has_under_the_name_of_the_run(train, own):
    """Not transformers' own sums: an epoch that is the whole plan, no operations, a mean that a resume makes too small."""
    result = train()
    assert own.told[0] == ("begin", "my-run") and own.told[-1] == ("end", None)
    logs = [what for event, what in own.told if event == "log"]
    assert [log["step"] for log in logs] == [entry["step"] for entry in result.log]
    assert [log["loss"] for log in logs] == [entry["loss"] for entry in result.log]
    assert not {"epoch", "total_flos", "train_loss", "train_samples_per_second"} & {key for log in logs for key in log}


@pytest.mark.parametrize(
    "how, said", [(fails, "no route to the server"), (hangs, "no answer in 2 seconds"), (asks, "no key")]
)
def test_a_reporter_that_cannot_begin_is_told_before_the_first_step(train, own, tmp_path, how, said):
    """It ended as an unexpected error of the library's type, after two minutes (wandb) or four and a half (mlflow)."""
    own.at["begin"] = how
    with pytest.raises(UsageError, match="--report-to own: ") as told:
        train()
    assert said in told.value.message
    assert "\n" not in told.value.message and "past runs watch" in told.value.hint
    assert not (tmp_path / "out" / "model").exists() and not (tmp_path / "my-run" / "log.jsonl").exists()
    assert leaving.waits() == (how is not hangs)


@pytest.mark.parametrize("event", ["log", "end"])
@pytest.mark.parametrize("how, said", [(fails, "no route to the server"), (hangs, "2 seconds after the end")])
def test_a_reporter_that_fails_or_hangs_later_ends_no_training(train, own, tmp_path, capsys, event, how, said):
    """The error of a server that went away ended the training at that step; one that went silent kept it for ever."""
    own.at[event] = how
    result = train()
    assert len(result.log) == result.steps and (result.path / "model.safetensors").is_file()
    warnings = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: --report-to own failed")
    ]
    assert len(warnings) == 1 and said in warnings[0]
    assert leaving.waits() == (how is not hangs)


def test_a_training_that_breaks_off_is_not_reported_as_finished(train, monkeypatch):
    """At mlflow an interrupted run stood as FINISHED."""
    from transformers import integrations

    mlflow = pytest.importorskip("mlflow")
    ends = []
    monkeypatch.setattr(mlflow, "end_run", ends.append)

    class Mine(integrations.MLflowCallback):
        def setup(self, *_):
            self._initialized = True

        def on_log(self, *_, **__):
            pass

    monkeypatch.setattr(integrations, "get_available_reporting_integrations", lambda: ["own"])
    monkeypatch.setitem(integrations.integration_utils.INTEGRATION_TO_CALLBACK, "own", Mine)
    monkeypatch.setattr(integrations.integration_utils, "is_mlflow_available", lambda: True)
    monkeypatch.setattr(reporting, "MLflowCallback", Mine)

    def stop(done, total, metrics):
        if done == 2:
            raise PastError("stop")

    with pytest.raises(PastError, match="stop"):
        train(progress=stop)
    assert ends == ["FAILED"]


# ---------------------------------------------------------------- the packages themselves, where they are installed

SMALL = ("--mix", "none", "--epochs", 1, "--step-tokens", 200, "--precision", "fp32")


@pytest.fixture
def texts(workspace):
    (workspace / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sft_rows()[:-1]))
    return "texts.jsonl"


@contextlib.contextmanager
def refusing():
    """The address of a server of mlflow's that makes a run and then takes in nothing."""
    info = {"run_id": "one", "experiment_id": "0", "status": "RUNNING", "lifecycle_stage": "active", "user_id": "me"}

    class Server(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            refused = "log-batch" in self.path
            made = json.dumps({} if refused else {"run": {"info": info, "data": {}}, "run_info": info}).encode()
            self.send_response(403 if refused else 200)
            self.send_header("content-length", str(len(made)))
            self.end_headers()
            self.wfile.write(made)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def losses(workspace):
    lines = (workspace / "runs" / "run" / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_wandb_without_a_key_is_one_line(past, texts, tiny_model, workspace):
    pytest.importorskip("wandb")
    alone = {"HOME": str(workspace), "WANDB_API_KEY": "", "WANDB_MODE": ""}
    said = past("sft", texts, "--base", tiny_model, *SMALL, "--report-to", "wandb", code=2, env=alone).stderr
    assert "error: --report-to wandb: " in said and "WANDB_MODE=offline" in said
    assert not list((workspace / "runs").glob("[!.]*"))


def test_wandb_writes_beside_the_run_and_leaves_stdout_alone(past_json, texts, tiny_model, workspace):
    pytest.importorskip("wandb")
    words = ("sft", texts, "--base", tiny_model, *SMALL, "--name", "run", "--report-to", "wandb")
    past_json(*words, env={"HOME": str(workspace), "WANDB_MODE": "offline"})
    (file,) = workspace.glob("wandb/offline-run-*/run-*.wandb")
    told = list(recorded(file.read_bytes()))
    assert [one.run.display_name for one in told if one.HasField("run")][:1] == ["run"]
    assert [one.exit.exit_code for one in told if one.HasField("exit")] == [0]
    items = [item for one in told for item in one.history.item if [*item.nested_key, item.key][0] == "train/loss"]
    assert [json.loads(item.value_json) for item in items] == pytest.approx(losses(workspace))


def recorded(data):
    """The records of wandb's own file: blocks of 32 KiB of parts, each with its checksum, length and kind (LevelDB's log)."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, whole = 7, b""
    while at + 7 <= len(data):
        if (room := 2**15 - at % 2**15) < 7:
            at += room
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def test_trackio_writes_on_this_machine(past_json, texts, tiny_model, workspace):
    pytest.importorskip("trackio")
    import sqlite3

    words = ("sft", texts, "--base", tiny_model, *SMALL, "--name", "run", "--report-to", "trackio")
    past_json(*words, env={"HOME": str(workspace), "TRACKIO_DIR": str(workspace / "kept")})
    (file,) = (workspace / "kept").glob("*.db")
    rows = sqlite3.connect(file).execute("select run_name, metrics from metrics order by step").fetchall()
    assert {name.rpartition("-")[0] for name, _ in rows} == {"run"}
    assert [json.loads(metrics)["train/loss"] for _, metrics in rows] == pytest.approx(losses(workspace))


def test_mlflow_writes_here_and_what_a_dead_server_does_to_it_ends_no_training(
    past, past_json, texts, tiny_model, workspace
):
    pytest.importorskip("mlflow")
    import sqlite3

    words = ("sft", texts, "--base", tiny_model, *SMALL, "--name", "run", "--report-to", "mlflow")
    past_json(*words, env={"HOME": str(workspace), "MLFLOW_TRACKING_URI": ""})
    here = sqlite3.connect(workspace / "mlflow.db")
    rows = here.execute("select value from metrics where key='loss' order by step").fetchall()
    assert [value for (value,) in rows] == pytest.approx(losses(workspace))
    assert here.execute("select name, status from runs").fetchall() == [("run", "FINISHED")]
    with refusing() as address:
        told = past(
            *words[:-4], "--name", "later", *words[-2:], env={"HOME": str(workspace), "MLFLOW_TRACKING_URI": address}
        )
    assert "failed" in told.stderr.lower()  # by mlflow's own log, or by a warning of ours where it says so at its end
    assert (workspace / "runs" / "later" / "model" / "model.safetensors").is_file()
