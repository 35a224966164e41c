"""Closed-book question answering in one place: prompt, normalisation, scores.

Evaluation (`evals`), reinforcement learning (`rewards`, `past rl`) and the warm-up pairs of SFT all take
these, so they cannot disagree. Scores follow SQuAD 1.1's official evaluation script; answers in scripts without spaces between
words are compared by characters, as in MLQA's (Lewis et al. 2020).
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
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
"""Characters of Thai, Lao, Burmese, Khmer, Chinese and Japanese, which put no spaces between words."""

_ITS_PUNCTUATION = str.maketrans("", "", "。、，．！？：；（）「」『』《》〈〉【】・～“”‘’")


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


def by_character(text: str) -> str:
    """A normalised text in which what is written without spaces is taken character by character, without its punctuation."""
    return " ".join(_UNSPACED.sub(r" \1 ", text.translate(_ITS_PUNCTUATION)).split())


def spelled(text: str) -> str:
    """A text as answers are compared, whatever its script: normalised, and by character where it has no spaces between words."""
    return by_character(normalize(text))


def _alike(prediction: str, answer: str) -> tuple[str, str]:
    """Both normalised; by character where the answer is written without spaces."""
    got, want = normalize(prediction), normalize(answer)
    return (by_character(got), by_character(want)) if _UNSPACED.search(want) else (got, want)


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals any normalised answer."""
    return float(any(got == want for got, want in (_alike(prediction, answer) for answer in answers)))


def contains(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if any normalised answer stands in the prediction as whole words."""
    pairs = (_alike(prediction, answer) for answer in answers)
    return float(any(want and f" {want} " in f" {got} " for got, want in pairs))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best token-level F1 over the answers; two empty texts agree (SQuAD 1.1)."""
    return max((_f1(prediction, answer) for answer in answers), default=0.0)


def _f1(prediction: str, answer: str) -> float:
    got, want = (text.split() for text in _alike(prediction, answer))
    if not got or not want:
        return float(got == want)
    overlap = sum((Counter(got) & Counter(want)).values())
    if overlap == 0:
        return 0.0
    precision, recall = overlap / len(got), overlap / len(want)
    return 2 * precision * recall / (precision + recall)
