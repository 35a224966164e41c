"""Training over several machines: two launchers that meet by an address, one run directory, machine 0 writes."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import dying
import psutil
import pytest
import torch
from safetensors.torch import load_file
from train_tools import SFT, sft_rows

from pastcli.errors import UsageError

SMALL = ("--lr", "1e-3", "--step-tokens", 200, "--mix", "none", "--precision", "fp32", "--save-every", 3)
PATIENCE = 240


@pytest.fixture
def machines(workspace):
    """`machines("sft", ...)` runs the same command as machine 0 and as machine 1, and gives both results.

    A port that somebody else took between being found and being used is found anew; nothing outlives the test.
    """
    started = []

    def call(*words):
        for _ in range(5):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            there = ("--machines", 2, "--main-process-ip", "127.0.0.1", "--main-process-port", port)
            both = [_begin(started, *words, *there, "--machine-rank", rank) for rank in (0, 1)]
            ends = _ends(both)
            if not any("another process is utilizing it" in err for _, _, err in ends):
                return ends
        raise AssertionError("no free port")

    yield call
    for process in started:
        for child in [*_family(process), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait()


def _begin(started, *words):
    place = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program = [dying.__file__] if "DYING" in os.environ else ["-m", "pastcli"]
    process = psutil.Popen([sys.executable, *program, *map(str, words), "--json"], **place)
    started.append(process)
    return process


def _ends(both):
    """(exit code, stdout, stderr) of each."""
    end = time.monotonic() + PATIENCE
    for process in both:
        try:
            process.wait(max(1.0, end - time.monotonic()))
        except psutil.TimeoutExpired:
            process.send_signal(signal.SIGINT)
    return [(process.wait(60), *process.communicate()) for process in both]


def _family(process):
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def texts(workspace, tiny_model):
    (workspace / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sft_rows() if "text" in row))
    return ("sft", "texts.jsonl", "--base", tiny_model, "--epochs", 2, *SMALL)


def same(one, other):
    mine, theirs = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_machines_make_one_run_with_the_numbers_of_one_process(machines, past, texts, workspace):
    (code0, out0, err0), (code1, out1, err1) = machines(*texts, "--name", "two")
    assert (code0, code1) == (0, 0), err0 + err1
    assert json.loads(out0)["run"] == "two" and json.loads(out1) == {"machine": 1, "joined": "two"}
    past(*texts, "--name", "one")
    same(workspace / "runs" / "one", workspace / "runs" / "two")
    assert sorted(path.name for path in (workspace / "runs").iterdir() if path.name[0] != ".") == ["one", "two"]


@pytest.mark.slow
def test_kill_9_on_another_machine_is_told_by_both_and_resume_gives_the_same(
    machines, past, texts, workspace, monkeypatch
):
    with monkeypatch.context() as dies:  # the worker of machine 1 does
        dies.setenv("DYING", "past_hf.training.watch:Watch.on_log 5")
        dies.setenv("DYING_RANK", "1")
        dies.setenv("PYTHONPATH", str(Path(dying.__file__).parent))
        (code0, _, err0), (code1, _, err1) = machines(*texts, "--name", "two")
    assert (code0, code1) == (1, 1)
    assert "worker 1: killed by SIGKILL on machine 1" in err0, err0
    assert "worker 1 was killed by SIGKILL" in err1, err1
    (code0, _, err0), (code1, _, err1) = machines(*texts, "--name", "two", "--resume")  # by another port
    assert (code0, code1) == (0, 0) and "resuming two" in err0, err0 + err1
    past(*texts, "--name", "one")
    same(workspace / "runs" / "one", workspace / "runs" / "two")


@pytest.mark.parametrize(
    "words, said",
    [
        (("--machine-rank", 1), "--machine-rank 1 without --machines"),
        (("--machines", 2), "2 machines need the address of the first"),
        (
            ("--machines", 2, "--main-process-ip", "there", "--main-process-port", 1, "--processes", 3),
            "cannot be shared",
        ),
        (("--machines", 2, "--machine-rank", 2), "--machine-rank 2 of 2 machines"),
    ],
)
def test_machines_that_could_not_meet_are_refused_before_anything_starts(past, texts, workspace, words, said):
    assert said in past(*texts, *words, code=2).stderr
    assert not (workspace / "runs").exists() or not list((workspace / "runs" / ".partial").iterdir())


def test_exactly_these_arguments_reach_accelerate(tmp_path):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from past_hf.training.layout import command, layout_of

    def parsed(**changes):
        words = command(tmp_path, layout_of(dataclasses.replace(SFT, **changes)))
        assert words[1:3] == ["-m", "accelerate.commands.launch"]
        return _validate_launch_command(launch_command_parser().parse_args(words[3:]))[0]

    there = dict(machines=2, machine_rank=1, processes=4, main_process_ip="10.0.0.1", main_process_port=29500)
    given = parsed(**there)
    assert (given.num_machines, given.machine_rank, given.num_processes) == (2, 1, 4)
    assert (given.main_process_ip, int(given.main_process_port), given.same_network) == ("10.0.0.1", 29500, True)
    assert given.multi_gpu and given.module and given.training_script == "past_hf.training.worker"
    file = tmp_path / "two.yaml"
    file.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_machines: 2\nnum_processes: 4\n"
        "machine_rank: 0\nmain_process_ip: 10.0.0.7\nmain_process_port: 29501\nsame_network: true\n"
    )
    of_file = parsed(launch=str(file), machine_rank=1)  # one file for all machines
    assert (of_file.num_machines, of_file.machine_rank, of_file.num_processes) == (2, 1, 4)
    assert (of_file.main_process_ip, int(of_file.main_process_port)) == ("10.0.0.7", 29501)
    alone = parsed(processes=2)
    assert (alone.num_machines, alone.num_processes, int(alone.main_process_port)) == (1, 2, 0)


LAUNCH = "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 2\n"


@pytest.mark.parametrize(
    "text, words, said",
    [
        (LAUNCH, ("--processes", 3), "--processes 3, but two.yaml says num_processes 2"),
        (LAUNCH, ("--machines", 2), "--machines 2, but two.yaml says num_machines 1"),
        (LAUNCH.replace("2", "two"), (), "num_processes is 'two', which is no count"),
        (LAUNCH.replace("2", "-1"), (), "num_processes is -1, which is no count"),
        (LAUNCH + "machine_rank: 1\n", (), "--machine-rank 1 of 1 machine"),
        (LAUNCH + "mixed_precision: fp16\n", (), "--precision fp32, but two.yaml says mixed_precision fp16"),
        (LAUNCH + "mixed_precision: bf16\n", (), "--precision fp32, but two.yaml says mixed_precision bf16"),
        (LAUNCH + "mixed_precision: fp8\n", ("--precision", "auto"), "--precision auto, but two.yaml says"),
        (LAUNCH.replace("MULTI_GPU", "FSDP"), (), "past does not train by distributed_type FSDP"),
        (LAUNCH.replace("MULTI_GPU", "MEGATRON_LM"), (), "past does not train by distributed_type MEGATRON_LM"),
        (LAUNCH.replace("LOCAL_MACHINE", "AMAZON_SAGEMAKER"), (), "AMAZON_SAGEMAKER starts workers elsewhere"),
        ("a: [1\n", (), "two.yaml cannot be read"),
    ],
)
def test_a_launch_file_that_says_otherwise_than_the_settings_is_refused(past, texts, workspace, text, words, said):
    """Its number of processes went before the one that was typed, its mixed precision before --precision (16-bit arithmetic in a
    training that called itself fp32), and of FSDP on processors there was nothing left but the name."""
    (workspace / "two.yaml").write_text(text)
    told = past(*texts, "--launch", "two.yaml", *words, code=2).stderr
    assert said in told and "Traceback" not in told and "hint:" in told


def test_the_precision_of_a_shell_does_not_decide(past_json, texts):
    """transformers takes ACCELERATE_MIXED_PRECISION where its own arguments ask for nothing."""
    hashes = [
        past_json(*texts, "--name", name or "none", env={"ACCELERATE_MIXED_PRECISION": name} if name else {})["metrics"]
        for name in ("", "bf16")
    ]
    assert hashes[0]["final_hash"] == hashes[1]["final_hash"]


DEEPSPEED = """
compute_environment: LOCAL_MACHINE
distributed_type: DEEPSPEED
num_machines: 1
num_processes: 2
mixed_precision: bf16
deepspeed_config: {zero_stage: 2, gradient_accumulation_steps: 1, offload_optimizer_device: none, zero3_init_flag: false}
"""


def present(monkeypatch, package, it):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: it if name == package else find(name, *a))


def test_exactly_these_arguments_reach_deepspeed_by_accelerate(tmp_path, monkeypatch):
    """Not run here, where there is no card: up to what accelerate gives to DeepSpeed's own reader of the environment."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env
    from past_hf.training.layout import command, layout_of

    present(monkeypatch, "deepspeed", True)
    file = tmp_path / "zero2.yaml"
    file.write_text(DEEPSPEED)
    layout = layout_of(dataclasses.replace(SFT, method="lora", precision="bf16", launch=str(file)))
    given, *_ = _validate_launch_command(launch_command_parser().parse_args(command(tmp_path, layout)[3:]))
    assert layout.processes == 2 and given.use_deepspeed and not given.multi_gpu and given.num_processes == 2
    given.deepspeed_fields_from_accelerate_config = "zero_stage"
    _, environment = prepare_deepspeed_cmd_env(given)
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true" and environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "2"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"


@pytest.mark.parametrize(
    "changes, text, said",
    [
        (dict(method="full"), DEEPSPEED, "loses a skill that lies in full weights"),
        (
            dict(method="lora"),
            DEEPSPEED.replace("zero_stage: 2", "zero_stage: 3"),
            "ZeRO-3, which holds no weight whole",
        ),
        (
            dict(method="lora"),
            DEEPSPEED.replace("zero_stage: 2", "deepspeed_config_file: own.json"),
            "own.json cannot be read",
        ),
        (dict(method="lora", quantize="4bit"), DEEPSPEED, "with --quantize is not supported"),
        (dict(method="lora"), DEEPSPEED, "asks for DeepSpeed, which is not installed"),
    ],
)
def test_what_deepspeed_would_lose_or_lacks_is_said_before_anything_starts(tmp_path, monkeypatch, changes, text, said):
    from past_hf.training.layout import layout_of

    present(monkeypatch, "deepspeed", None)
    file = tmp_path / "zero.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        layout_of(dataclasses.replace(SFT, launch=str(file), **changes))
    assert "own.json" in said or "--sharding full" in caught.value.hint


def test_a_machine_that_does_not_share_the_run_says_so(tmp_path, monkeypatch):
    from past_hf.training import worker as module

    class Store(dict):
        set = dict.__setitem__
        get = dict.__getitem__

    store = Store({"past/job": json.dumps([str(tmp_path / "elsewhere" / "job.pickle"), "x"])})
    monkeypatch.setattr(module, "_store", lambda: store)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="does not see what machine 0 has"):
        module._job(tmp_path, 1)
    (tmp_path / "job.pickle").write_bytes(b"older")
    store["past/job"] = json.dumps([str(tmp_path / "job.pickle"), "the digest of a newer one"])
    with pytest.raises(UsageError, match="does not see what machine 0 has"):
        module._job(tmp_path, 1)


def test_deepspeed_without_a_card_is_refused_where_it_was_left_out_without_a_word(past, texts, workspace):
    """accelerate trained by DDP, which holds the whole optimiser in each process, and ended well."""
    (workspace / "ds.yaml").write_text(DEEPSPEED)
    stub = workspace / "stub" / "deepspeed"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("")
    told = past(
        *texts,
        "--method",
        "lora",
        "--launch",
        "ds.yaml",
        "--precision",
        "bf16",
        code=2,
        env={"PYTHONPATH": str(workspace / "stub"), "CUDA_VISIBLE_DEVICES": ""},
    ).stderr
    assert "asks for DeepSpeed, which accelerate starts on cards only" in told and "--sharding full" in told
    assert not [*(workspace / "runs").glob("[!.]*")]
