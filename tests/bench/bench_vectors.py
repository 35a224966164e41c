"""How fast, how large, how right: extract, inject and probe against `cat`, `cp` and mergekit on the same files.

    python tests/bench/bench_vectors.py [--size 0.4b|1b|3b|small] [--mergekit PATH] [--rounds 3] [--json FILE]

Builds a synthetic llama in a temporary directory (base, SFT, RL, target: bf16, three shards each), runs the
real command line on it with the files warm in the page cache, everything interleaved in each round, and
removes it all. Peak memory is the child's own maximum resident set. The peer is mergekit's `task_arithmetic`,
the same formula; its result is compared weight by weight.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from synthetic import SIZES, build, lora

ROOT = Path(__file__).resolve().parents[2]
MEMORY_MIB, TIMES_COPY, ROOM = 700, 2.0, 30e9
"""What is asked of extract and inject: peak memory, and time over reading and writing the same bytes; bytes of disk."""


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_weight_arithmetic_keeps_up_with_the_disk(tmp_path):
    if shutil.disk_usage(tmp_path).free < ROOM:
        pytest.skip(f"needs {ROOM / 1e9:.0f} GB of disk")
    found = bench(tmp_path, "1b", shutil.which("mergekit-yaml"), rounds=2)
    print(json.dumps(found, indent=2))
    assert all(
        peak <= MEMORY_MIB for label, peak in found["peak MiB"].items() if label in ("extract", "inject", "inject LoRA")
    )
    for label in ("extract", "inject", "inject LoRA"):
        assert found["ratio"][label]["median"] <= TIMES_COPY, label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument(
        "--mergekit", default=shutil.which("mergekit-yaml"), help="path of mergekit-yaml (default: from PATH)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--memory", action="store_true", help="peak memory of extract and inject only, one round (fewer files)"
    )
    parser.add_argument("--folder", default=None, help="where the temporary models go (default: the system's)")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-vectors-", dir=options.folder) as folder:
        if options.memory:
            report = memory(Path(folder), options.size)
        else:
            report = bench(Path(folder), options.size, options.mergekit, options.rounds)
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


class Bench:
    """Times, processor seconds and peak memory of labelled commands; inputs are read before each, so they are warm,
    and the disk is idle."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.cpu: dict[str, dict[str, float]] = {}
        self.peaks: dict[str, int] = {}

    def __call__(
        self, label: str, words: list, inputs: list[Path], output: Path | None = None, environment=None
    ) -> None:
        warm(*inputs)
        if output is not None:
            remove(output)
        seconds, processor, peak = timed([str(word) for word in words], environment)
        self.times.setdefault(label, []).append(seconds)
        if label not in self.cpu or sum(processor) < sum(self.cpu[label].values()):
            self.cpu[label] = {"user": round(processor[0], 2), "system": round(processor[1], 2)}
        self.peaks[label] = max(peak, self.peaks.get(label, 0))


def bench(folder: Path, size: str, mergekit: str | None, rounds: int) -> dict:
    """Times of every round, memory, ratios to the copy of the same bytes, and the difference to the peer."""
    models = build(folder, size)
    as_installed()
    base, sft, rl, target = models.values()
    skill, merged, copy = folder / "skill.safetensors", folder / "merged", folder / "copy"
    small = lora(folder, models)
    past = [sys.executable, "-m", "pastcli", "-C", folder]
    inject = [*past, "inject", "--target", target]
    probe = [*past, "probe-orthogonality", "--base", base, "--sft", sft, "--rl", rl, "--no-figures"]
    measure = Bench()
    peer = {}
    for _ in range(rounds):
        measure("extract", [*past, "extract", "--sft", sft, "--rl", rl, "-o", skill], [sft, rl], skill)
        measure("copy for extract", reference([sft, rl], skill, copy), [sft, rl], copy)
        remove(copy)
        measure("inject", [*inject, "--vector", skill, "-o", merged], [target, skill], merged)
        if mergekit:
            words = peer_command(folder, models, mergekit, copy)
            measure("mergekit", words, [sft, rl, target], copy, {"HF_HUB_OFFLINE": "1"})
            peer = peer or compare(merged, copy)
        measure("copy for inject", reference([target, skill], target, copy), [target, skill], copy)
        remove(copy)
        measure("inject LoRA", [*inject, "--vector", small, "-o", merged], [target], merged)
        measure("copy for LoRA", reference([target], target, copy), [target], copy)
        remove(copy)
        remove(merged)
        measure("inject as adapter", [*inject, "--vector", small, "--as", "adapter"], [small])
        measure("probe", probe, [base, sft, rl])
        measure("read for probe", reference([base, sft, rl], None, copy), [base, sft, rl])
    return report(measure, size, models, peer)


def memory(folder: Path, size: str) -> dict:
    """Peak resident memory at a size whose four models need not fit the disk at once; times are not comparable."""
    models = build(folder, size, ("sft", "rl"))
    sft, rl, skill, merged = models["sft"], models["rl"], folder / "skill.safetensors", folder / "merged"
    small = lora(folder, models)
    past = [sys.executable, "-m", "pastcli", "-C", folder]
    measure = Bench()
    measure("probe", [*past, "probe-orthogonality", "--base", sft, "--sft", sft, "--rl", rl, "--no-figures"], [])
    measure("extract", [*past, "extract", "--sft", sft, "--rl", rl, "-o", skill], [])
    remove(rl)
    measure("inject", [*past, "inject", "--target", sft, "--vector", skill, "-o", merged], [])
    remove(merged)
    measure("inject LoRA", [*past, "inject", "--target", sft, "--vector", small, "-o", merged], [])
    parameters = sum(file.stat().st_size for file in sft.glob("*.safetensors")) // 2
    return {
        "size": size,
        "parameters": parameters,
        "peak MiB": {name: round(kib / 1024) for name, kib in measure.peaks.items()},
    }


def report(measure: Bench, size: str, models: dict[str, Path], peer: dict) -> dict:
    """All times; each command over the plain reading and copying of the same bytes, round by round."""
    pairs = {"extract": "copy for extract", "inject": "copy for inject", "inject LoRA": "copy for LoRA"}
    pairs["probe"] = "read for probe"
    ratio = {label: spread(measure.times[label], measure.times[against]) for label, against in pairs.items()}
    if peer:
        ratio["mergekit / inject"] = spread(measure.times["mergekit"], measure.times["inject"])
    stored = sum(file.stat().st_size for file in models["sft"].glob("*.safetensors"))
    return {
        "size": size,
        "bytes per model": stored,
        "user seconds of inject per billion weights": round(measure.cpu["inject"]["user"] / (stored / 2e9), 2),
        "ratio": ratio,
        "peak MiB": {label: round(peak / 1024) for label, peak in measure.peaks.items()},
        "seconds": {label: [round(value, 2) for value in values] for label, values in measure.times.items()},
        "cpu seconds": measure.cpu,
        "against mergekit": peer or "mergekit absent: give --mergekit PATH",
    }


def spread(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Median, lowest and highest of the ratios of the rounds."""
    ratios = [a / b for a, b in zip(ours, theirs)]
    return {"median": round(statistics.median(ratios), 2), "low": round(min(ratios), 2), "high": round(max(ratios), 2)}


def as_installed() -> None:
    """Give the checkout the bytecode that pip gives an installed package (and has given the peer's)."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for package in (ROOT / "pastcli", ROOT / "plugins"):
        compileall.compile_dir(package, quiet=2)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def timed(words: list[str], environment: dict | None) -> tuple[float, tuple[float, float], int]:
    """Wall seconds, user and system seconds of one process, and its peak resident KiB from exec on (VmHWM)."""
    began, peak, spent = time.perf_counter(), 0, processor_seconds()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, **(environment or {})}, cwd=ROOT
        )
        while process.poll() is None:
            peak = max(peak, high_water(process.pid))
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        if process.returncode != 0:
            errors.seek(0)
            raise SystemExit(f"failed: {' '.join(words)}\n{errors.read().decode()[-2000:]}")
    user, system = (after - before for after, before in zip(processor_seconds(), spent))
    return seconds, (user, system), peak


def processor_seconds() -> tuple[float, float]:
    """User and system time of all finished children: what a busy machine distorts least."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime, usage.ru_stime


def high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def reference(inputs: list[Path], like: Path | None, copy: Path) -> list[str]:
    """`cat` of the inputs and `cp` of a file or directory as large as the output."""
    files = " ".join(
        f"'{file}'" for path in inputs for file in (sorted(path.glob("*.safetensors")) if path.is_dir() else [path])
    )
    command = f"cat {files} > /dev/null"
    if like is not None:
        command += f"; rm -rf '{copy}'; cp -r '{like}' '{copy}'"
    return ["sh", "-c", command]


def warm(*paths: Path) -> None:
    """The inputs into the page cache, and onto the disk what the commands before have written."""
    os.sync()
    for path in paths:
        for file in path.glob("*.safetensors") if path.is_dir() else [path]:
            with open(file, "rb") as handle:
                while handle.read(1 << 24):
                    pass


def peer_command(folder: Path, models: dict[str, Path], mergekit: str, out: Path) -> list:
    """task_arithmetic with base = source SFT, the target at weight 1 and RL at weight lambda: the same formula."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"merge_method: task_arithmetic\nbase_model: {models['sft']}\ndtype: float32\nout_dtype: bfloat16\nmodels:\n"
        + "".join(f"  - model: {models[name]}\n    parameters: {{weight: 1.0}}\n" for name in ("target", "rl"))
    )
    return [mergekit, recipe, out, "--no-copy-tokenizer", "--lazy-unpickle"]


def compare(ours: Path, theirs: Path) -> dict:
    """Share of bf16 weights that are equal, and the largest difference in steps of the bf16 grid."""
    from pastcli.vectors.files.opening import open_model

    a, b = open_model(ours), open_model(theirs)
    equal = total = worst = 0
    for name, spec in a.specs().items():
        step = max(1, (1 << 22) // spec.columns) * spec.columns
        for start in range(0, spec.numel, step):
            x, y = (m.read(name, start, min(start + step, spec.numel)).view(np.int32) >> 16 for m in (a, b))
            apart = np.abs(x - y)
            equal, total, worst = equal + int((apart == 0).sum()), total + len(x), max(worst, int(apart.max()))
    return {"equal": round(equal / total, 6), "worst, in bf16 steps": worst}


if __name__ == "__main__":
    main()
