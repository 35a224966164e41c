"""Closed-book question answering (METHOD 3): answers, scores, and what a difference between models is worth."""

from .closed_book import METRICS, Answer, QAResult, evaluate, finished, with_answers
from .comparison import JUDGE, Comparison, Difference, compare, label_for
from .retained import Retained, Yardstick, yardstick

__all__ = [
    "JUDGE",
    "METRICS",
    "Answer",
    "Comparison",
    "Difference",
    "QAResult",
    "Retained",
    "Yardstick",
    "compare",
    "evaluate",
    "finished",
    "label_for",
    "with_answers",
    "yardstick",
]
