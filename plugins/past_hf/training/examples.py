"""Which examples a training can use: conversations as text, and what is too long left out by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pastcli import output, qa
from pastcli.errors import UsageError

from ..materialize import encode, templated


def spoken(row: Mapping[str, Any], tokenizer: Any) -> Mapping[str, Any]:
    """A row of `messages` as prompt and completion in the model's chat template; other rows as they are.

    A model without a template gets the question in the plain layout of evaluation, and what came before it line by line.
    """
    turns = row.get("messages")
    if not turns:
        return row
    *before, answer = turns
    if tokenizer.chat_template:
        prompt = templated(tokenizer, before)
        return {"prompt": prompt, "completion": answer["content"]}
    said = "".join(f"{turn['role']}: {turn['content']}\n" for turn in before[:-1])
    return {"prompt": said + qa.prompt_for(before[-1]["content"]), "completion": f" {answer['content']}"}


def in_parts(row: Mapping[str, Any], tokenizer: Any) -> tuple[list[int], list[bool]]:
    """(token ids, which of them are learnt) of `messages` with `parts`, the end token added and learnt.

    Tokenised as an agent's prompt is: the template with what directly follows it, then part by part, so that the tokens
    learnt are the ones the model is to sample; only the template may hold control tokens.
    """
    if not tokenizer.chat_template:
        raise UsageError("an episode needs a chat template, and this model has none", "use a model tuned for chat")
    opening = templated(tokenizer, row["messages"])
    parts = list(row["parts"])
    while parts and not parts[0]["learn"]:
        opening += parts.pop(0)["text"]
    ids = encode(tokenizer, opening)
    learnt = [False] * len(ids)
    for part in parts:
        more = tokenizer(part["text"], add_special_tokens=False, split_special_tokens=True)["input_ids"]
        ids, learnt = ids + more, learnt + [part["learn"]] * len(more)
    return [*ids, tokenizer.eos_token_id], [*learnt, True]


def warn_too_long(numbers: Sequence[int], total: int, limit: int, hint: str, strict: bool = False) -> None:
    """Say which examples (counted from 1) are longer than `limit` tokens; raises `UsageError` if that is all of them, or
    under `strict` for any."""
    if not numbers:
        return
    shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    what = f"{len(numbers)} of {total} examples are longer than {limit} tokens and cannot be split: {shown}"
    if strict or len(numbers) == total:
        raise UsageError(what, hint)
    output.warn(f"skipped: {what}", hint)


def fitting(
    rows: list[dict[str, Any]], tokenizer: Any, context: int | None, answer: int, strict: bool = False
) -> list[dict[str, Any]]:
    """The rows whose prompt leaves the model room for `answer` tokens; the others are left out by number.

    One prompt longer than the model would make every row of its batch as long, and take the memory of all.
    """
    if not context:
        return rows
    if answer >= context:
        hint = "lower --max-new-tokens"
        raise UsageError(f"answers of {answer} tokens leave no room for a question: the model holds {context}", hint)
    lengths = [len(tokenizer(row["prompt"])["input_ids"]) for row in rows]
    long = [number for number, length in enumerate(lengths, 1) if length + answer > context]
    warn_too_long(long, len(rows), context - answer, "shorten these questions: the model holds no more", strict)
    return [row for row, length in zip(rows, lengths) if length + answer <= context]
