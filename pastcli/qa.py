"""Closed-book question answering in one place: prompt, normalisation, scores.

Evaluation (`evals`), reinforcement learning (`rewards`, `past rl`) and the warm-up pairs of SFT all take
these, so they cannot disagree. Scores follow SQuAD 1.1's official evaluation script.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

PROMPT = "Question: {question}\nAnswer:"
"""Plain text rather than a chat template: the question alone, no passage (METHOD 3, closed-book QA)."""

INSTRUCTION = "Answer in a few words that stand in the text above."

STOP = ("\n",)

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def prompt_for(question: str) -> str:
    """The text a model is asked to continue."""
    return PROMPT.format(question=question.strip())


def with_passages(prompt: str, passages: Sequence[str]) -> str:
    """An open-book prompt: the passages, then the closed-book one, so that nothing else differs."""
    if not passages:
        return prompt
    shown = "\n\n".join(" ".join(text.split()) for text in passages)
    return f"{shown}\n\n{INSTRUCTION}\n{prompt}"


def first_line(completion: str) -> str:
    """The answer proper: what stands before the first line break."""
    return completion.strip().split("\n", 1)[0].strip()


def normalize(text: str) -> str:
    """Lower case, no punctuation, no English articles, single spaces (SQuAD 1.1); an accent is one whether it was typed as one
    character or as two (NFC), which the script for English minds."""
    text = unicodedata.normalize("NFC", text.lower()).translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals any normalised answer."""
    got = normalize(prediction)
    return float(any(got == normalize(answer) for answer in answers))


def contains(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if any normalised answer stands in the prediction as whole words."""
    got = f" {normalize(prediction)} "
    wanted = (normalize(answer) for answer in answers)
    return float(any(answer and f" {answer} " in got for answer in wanted))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best token-level F1 over the answers; two empty texts agree (SQuAD 1.1)."""
    return max((_f1(prediction, answer) for answer in answers), default=0.0)


def _f1(prediction: str, answer: str) -> float:
    got, want = normalize(prediction).split(), normalize(answer).split()
    if not got or not want:
        return float(got == want)
    overlap = sum((Counter(got) & Counter(want)).values())
    if overlap == 0:
        return 0.0
    precision, recall = overlap / len(got), overlap / len(want)
    return 2 * precision * recall / (precision + recall)
