"""A chat model as judge: k votes on one matter at temperature 0, strict JSON or nothing, cached by content.

What is judged is data, never instruction: whoever asks puts it into one JSON document. A vote that fails (no answer, no
JSON, another label) is no vote; without a majority of votes there is no verdict, which is not the same as a bad one.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import models, registry
from .api import ChatModel, Completion, Message, Sampling
from .cache import home
from .errors import PastError
from .files import write_json
from .hashing import hash_path
from .thoughts import spoken

Vote = dict[str, str]

ANSWER, THINKING = 200, 4_096
"""Tokens of a reply: room for the JSON alone, and for a model that thinks before it writes it."""

_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


class Votes:
    """`count` votes of one model; `identity` says which model it is, and `version` which prompts, for the cache."""

    def __init__(self, chat: ChatModel, identity: str, version: str, count: int, cache: Path | None = None):
        self.count = count
        self._chat, self._cache = Replies(chat), Cache(identity, version, cache)
        self._lock: Any = contextlib.nullcontext() if getattr(chat, "concurrent", False) else threading.Lock()

    def ask(self, prompt: Callable[[int], list[Message]], read: Callable[[str], Vote]) -> list[Vote]:
        """One vote a number: what `read` makes of the reply to `prompt(number)`, or {"error"} where it raises `ValueError`."""
        return [self._one(prompt(number), number, read) for number in range(self.count)]

    def close(self) -> None:
        self._chat.close()

    def _one(self, messages: list[Message], number: int, read: Callable[[str], Vote]) -> Vote:
        kept = self._cache.get(messages)
        if kept is not None:
            return kept
        try:
            with self._lock:
                said = self._chat.ask(messages, number)
            vote = read(said)
        except (PastError, ValueError) as error:
            return {"error": str(error)}
        self._cache.put(messages, vote)
        return vote


class Replies:
    """What a judge's model replies at temperature 0, with room to think for one that does."""

    def __init__(self, chat: ChatModel):
        self._chat = chat
        self._thinks: bool | None = None
        """Whether more room let it come to its answer; None as long as none was cut off before it began it."""

    def ask(self, messages: Sequence[Message], seed: int) -> str:
        """The reply. One that was cut off before its JSON began is asked for again with more room; if that does not help
        either, never again: a model that babbles would do so at twenty times the length."""
        said = self._say(messages, THINKING if self._thinks else ANSWER, seed)
        if self._thinks is None and said.finish == "length" and not answer_in(said.text).startswith("{"):
            said = self._say(messages, THINKING, seed)
            self._thinks = answer_in(said.text).startswith("{")
        return said.text

    def close(self) -> None:
        self._chat.close()

    def _say(self, messages: Sequence[Message], room: int, seed: int) -> Completion:
        return self._chat.chat(messages, Sampling(max_tokens=room, temperature=0.0, seed=seed))


def majority(votes: Sequence[Mapping[str, str]], key: str, order: Sequence[str]) -> str:
    """The label under `key` that most votes gave, the later in `order` of a tie; "" if half the votes or more failed."""
    given = [vote[key] for vote in votes if key in vote]
    if 2 * len(given) <= len(votes):
        return ""
    counts = Counter(given)
    return max(order, key=lambda one: (counts[one], order.index(one)))


def read_object(text: str, key: str, labels: Sequence[str]) -> Vote:
    """{"reason", `key`} out of a reply; raises `ValueError` for anything but the one JSON object asked for."""
    begins = repr(" ".join(text.split())[:60])
    try:
        said = json.loads(answer_in(text), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the judge's reply is no JSON object: {begins}") from error
    if not isinstance(said, dict) or set(said) != {"reason", key}:
        raise ValueError(f"the judge's reply is not the JSON object asked for: {begins}")
    if not isinstance(said[key], str) or said[key] not in labels:
        raise ValueError(f"the judge's label is {str(said[key])[:40]!r}")
    if not isinstance(said["reason"], str):
        raise ValueError(f"the judge's reason is no text: {begins}")
    return {"reason": " ".join(said["reason"].split()[:19])[:200], key: said[key]}


def answer_in(text: str) -> str:
    """A reply without what was thought before it, and without a fence around the whole. What was only thought is no vote:
    nothing is searched for in there."""
    text = spoken(text)
    fenced = _FENCE.fullmatch(text)
    return fenced[1].strip() if fenced else text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # two labels are no label
        raise ValueError("a key is given twice")
    return found


def loaded(backend: str, model: str) -> tuple[ChatModel, str]:
    """(the chat model, a text that says which it is): its server and name, or the hash of what lies on disk."""
    load = registry.load("chat", backend)
    if not getattr(load, "local", True):
        return load(model), registry.served(backend, load, model)
    path = models.resolve(model).path
    return load(str(path)), f"{backend}:{hash_path(path)}"


class Cache:
    """Answers of one model by the content of what it was asked."""

    def __init__(self, identity: str, version: str, folder: Path | None):
        self._named, self._folder = [version, identity], folder or home() / "judge"

    def get(self, messages: list[Message]) -> Vote | None:
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self._place(messages).read_text(encoding="utf-8"))
        return None

    def put(self, messages: list[Message], answer: Vote) -> None:
        place = self._place(messages)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_json(place, answer)

    def _place(self, messages: list[Message]) -> Path:
        content = json.dumps([*self._named, [message.to_dict() for message in messages]])
        key = sha256(content.encode("utf-8", "backslashreplace")).hexdigest()
        return self._folder / key[:2] / f"{key}.json"
