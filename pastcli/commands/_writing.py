"""What `generate` and `study init` share: a chat model, or a rule, that makes questions and texts of passages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import api, hashing, models, output, registry
from ._loading import check_model

if TYPE_CHECKING:
    from ..config import GenerateConfig
    from ..ingest.generate import Made
    from ..ingest.generate.run import Request


def writer(model: str | None, backend: str) -> tuple[str, Path | None]:
    """(what stands for the model in the cache, its path on disk if it has one)."""
    if model is None:
        return "rules", None
    load = registry.load("chat", backend)
    if not getattr(load, "local", True):
        return registry.served(backend, load, model), None
    path = models.resolve(model).path
    check_model(load, str(path))
    return hashing.hash_weights(path), path


def make(requests: Sequence[Request], config: GenerateConfig, model: Path | str | None, who: str) -> Made:
    """Everything requested, by `model` (loaded here; None: by rule), known in the cache as `who`."""
    from ..ingest.generate import generate

    sampling = api.Sampling(max_tokens=config.max_new_tokens, temperature=config.temperature, seed=config.seed)
    chat = registry.load("chat", config.backend)(model) if model is not None else None
    try:
        with output.progress("making", "requests") as progress:
            return generate(requests, chat, who, sampling, config.near, progress)
    finally:
        if chat is not None:
            chat.close()
