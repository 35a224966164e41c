"""A query in a chat model's words, if it still asks for the same and can still be solved. By default nobody is asked."""

from __future__ import annotations

from dataclasses import replace

from ...api import ChatModel, Message, Sampling
from ...thoughts import spoken
from ..judging.text import plain
from .queries import Asked, said_arguments

INSTRUCTION = (
    "Put the user's request in other words, as a person would ask it who does not know the function. Keep every name, number, "
    "date and identifier exactly as it is written. Answer with the new request alone."
)
LONGEST = 400


def rephrased(one: Asked, chat: ChatModel, seed: int) -> Asked | None:
    """The query in other words; None if a value got lost, nothing changed, or it grew beyond a request."""
    turns = [Message("system", INSTRUCTION), Message("user", one.task.query)]
    said = chat.chat(turns, Sampling(max_tokens=160, temperature=0.7, seed=seed)).text
    text = " ".join(spoken(said).split()).strip('"')
    if not text or len(text) > LONGEST or plain(text) == plain(one.task.query):
        return None
    if any(plain(value) not in plain(text) for value in said_arguments(one)):
        return None
    task = replace(one.task, query=text)
    return Asked(task, replace(one.episode, task=task))
