"""The README.md of a model directory: what it came from, under which licence, how it was made, what became of the skill."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import __version__, models, runs
from .config import STAGES, to_dict
from .files import read_json
from .standing_in import trusted

LICENCES = {alias: "other" if alias == "qwen-3b" else "apache-2.0" for alias in models.ALIASES}
"""Licences of the models behind the aliases (qwen-3b has the Qwen Research licence)."""

_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_TAGS = {"sft": ["sft"], "rl": ["rl", "grpo"], "inject": ["skill-injection", "task-arithmetic"]}

_MODEL = """from transformers import {auto}, {words}

model = {auto}.from_pretrained("{name}")
{of} = {words}.from_pretrained("{name}")"""
_ADAPTER = """from peft import PeftModel
from transformers import {auto}, {words}

base = {auto}.from_pretrained("{base}")  # the model this adapter was made for
model = PeftModel.from_pretrained(base, "{name}")
{of} = {words}.from_pretrained("{name}")"""
_TASKS = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForImageTextToText": "image-text-to-text",
    "AutoModelForMultimodalLM": "any-to-any",
}
"""transformers' class for a model -> the hub's name of what it does."""


def write_card(folder: Path, run: runs.Run, source: Path, kind: str) -> None:
    """Write the card of the model or adapter (`kind`) that `run` made in `folder` out of the model at `source`."""
    base = models.noted_base(folder) or models.noted_base(source) or str(models.read_note(folder).get("base") or "")
    base = "" if os.path.isabs(base) else models.ALIASES.get(base, base)
    licence, auto = licence_of(source), auto_class(folder, source)
    front = {
        **({"base_model": base, "base_model_relation": "adapter" if kind == "adapter" else "finetune"} if base else {}),
        "license": licence or "unknown",
        "library_name": "peft" if kind == "adapter" else "transformers",
        "pipeline_tag": _TASKS[auto],
        "tags": ["past", "parametric-skill-transfer", *_TAGS.get(run.manifest["stage"], [])],
    }
    usage = _ADAPTER if kind == "adapter" else _MODEL
    named = _named_base(folder) or base or "BASE"
    processor = auto != "AutoModelForCausalLM" and any(folder.glob("*processor_config.json"))
    reader = dict(of="processor", words="AutoProcessor") if processor else dict(of="tokenizer", words="AutoTokenizer")
    parts = [
        f"---\n{_yaml(front)}---\n\n# {run.id}\n",
        f"Made by [past](https://arxiv.org/abs/2601.11258) {__version__}, stage `{run.manifest['stage']}`.",
        f"```python\n{usage.format(name=folder.name, base=named, auto=auto, **reader)}\n```",
        f"## Lineage\n\n{_lineage(run.parents())}",
        f"## How it was made\n\n{_settings(run.manifest)}",
        f"## Figures\n\n{_figures(run.manifest['metrics'])}",
        *(["## Taken on trust\n\n" + "\n".join(f"- {sentence}" for sentence in trusted())] if trusted() else []),
        "## Licence\n\nA model made from others stands under the licences of all of them"
        + (f": that of its parent is `{licence}`." if licence else "; that of its parent is not stated in its files."),
    ]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def auto_class(*folders: Path) -> str:
    """transformers' class that loads the model in the first of these folders that holds one."""
    found = next((read_json(folder / "config.json") for folder in folders if (folder / "config.json").is_file()), {})
    if not isinstance(found.get("text_config"), dict):
        return "AutoModelForCausalLM"
    return "AutoModelForImageTextToText" if "vision_config" in found else "AutoModelForMultimodalLM"


def licence_of(source: Path) -> str:
    """The licence a model states in its card, or that of the alias it comes from; '' if neither is known."""
    folder = source if source.is_dir() else source.parent
    if source.is_dir() and (folder / "README.md").is_file():
        found = _FRONT.match((folder / "README.md").read_text(encoding="utf-8", errors="replace"))
        stated = re.search(r"^license:\s*[\"']?([\w.+-]+)", found[1], re.MULTILINE) if found else None
        if stated and stated[1] != "unknown":
            return stated[1]
    base = models.alias_of(source) or str(models.read_note(folder).get("base") or "")
    by_id = {repo: LICENCES[alias] for alias, repo in models.ALIASES.items()}
    return LICENCES.get(base) or by_id.get(base, "")


def shareable(value: Any) -> Any:
    """A manifest's entry without the places of this machine: paths are cut to their last part."""
    if isinstance(value, Mapping):
        return {key: shareable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [shareable(inner) for inner in value]
    if isinstance(value, Path) or (isinstance(value, str) and os.path.isabs(value)):
        return Path(value).name
    return value


def _named_base(folder: Path) -> str:
    file = folder / "adapter_config.json"
    return (
        str(json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path") or "") if file.is_file() else ""
    )


def _yaml(front: Mapping[str, Any]) -> str:
    """Scalars and lists of words; JSON strings are YAML."""
    rows = [
        f"{key}:\n" + "".join(f"- {json.dumps(item)}\n" for item in value)
        if isinstance(value, list)
        else f"{key}: {json.dumps(value)}\n"
        for key, value in front.items()
    ]
    return "".join(rows)


def _lineage(inputs: Mapping[str, Any]) -> str:
    """One line an input, with the run that made it and the hash it had."""
    rows = []
    for name, entry in inputs.items():
        shown = entry.get("model") or entry["path"]
        made = f", made by run `{entry['run']}`" if "run" in entry else ""
        known = f", `{entry['hash'][:19]}…`" if "hash" in entry else ""
        rows.append(f"- {name}: `{shareable(str(shown))}`{made}{known}")
    return "\n".join(rows) or "- nothing was recorded"


def _settings(manifest: Mapping[str, Any]) -> str:
    """The settings that are not the default, and the versions that decide results."""
    config, cls = manifest["config"], STAGES.get(manifest["stage"])
    default = to_dict(cls()) if cls else {}
    chosen = {key: value for key, value in config.items() if default.get(key) != value}
    rows = [f"- {key}: `{json.dumps(shareable(value), ensure_ascii=False)}`" for key, value in chosen.items()]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return "\n".join([*(rows or ["- all settings at their defaults"]), f"- versions: {versions}"])


def _figures(metrics: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in metrics.items() if isinstance(value, (int, float))}
    return "\n".join(f"- {key.replace('_', ' ')}: {value:.6g}" for key, value in shown.items()) or "- none"
