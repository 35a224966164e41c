"""The baseline that trains nothing: BM25 puts passages into the prompt, and the model reads instead of remembering.

Same questions, same decoding, same scores as closed book; only the prompt has passages before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import qa
from ..api import ChatModel, Completion, Passage, Question, Sampling
from ..errors import ContextOverflow, UsageError

LABEL = "retrieval"

TOGETHER = 8
"""Prompts with passages decoded together: each is fifty times as long as one without."""


@dataclass(frozen=True)
class Retrieved:
    """`passages[question]` are the best of the corpus, the best first; `found` is the share of gradable questions whose
    answer stands in one of them: more than that no reader can answer."""

    passages: Mapping[str, Sequence[Passage]]
    found: float


def retrieve(questions: Sequence[Question], corpus: Sequence[Passage], most: int) -> Retrieved:
    """The `most` best passages for each question by BM25 (Robertson's weighting in Lucene's form; k1 1.5, b 0.75), over
    words in lower case. A passage that shares no word with the question is no hit. Raises `UsageError` for an empty corpus.
    """
    import bm25s

    texts = [passage for passage in corpus if passage.kind == "passage"]
    if not texts:
        raise UsageError("no passages to look anything up in", "name the documents: --corpus DOCS")
    words = [_words(f"{passage.title} {passage.text}") for passage in texts]
    index = bm25s.BM25(k1=1.5, b=0.75)
    index.index(words, show_progress=False)
    asked = {question.question: _words(question.question) for question in questions}
    found = {}
    for question, tokens in asked.items():
        known = [token for token in tokens if token in index.vocab_dict]
        hits, scores = index.retrieve([known], k=min(most, len(texts)), show_progress=False) if known else ([[]], [[]])
        found[question] = [texts[hit] for hit, score in zip(hits[0], scores[0], strict=True) if score > 0]
    gradable = [question for question in questions if question.answers]
    there = [any(qa.contains(p.text, q.answers) for p in found[q.question]) for q in gradable]
    return Retrieved(found, sum(there) / len(there) if there else 0.0)


def _words(text: str) -> list[str]:
    return qa.normalize(text).split()


class Reading:
    """A chat model that finds the passages of each question before it; where they do not fit, the last ones are left out."""

    def __init__(self, chat: ChatModel, retrieved: Retrieved):
        self.chat, self.name = chat, chat.name
        self.precision: Any = getattr(chat, "precision", "unknown")
        self._passages = {qa.prompt_for(question): found for question, found in retrieved.passages.items()}

    def complete(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        """The closed-book prompts, each with its passages. Raises `ContextOverflow` if one does not even fit alone."""
        answers: list[Completion] = []
        for start in range(0, len(prompts), TOGETHER):
            answers += self._read(prompts[start : start + TOGETHER], sampling)
        return answers

    def _read(self, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
        most = max(len(self._passages[prompt]) for prompt in prompts)
        for left in range(most, 0, -1):
            try:
                return self.chat.complete([self._with(prompt, left) for prompt in prompts], sampling)
            except ContextOverflow:
                if len(prompts) > 1:
                    return [answer for prompt in prompts for answer in self._read([prompt], sampling)]
        return self.chat.complete(prompts, sampling)

    def _with(self, prompt: str, most: int) -> str:
        texts = [f"{p.title}: {p.text}" if p.title else p.text for p in self._passages[prompt][:most]]
        return qa.with_passages(prompt, texts)

    def close(self) -> None:
        self.chat.close()
