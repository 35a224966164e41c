"""How fast, how large, how right: extract, inject and probe against `cat`, `cp` and mergekit on the same files.

    python tests/bench/bench_vectors.py [--size 1b|3b|small] [--mergekit PATH] [--rounds 3] [--json FILE]

Builds a synthetic llama in a temporary directory (base, SFT, RL, target: bf16, three shards each), runs the
real command line on it with the files warm in the page cache, everything interleaved in each round, and
removes it all. Peak memory is the child's own maximum resident set. The peer is mergekit's `task_arithmetic`,
the same formula; its result is compared weight by weight.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SIZES = {  # hidden, intermediate, layers, heads, key-value heads, vocabulary
    "small": (512, 1408, 8, 8, 4, 8000),
    "1b": (2048, 5632, 22, 32, 4, 32000),
    "3b": (3200, 8640, 26, 32, 32, 32000),
}
SHARDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument(
        "--mergekit", default=shutil.which("mergekit-yaml"), help="path of mergekit-yaml (default: from PATH)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=None, help="where the temporary models go (default: the system's)")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-vectors-", dir=options.folder) as folder:
        report = bench(Path(folder), options.size, options.mergekit, options.rounds)
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


class Bench:
    """Times, processor seconds and peak memory of labelled commands; inputs are read before each, so they are warm."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}
        self.cpu: dict[str, float] = {}
        self.peaks: dict[str, int] = {}

    def __call__(
        self, label: str, words: list, inputs: list[Path], output: Path | None = None, environment=None
    ) -> None:
        warm(*inputs)
        if output is not None:
            remove(output)
        seconds, processor, peak = timed([str(word) for word in words], environment)
        self.times.setdefault(label, []).append(seconds)
        self.cpu[label] = round(min(processor, self.cpu.get(label, processor)), 2)
        self.peaks[label] = max(peak, self.peaks.get(label, 0))


def bench(folder: Path, size: str, mergekit: str | None, rounds: int) -> dict:
    """Times (the best of `rounds`), memory, ratios to the copy of the same bytes, and the difference to the peer."""
    models = build(folder, size)
    base, sft, rl, target = models.values()
    skill, merged, copy = folder / "skill.safetensors", folder / "merged", folder / "copy"
    small = lora(folder, models)
    past = [sys.executable, "-m", "pastcli", "-C", folder]
    inject = [*past, "inject", "--target", target]
    probe = [*past, "probe-orthogonality", "--base", base, "--sft", sft, "--rl", rl, "--no-figures"]
    measure = Bench()
    peer = {}
    for number in range(rounds):
        measure("extract", [*past, "extract", "--sft", sft, "--rl", rl, "-o", skill], [sft, rl], skill)
        measure("copy for extract", reference([sft, rl], skill, copy), [sft, rl], copy)
        remove(copy)
        measure("inject", [*inject, "--vector", skill, "-o", merged], [target, skill], merged)
        if mergekit and number == 0:
            words = peer_command(folder, models, mergekit, copy)
            measure("mergekit", words, [sft, rl, target], copy, {"HF_HUB_OFFLINE": "1"})
            peer = compare(merged, copy)
        measure("copy for inject", reference([target, skill], target, copy), [target, skill], copy)
        remove(copy)
        measure("inject LoRA", [*inject, "--vector", small, "-o", merged], [target], merged)
        measure("copy for LoRA", reference([target], target, copy), [target], copy)
        remove(copy)
        remove(merged)
        measure("inject as adapter", [*inject, "--vector", small, "--as", "adapter"], [])
        measure("probe", probe, [base, sft, rl])
        measure("read for probe", reference([base, sft, rl], None, copy), [base, sft, rl])
    return report(measure, size, models, peer)


def report(measure: Bench, size: str, models: dict[str, Path], peer: dict) -> dict:
    """Best times, and each command over the plain reading and copying of the same bytes."""
    best = {label: round(min(values), 2) for label, values in measure.times.items()}
    pairs = {"extract": "extract", "inject": "inject", "inject LoRA": "LoRA"}
    ratio = {label: round(best[label] / best[f"copy for {against}"], 2) for label, against in pairs.items()}
    ratio["probe"] = round(best["probe"] / best["read for probe"], 2)
    if peer:
        ratio["mergekit / inject"] = round(best["mergekit"] / best["inject"], 2)
    return {
        "size": size,
        "bytes per model": sum(file.stat().st_size for file in models["sft"].glob("*.safetensors")),
        "seconds": best,
        "cpu seconds": measure.cpu,
        "all rounds": {label: [round(value, 2) for value in values] for label, values in measure.times.items()},
        "peak MiB": {label: round(peak / 1024) for label, peak in measure.peaks.items()},
        "ratio": ratio,
        "against mergekit": peer or "mergekit absent: give --mergekit PATH",
    }


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def timed(words: list[str], environment: dict | None) -> tuple[float, float, int]:
    """Wall seconds and processor seconds of one process, and its peak resident KiB from exec on (VmHWM)."""
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
    return seconds, processor_seconds() - spent, peak


def processor_seconds() -> float:
    """User and system time of all finished children: what a busy machine distorts least."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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
    for path in paths:
        for file in path.glob("*.safetensors") if path.is_dir() else [path]:
            with open(file, "rb") as handle:
                while handle.read(1 << 24):
                    pass


def build(folder: Path, size: str) -> dict[str, Path]:
    """Four bf16 models of one base, out of one pool of Gaussian numbers (drawing them all would take minutes)."""
    pool = np.random.default_rng(0).standard_normal((1 << 22) + 12345, dtype=np.float32)
    spread = {"base": (), "sft": ((1, 2e-3),), "rl": ((1, 2e-3), (2, 1e-3)), "target": ((3, 2e-3),)}
    return {name: write_model(folder / name, size, pool, changes) for name, changes in spread.items()}


def write_model(folder: Path, size: str, pool: np.ndarray, changes: tuple) -> Path:
    hidden, intermediate, layers, heads, kv_heads, vocab = SIZES[size]
    folder.mkdir()
    shapes = list(layout(hidden, intermediate, layers, hidden // heads * kv_heads, vocab).items())
    total, weight_map = sum(int(np.prod(shape)) for _, shape in shapes), {}
    shards, filled = [[] for _ in range(SHARDS)], 0
    for name, shape in shapes:
        shards[min(filled * SHARDS // total, SHARDS - 1)].append((name, shape))
        filled += int(np.prod(shape))
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{SHARDS:05d}.safetensors"
        weight_map |= {name: file for name, _ in shard}
        write_shard(folder / file, shard, pool, changes)
    index = {"metadata": {"total_size": 2 * total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def layout(hidden: int, intermediate: int, layers: int, kv: int, vocab: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.self_attn.q_proj.weight": (hidden, hidden),
            f"{prefix}.self_attn.k_proj.weight": (kv, hidden),
            f"{prefix}.self_attn.v_proj.weight": (kv, hidden),
            f"{prefix}.self_attn.o_proj.weight": (hidden, hidden),
            f"{prefix}.mlp.gate_proj.weight": (intermediate, hidden),
            f"{prefix}.mlp.up_proj.weight": (intermediate, hidden),
            f"{prefix}.mlp.down_proj.weight": (hidden, intermediate),
            f"{prefix}.input_layernorm.weight": (hidden,),
            f"{prefix}.post_attention_layernorm.weight": (hidden,),
        }
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


def write_shard(path: Path, shard: list, pool: np.ndarray, changes: tuple) -> None:
    table, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shard:
        size = 2 * int(np.prod(shape))
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as handle:
        handle.write(len(header).to_bytes(8, "little") + header)
        for name, shape in shard:
            seed = sum(name.encode())
            left = int(np.prod(shape))
            while left:
                step = min(left, 1 << 22)
                values = pool[seed : seed + step] * np.float32(0.02)
                for shift, scale in changes:
                    begin = (seed + 4001 * shift) % 12345
                    values = values + pool[begin : begin + step] * np.float32(scale)
                ((values.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16).tofile(handle)
                left, seed = left - step, (seed + 777) % 12345


def lora(folder: Path, models: dict[str, Path]) -> Path:
    """A rank-16 skill on all linear layers, made once from an adapter directory."""
    skill = folder / "lora.safetensors"
    if skill.exists():
        return skill
    from safetensors.numpy import save_file

    index = json.loads((models["sft"] / "model.safetensors.index.json").read_text())["weight_map"]
    size = json.loads((models["sft"] / "config.json").read_text())
    shapes = layout(
        size["hidden_size"],
        size["intermediate_size"],
        size["num_hidden_layers"],
        size["hidden_size"] // size["num_attention_heads"] * size["num_key_value_heads"],
        size["vocab_size"],
    )
    rng, tensors = np.random.default_rng(1), {}
    for name in index:
        if "_proj" in name:
            module, (rows, columns) = name.removesuffix(".weight"), shapes[name]
            tensors[f"base_model.model.{module}.lora_A.weight"] = (
                rng.standard_normal((16, columns), dtype=np.float32) * 0.02
            )
            tensors[f"base_model.model.{module}.lora_B.weight"] = (
                rng.standard_normal((rows, 16), dtype=np.float32) * 0.02
            )
    adapter = folder / "adapter"
    adapter.mkdir()
    save_file(tensors, adapter / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": 16,
        "lora_alpha": 32,
        "base_model_name_or_path": str(models["sft"]),
        "bias": "none",
    }
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    timed(
        [
            sys.executable,
            "-m",
            "pastcli",
            "-C",
            str(folder),
            "extract",
            "--sft",
            str(models["sft"]),
            "--rl",
            str(adapter),
            "-o",
            str(skill),
        ],
        None,
    )
    return skill


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
    from pastcli.vectors.models import open_model

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
