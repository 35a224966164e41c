"""The file of `--launch`: what an accelerate configuration says of processes and machines, and what it must not say."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pastcli.errors import UsageError

MAKE = "make one with `accelerate config --config_file FILE`"
KINDS = ("NO", "MULTI_GPU", "MULTI_CPU", "DEEPSPEED")
"""Values of `distributed_type` by which past trains."""
TYPES = {"auto": ("bf16",), "bf16": ("bf16",), "fp32": ()}
"""What accelerate may call the type that `--precision` computes in, beside "no": leave it to the training."""


@dataclass(frozen=True)
class File:
    """What it says; 0 or "" where it is silent."""

    kind: str = "NO"
    num_processes: int = 0
    num_machines: int = 0
    machine_rank: int = 0
    main_process_ip: str = ""
    main_process_port: int = 0


SAID_TWICE = ("num_processes", "num_machines", "main_process_ip", "main_process_port")
"""What options say as well, under these names or without `num_`."""


def read(path: Path, config: Any) -> File:
    """Raises `UsageError` for what is no such file, and for one by which another training than that of `config` would be started:
    accelerate hands its precision and its sharding to the workers, who would compute by them whatever past reckons with."""
    said = _settings(path)
    kind = _word(said.get("distributed_type"))
    where = _word(said.get("compute_environment") or "LOCAL_MACHINE")
    if where != "LOCAL_MACHINE":
        raise UsageError(f"{path}: compute_environment {where} starts workers elsewhere", "it must be LOCAL_MACHINE")
    if kind not in KINDS:
        mend = "with distributed_type MULTI_GPU there, --sharding full shards the model by FSDP2"
        raise UsageError(f"{path}: past does not train by distributed_type {kind}", mend if kind == "FSDP" else MAKE)
    if kind == "DEEPSPEED":
        _check_deepspeed(said, config)
    _check_precision(path, _word(said.get("mixed_precision") or "no").lower(), config.precision)
    numbers = {one.name: _number(path, one.name, said.get(one.name)) for one in fields(File) if one.type == "int"}
    file = File(kind=kind, main_process_ip=str(said.get("main_process_ip") or ""), **numbers)
    for name in SAID_TWICE:
        _agree(path, name, getattr(file, name), getattr(config, name.removeprefix("num_")))
    return file


def _check_precision(path: Path, of_file: str, given: str) -> None:
    if of_file not in ("no", *TYPES[given]):
        raise UsageError(
            f"--precision {given}, but {path} says mixed_precision {of_file}",
            "--precision is what counts, and auto means bf16 where it is fast: leave mixed_precision out of the file",
        )


def _settings(path: Path) -> dict[str, Any]:
    import yaml

    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path} cannot be read: {reason}", MAKE) from error
    if not isinstance(said, dict) or "distributed_type" not in said:
        raise UsageError(f"{path} is no accelerate configuration", MAKE)
    return said


def _word(value: Any) -> str:
    """YAML takes NO and no for false where they stand without quotes."""
    return "NO" if value is False or value is None else str(value)


def _number(path: Path, name: str, value: Any) -> int:
    try:
        number = int(value or 0)
    except (TypeError, ValueError):
        number = -1
    if number < 0 or isinstance(value, float):
        raise UsageError(f"{path}: {name} is {value!r}, which is no count", MAKE)
    return number


def _agree(path: Path, name: str, of_file: Any, given: Any) -> None:
    if of_file and given and of_file != given:
        option = f"--{name.removeprefix('num_').replace('_', '-')}"
        raise UsageError(f"{option} {given}, but {path} says {name} {of_file}", "say it in one place")


def _check_deepspeed(file: dict[str, Any], config: Any) -> None:
    """What DeepSpeed would do to a skill, before it is started: full weights come back in 16 bits, which rounds a change away
    (METHOD 5), and stage 3 holds no weight whole anywhere.
    """
    settings = file.get("deepspeed_config") or {}
    if settings.get("deepspeed_config_file"):
        path = Path(settings["deepspeed_config_file"])
        try:
            settings = json.loads(path.read_text(encoding="utf-8")).get("zero_optimization", {})
        except (OSError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{path} cannot be read: {error}", "it is DeepSpeed's own configuration, in JSON"
            ) from error
    stage = str(settings.get("zero_stage", settings.get("stage", 2)))
    way = "shard by FSDP2 instead: --processes N --sharding full gathers float32"
    if config.method == "full":
        raise UsageError(
            "DeepSpeed gathers weights in 16 bits, which loses a skill that lies in full weights",
            f"--method lora, or {way}",
        )
    if stage == "3" or config.quantize:
        what = "ZeRO-3, which holds no weight whole" if stage == "3" else "--quantize"
        raise UsageError(f"DeepSpeed with {what} is not supported", way)
    if importlib.util.find_spec("deepspeed") is None:
        raise UsageError(
            f"{config.launch} asks for DeepSpeed, which is not installed", f"pip install deepspeed, or {way}"
        )
