"""How a model answers questions whose answers nobody knows: does it agree with itself, and does it still read them well?

DoTS (2605.00610) chooses merging coefficients by these two alone: sampled answers to one question agree more where a
model knows than where it guesses, and the perplexity of the questions rises where a merge has damaged it. Neither is
accuracy: a model that always gives the same answer is perfectly consistent. Empty answers agree with nothing here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .. import qa
from ..api import ChatModel, Sampling, ScoresTexts
from ..errors import UsageError
from .retained import perplexity


@dataclass(frozen=True)
class Unlabelled:
    """`consistency`: the chance that two sampled answers to a question are the same, mean over questions, in [0, 1];
    `perplexity` of the questions as the model reads them; `empty`: the share of answers that are empty."""

    consistency: float
    perplexity: float
    empty: float


def unlabelled(
    model: ChatModel, questions: Sequence[str], samples: int, temperature: float, max_tokens: int, seed: int
) -> Unlabelled:
    """Ask every question `samples` (>= 2) times. Raises `UsageError` if the model cannot say how likely a text is."""
    if not isinstance(model, ScoresTexts):
        raise UsageError("this backend cannot give the perplexity of texts", "use --backend hf")
    prompts = [qa.prompt_for(question) for question in questions]
    answers: list[list[str]] = [[] for _ in prompts]
    for draw in range(samples):
        sampling = Sampling(max_tokens, temperature, stop=qa.STOP, seed=seed + draw)
        for said, completion in zip(answers, model.complete(prompts, sampling), strict=True):
            said.append(qa.normalize(qa.first_line(completion.text)))
    everything = [answer for said in answers for answer in said]
    return Unlabelled(
        sum(map(agreement, answers)) / len(answers),
        perplexity(model.log_probabilities(prompts)),
        everything.count("") / len(everything),
    )


def agreement(answers: Sequence[str]) -> float:
    """The share of pairs of answers that are the same: unbiased for the chance that two draws agree. An empty one agrees with
    none."""
    same = sum(count * (count - 1) for answer, count in Counter(answers).items() if answer)
    return same / (len(answers) * (len(answers) - 1))
