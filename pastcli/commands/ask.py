"""`past ask`: say something to a model and read the answer."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import models, output, registry, runs
from ..api import Sampling
from ..config import AskConfig
from ..conversation import Conversation
from ..errors import ContextOverflow, UsageError
from . import _lineage
from ._adapter_base import AdapterBase, as_typed, standing_in_as
from ._options import Json, complete_model, with_settings
from ._skills import Skills
from .inject import parse_vector

EXAMPLE = 'Example: `past ask "Who built the lighthouse at Skelvik?" --model @inject --compare @sft`'

QUESTION = typer.Argument(metavar="[QUESTION]", help="What to ask; without it, a conversation (end it with Ctrl-D).")
MODEL = typer.Option("--model", metavar="NAME", autocompletion=complete_model, help="The model (default: the newest).")
COMPARE = typer.Option(
    "--compare", metavar="NAME", autocompletion=complete_model, help="Ask this one too, side by side; may repeat."
)
VECTOR = typer.Option("--vector", metavar="FILE[:λ]", help="Add a skill to the model for this talk; may repeat.")


@with_settings("ask")
@standing_in_as(as_typed)
def command(
    question: Annotated[str | None, QUESTION] = None,
    model: Annotated[str | None, MODEL] = None,
    compare: Annotated[list[str] | None, COMPARE] = None,
    vector: Annotated[list[str] | None, VECTOR] = None,
    base: AdapterBase = None,
    *,
    config: AskConfig,
    as_json: Json = False,
) -> None:
    """Ask a model something: one question, a conversation, or lines from standard input.

    Models that were trained here are asked as they learnt it (Question: ... Answer:), others through their chat template;
    --prompt says otherwise. With --vector a skill is added first; the model's own files stay as they are.
    """
    if config.scale != 1.0 and not vector:
        raise UsageError("--scale without --vector has nothing to act on", "name the skill: --vector FILE")
    asked = _asked([_lineage.newest_model().name if model is None else model, *(compare or [])], vector, config.scale)
    with ExitStack() as stack:
        talks = {label: _open(label, name, config, added, stack) for label, (name, added) in asked.items()}
        answers = [_answer(line, talks, question is not None, as_json) for line in _questions(question, as_json)]
    output.emit(answers[0] if question is not None else answers, as_json, lambda: None)


def _asked(names: Sequence[str], vectors: list[str] | None, scale: float) -> dict[str, tuple[str, Skills]]:
    """{what it is called: (model, skills added to it)}. The first model has the skills, and is called so; raises `UsageError` for
    one that is named twice."""
    found: dict[str, tuple[str, Skills]] = {}
    for number, name in enumerate(names):
        typed = vectors or [] if number == 0 else []
        added = [parse_vector(text) for text in typed]
        label = " + ".join([name, *(_skill_named(text, it[1], scale) for text, it in zip(typed, added, strict=True))])
        if label in found:
            raise UsageError(f"{label} is asked twice", "leave one out; --vector adds its skill to --model alone")
        found[label] = (name, added)
    return found


def _skill_named(text: str, factor: float, scale: float) -> str:
    """A skill as it was typed, with the whole scale it is added at."""
    name = text if factor == 1.0 else text.rpartition(":")[0]
    return name if factor * scale == 1.0 else f"{factor * scale:g} * {name}"


def _questions(question: str | None, as_json: bool) -> Iterator[str]:
    """The one question, or what is typed or piped in, a line each."""
    if question is not None:
        yield question
        return
    talking = sys.stdin is not None and sys.stdin.isatty() and not as_json
    while True:
        if talking:
            output.line("", label="> ", stderr=True)
        line = sys.stdin.readline() if sys.stdin is not None else ""
        if not line:
            return
        if line.strip():
            yield line.strip()


def _open(label: str, name: str, config: AskConfig, vectors: Skills, stack: ExitStack) -> Conversation:
    """A model ready to talk, with the skills in it that were asked for."""
    load, path, form = _backend(name, config)
    if vectors:
        if path is None:
            raise UsageError(
                f"{name} is not a model on this machine: no skill can be added to it", "leave out --vector"
            )
        path = _injected(
            path, vectors, config, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="past-ask-")))
        )
    chat = stack.enter_context(closing(load(path or name)))
    output.note(f"{label}: {'the closed-book prompt' if form == 'qa' else 'its chat template'}")
    return Conversation(chat, form, Sampling(config.max_new_tokens, config.temperature, seed=config.seed))


def _backend(name: str, config: AskConfig) -> tuple[Any, Path | None, str]:
    """(the plugin's loader, the model's path if it has one here, the form of the prompt)."""
    if config.backend != "auto":
        load = registry.load("chat", config.backend)
        if not getattr(load, "local", True):
            return load, None, "chat" if config.prompt == "auto" else config.prompt
    found = models.resolve(name)
    backend = config.backend if config.backend != "auto" else "llamacpp" if found.kind == "gguf" else "hf"
    learnt_here = runs.owner_of(found.path) is not None
    form = config.prompt if config.prompt != "auto" else "qa" if learnt_here else "chat"
    return registry.load("chat", backend), found.path, form


def _injected(path: Path, vectors: Skills, config: AskConfig, folder: Path) -> Path:
    """The model with the skills added, in a folder that goes away with the talk; float32, so that all of them is there."""
    from ..vectors.inject import inject_skill

    out = folder / ("model.gguf" if path.is_file() else "model")
    made = inject_skill(vectors, path, out, scale=config.scale)
    for warning in made.warnings:
        output.warn(warning)
    output.note(f"survival of the skill in the model asked: {made.survival.cosine:.3f}")
    return out


def _answer(question: str, talks: dict[str, Conversation], alone: bool, as_json: bool) -> dict[str, Any]:
    """Ask every model; the text appears as it is made, unless JSON is wanted. What does not fit one of them is said, and asked of the
    others; raises `ContextOverflow` if it is the only one."""
    answers: dict[str, str | None] = {}
    for name, talk in talks.items():
        if not as_json and len(talks) > 1:
            output.line(f"{name}:", "bold")
        pieces = []
        try:
            for piece in talk.ask(question):
                pieces.append(piece)
                if not as_json:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
        except ContextOverflow as error:
            if alone and len(talks) == 1:
                raise
            output.warn(f"{name}: {error.message}", error.hint)
            answers[name] = None
        else:
            answers[name] = "".join(pieces)
        if not as_json:
            sys.stdout.write("\n")
    return {"question": question, "answers": answers}
