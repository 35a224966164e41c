"""A chat model whose answers are written down beforehand. Deterministic, and no weights.

The script is a JSON file (one list) or a JSONL file (one reply a line). A reply is one of

    "Paris"                                      said when its turn comes; after the last one, from the top again
    {"reply": "Paris"}                           the same
    {"match": "capital of \\w+", "reply": "…"}   said whenever the regular expression is found in the prompt;
                                                 the first rule that matches wins, and takes no turn

Instead of a file the name `echo` gives a model that says back what it was told.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pastcli.api import Completion, Message, Sampling
from pastcli.errors import PastError, UsageError, reason
from pastcli.regular import regular


def load_chat(path: str | Path, **options: Any) -> EchoChat:
    """The chat model of one script. What `past.chat` names: called with `--model`, returns a `ChatModel`.

    Options meant for other backends (threads, context size, ...) are accepted and have nothing to act on.
    Raises `UsageError` if the script is missing or malformed.
    """
    if str(path) == "echo":
        return EchoChat("echo")
    rules, replies = [], []
    for number, entry in enumerate(_entries(Path(path)), start=1):
        entry = {"reply": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not isinstance(entry.get("reply"), str) or set(entry) - {"match", "reply"}:
            raise UsageError(
                f"reply {number} of {path} is malformed", 'write "text" or {"match": "regex", "reply": "text"}'
            )
        if "match" not in entry:
            replies.append(entry["reply"])
            continue
        try:
            rules.append((re.compile(entry["match"]), entry["reply"]))
        except (re.error, TypeError) as error:
            raise UsageError(f"reply {number} of {path}: match is no regular expression: {error}") from error
    if not rules and not replies:
        raise UsageError(f"{path} holds no replies", "use --model echo for a model that says back what it was told")
    return EchoChat(str(path), rules, replies)


# Names are not looked up as models on disk.
load_chat.local = False  # type: ignore[attr-defined]  # mypy knows no attributes of functions


class EchoChat:
    """A `ChatModel`: see `pastcli.api`. Tokens are words with the white space before them."""

    def __init__(self, name: str, rules: Sequence[tuple[re.Pattern[str], str]] = (), replies: Sequence[str] = ()):
        self.name = name
        self._rules = rules
        self._replies = replies
        self._turn = 0

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        """Answer each raw text, in order. Seed and temperature change nothing: there is nothing random."""
        if sampling.grammar is not None:
            raise UsageError("the echo backend cannot follow a grammar", "use --backend llamacpp, or --decoding off")
        return [self._complete(prompt, sampling) for prompt in prompts]

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer a conversation: the same as completing its rendering."""
        return self.complete([self.render(messages)], sampling)[0]

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as one text. A real model applies its own chat template here."""
        return "".join(f"<|{m.role}|>\n{m.content}\n" for m in messages) + "<|assistant|>\n"

    def close(self) -> None:
        """Nothing to free."""

    def _complete(self, prompt: str, sampling: Sampling) -> Completion:
        began = time.perf_counter()
        text, finish = self._answer(prompt), "stop"
        for stop in sampling.stop:  # the stop string itself is not part of an answer
            text = text.split(stop, 1)[0] if stop else text
        words = re.findall(r"\s*\S+", text)
        if len(words) > sampling.max_tokens:
            words, finish = words[: sampling.max_tokens], "length"
            text = "".join(words)
        read = len(prompt.split())
        return Completion(text, finish, read, len(words), read, time.perf_counter() - began)

    def _answer(self, prompt: str) -> str:
        for pattern, reply in self._rules:
            if pattern.search(prompt):
                return reply
        if self._replies:
            self._turn += 1
            return self._replies[(self._turn - 1) % len(self._replies)]
        if self._rules:
            raise PastError(
                f"no rule of {self.name} matches the prompt ending {prompt[-80:]!r}", 'add a plain "reply" to it'
            )
        return prompt.rsplit("<|user|>\n", 1)[-1].split("\n<|", 1)[0]


def _entries(path: Path) -> list[Any]:
    """The items of a JSON list, or the lines of a JSONL file."""
    try:
        text = regular(path).read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        entries = json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"script {path} cannot be read: {reason(error)}", "give a .json list or a .jsonl file, or `echo`"
        ) from error
    if not isinstance(entries, list):
        raise UsageError(f"script {path} must be a list of replies", 'for example ["first answer", "second answer"]')
    return entries
