"""Programs that are no dependency of ours, installed into a folder of their own: they read what we write, we read what they write."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from vectors_tools import read_model, write_adapter

from pastcli.vectors import extract_skill, inject_skill, open_skill

Q, UP = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"

MERGEKIT = ("--no-deps", "mergekit==0.1.5", "immutables>=0.21")
LM_EVAL = ("lm-eval==0.4.13",)
AFTER_OURS = "import sys; sys.path.append(sys.argv.pop(1)); "
"""Their own dependencies come last on the path: the libraries that we have too are ours."""

EXTRACT_LORA = AFTER_OURS + "from mergekit.scripts.extract_lora import main; main()"
EVALUATE = (
    AFTER_OURS
    + """
import json, lm_eval
from lm_eval.tasks import TaskManager
task = {
    "task": "ours", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": sys.argv[1]}}, "test_split": "test",
    "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "bits_per_byte"}],
}
found = []
for model in sys.argv[2:]:
    made = lm_eval.simple_evaluate(
        "hf", model_args=model + ",dtype=float32", tasks=[task], device="cpu", batch_size=1,
        task_manager=TaskManager(include_defaults=False),
    )
    found.append(made["results"]["ours"]["bits_per_byte,none"])
print(json.dumps(found))
"""
)


def installed(folder, packages):
    """What of the packages and their needs is not here yet, and nothing that is: anew, torch alone would take minutes."""
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    asked = subprocess.run([*pip, "--dry-run", "--report", "-", *packages], capture_output=True, text=True, timeout=900)
    if asked.returncode:
        pytest.skip(f"{packages[-1]} cannot be installed here")
    missing = [f"{it['metadata']['name']}=={it['metadata']['version']}" for it in json.loads(asked.stdout)["install"]]
    done = subprocess.run([*pip, "--no-deps", "--target", str(folder), *missing], capture_output=True, timeout=900)
    if done.returncode:
        pytest.skip(f"{packages[-1]} cannot be installed here")
    return str(folder)


def run(script, *words):
    done = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def tuned(make_tiny, tmp_path):
    """A tiny model, and the same one with two of its matrices changed by something of rank 4 (mergekit lists full ranks too)."""
    base, after = make_tiny(tmp_path / "base"), make_tiny(tmp_path / "tuned")
    rng = np.random.default_rng(0)
    tensors = load_file(after / "model.safetensors")
    for name in (Q, UP):
        rows, columns = tensors[name].shape
        change = rng.normal(0, 0.3, (rows, 4)) @ rng.normal(0, 0.3, (4, columns))
        tensors[name] = (tensors[name] + change).astype(np.float32)
    save_file(tensors, after / "model.safetensors", metadata={"format": "pt"})
    return base, after


@pytest.mark.timeout(2400)
@pytest.mark.slow
def test_what_mergekit_extract_lora_writes_is_a_skill(tuned, tmp_path):
    """The adapter of (tuned - base) at full rank of the linear layers (a whole module that it saves beside is refused), given as RL model of that base, is the difference of the two."""
    base, after = tuned
    folder = installed(tmp_path / "mergekit", MERGEKIT)
    words = [
        "--model",
        after,
        "--base-model",
        base,
        "--out-path",
        tmp_path / "lora",
        "--max-rank",
        32,
        "--exclude-regex",
        "embed|norm|lm_head",
    ]
    run(EXTRACT_LORA, folder, *words)
    made = extract_skill(base, tmp_path / "lora", tmp_path / "v", assume_parent=True)
    assert made.form == "low_rank"
    extract_skill(base, after, tmp_path / "exact")
    ours, theirs = open_skill(tmp_path / "exact"), open_skill(tmp_path / "v")
    for name in (Q, UP):
        np.testing.assert_allclose(theirs.block(name), ours.block(name), atol=2e-5)
    inject_skill([(tmp_path / "v", 1.0)], base, tmp_path / "out")
    wanted, got = read_model(after), read_model(tmp_path / "out")
    for name in (Q, UP):
        np.testing.assert_allclose(got[name], wanted[name], atol=2e-5)


@pytest.mark.timeout(2400)
@pytest.mark.slow
def test_lm_eval_scores_our_directory_and_our_adapter_alike(tuned, tmp_path):
    from pastcli.vectors.export_adapter import export_adapter

    base, _ = tuned
    folder = installed(tmp_path / "lm_eval", LM_EVAL)
    rng = np.random.default_rng(1)
    pairs = {
        name: (rng.normal(0, 0.5, (4, columns)).astype(np.float32), rng.normal(0, 0.5, (rows, 4)).astype(np.float32))
        for name, (rows, columns) in {Q: (32, 32), UP: (64, 32)}.items()
    }
    write_adapter(tmp_path / "rl", pairs, base=base, alpha=4.0)
    extract_skill(base, tmp_path / "rl", tmp_path / "v")
    inject_skill([(tmp_path / "v", 0.5)], base, tmp_path / "merged")
    export_adapter([(tmp_path / "v", 0.5)], base, tmp_path / "adapter")
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "".join(json.dumps({"text": t}) + "\n" for t in ("the quick brown fox", "seven wizards brew potions"))
    )
    models = [
        f"pretrained={base}",
        f"pretrained={tmp_path / 'merged'}",
        f"pretrained={base},peft={tmp_path / 'adapter'}",
    ]
    plain, merged, adapted = json.loads(run(EVALUATE, folder, texts, *models).splitlines()[-1])
    assert merged == pytest.approx(adapted, rel=1e-5)
    assert abs(plain - merged) > 1e-3, "the skill changes what lm-eval sees"
