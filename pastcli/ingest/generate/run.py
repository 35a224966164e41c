"""Passages × kinds through a chat model or a rule: asked once, kept by content, checked, and counted.

A completion is kept in the cache under the hash of model, prompt and decoding, so that a killed run, a second run and
another selection of kinds pay for no answer twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ... import qa
from ...api import ChatModel, Completion, Message, Passage, Sampling
from ...cache import recall, remember
from ...thoughts import spoken
from . import checks, parse
from .kinds import Kind, filled, kind_for, prompt_text
from .rules import RULES

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """One thing to be made: a kind of one passage, with the prompt if a model makes it."""

    passage: Passage
    kind: Kind
    sample: int
    prompt: str = ""


@dataclass
class Made:
    """What came out: `texts` for the corpus, `pairs` for SFT, `questions` for RL and eval; and the yield of every kind."""

    texts: list[Passage] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    rejects: dict[str, Counter[str]] = field(default_factory=dict)
    paid: int = 0
    """Completions that were not in the cache."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def table(self) -> list[dict[str, Any]]:
        """One row a kind: asked, kept, and each reason for rejecting with its count."""
        names = list(dict.fromkeys([*self.asked, *self.kept]))
        return [
            {"kind": n, "asked": self.asked[n], "kept": self.kept[n], "rejected": dict(self.rejects.get(n, {}))}
            for n in names
        ]


def plan(passages: Sequence[Passage], kinds: Sequence[str], samples: int, prompts: Path | None) -> list[Request]:
    """Everything that will be asked for, in order. Only passages are asked about, not what was made of them before."""
    found = []
    texts = [passage for passage in passages if passage.kind == "passage"]
    for name in kinds:
        for number, passage in enumerate(texts):
            kind = kind_for(name, number)
            if not kind.prompt:
                found.append(Request(passage, kind, 0))
                continue
            prompt = filled(prompt_text(kind, prompts), passage.title, passage.text)
            found += [Request(passage, kind, sample, prompt) for sample in range(samples)]
    return found


def generate(
    requests: Sequence[Request],
    chat: ChatModel | None,
    model: str,
    sampling: Sampling,
    near: float = checks.NEAR,
    progress: Progress | None = None,
) -> Made:
    """Make everything planned. `model` stands for the model in the cache: a hash of its weights, or a server and name."""
    made, seen = Made(), dict[str, checks.Seen]()
    for number, request in enumerate(requests, 1):
        made.asked[request.kind.name] += 1
        for content, question, reason in _items(request, chat, model, sampling, made):
            key = f"{request.passage.doc}\n{request.kind.gives}"
            repeat = reason or seen.setdefault(key, checks.Seen(near)).add(question or content)
            if repeat:
                made.rejects.setdefault(request.kind.name, Counter())[repeat] += 1
                continue
            _keep(made, request, content, question)
        if progress:
            progress(number, len(requests))
    return made


def _items(
    request: Request, chat: ChatModel | None, model: str, sampling: Sampling, made: Made
) -> Iterator[tuple[str, str, str]]:
    """(text or answer, question or '', why it is rejected or '') of all that one request gave."""
    kind, passage = request.kind, request.passage
    if not kind.prompt:
        for question, answer in RULES[kind.name](passage.title, passage.text):
            yield answer, question, ""
        return
    assert chat is not None
    said = _ask(request, chat, model, sampling, made)
    finished, whole = said.finish != "length", spoken(said.text)
    if kind.gives == "pairs":
        pairs, texts = parse.pairs(whole), []
    else:
        pairs, texts = [], (parse.lines if kind.gives == "lines" else parse.text)(whole, finished)
    for question, reply in pairs:
        yield reply, question, checks.pair(question, reply, passage.text, passage.title, kind.short)
    for text in texts:
        yield text, "", checks.statement(text, passage.text, passage.title)
    if not pairs and not texts:
        yield "", "", "cut off" if not finished else "not in the form asked for"


def _ask(request: Request, chat: ChatModel, model: str, sampling: Sampling, made: Made) -> Completion:
    seed = None if sampling.seed is None else sampling.seed + request.sample
    decoding = {**asdict(sampling), "seed": seed, "sample": request.sample}
    text = json.dumps([model, request.prompt, decoding], sort_keys=True)
    key = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
    known = recall("generated", key)
    if known:
        return Completion(**json.loads(known))
    answer = chat.chat([Message("user", request.prompt)], Sampling(**{**asdict(sampling), "seed": seed}))
    made.paid += 1
    made.prompt_tokens += answer.prompt_tokens
    made.completion_tokens += answer.completion_tokens
    kept = {"text": answer.text, "finish": answer.finish}
    remember("generated", key, json.dumps(kept, ensure_ascii=True))
    return answer


def _keep(made: Made, request: Request, content: str, question: str) -> None:
    kind, passage = request.kind, request.passage
    made.kept[kind.name] += 1
    name = f"{passage.id}.{kind.name}.{made.kept[kind.name]}"
    source = {"passage": passage.id, "generated": kind.name}
    if kind.gives != "pairs":
        as_kind = "implication" if kind.gives == "lines" else kind.name
        made.texts.append(Passage(name, passage.doc, passage.title, content, as_kind, source))
        return
    about = {"id": name, "doc": passage.doc, "kind": kind.name}
    made.pairs.append({"prompt": qa.prompt_for(question), "completion": f" {content}", **about})
    if kind.short:
        made.questions.append({"question": question, "answer": content, **about})
