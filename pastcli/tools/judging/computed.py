"""Numbers that an answer computes from observed ones: equations it writes out, and sums, differences, means it names."""

from __future__ import annotations

import ast
import itertools
import operator
import re
from collections.abc import Callable
from dataclasses import replace

from .fact import Fact
from .facts import Facts, keyed
from .numbers import Number, numbers
from .text import plain, stem
from .units import same_dimension

_NOTE = re.compile(r"\s?\([^()\d]*\)")
"""What a term is, in brackets: 412.35 (groceries)."""
_RESULT = re.compile(r"(?:=|≈|\b(?:is|are|makes|gives)\b) ?[$€£]?(-?\d[\d,]{0,20}(?:\.\d{1,20})?)")
_TERMS = re.compile(r"[-+]?[(\d][-+*/×x÷·−().,\d$€£% ]*\Z")
_LONGEST = 160
"""Characters of an equation's left side that are looked at."""
_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SUM = re.compile(r"\b(total|sum|altogether|in all|combined|together|overall|both)\b")
_MEAN = re.compile(r"\b(average|mean|on average|typically|per)\b")
_GAP = re.compile(
    r"\b(difference|differ|more|less|fewer|ahead|behind|than|apart|margin|between|longer|shorter|warmer|colder|cheaper|higher|lower|older|younger|left|remain\w*|change\w*|gap|lead\w*|faster|slower|spread|saves?|versus|vs|against)\b"
)
_PRODUCT = re.compile(
    r"\b(total|altogether|in all|each|per|times|gives?|gets?|worth|equals?|makes?|for (?:two|three|four|five|six|\d+)|cost\w*|come to)\b"
)
_SHARE = re.compile(r"\b(each|per|apiece|a head|split|shared?|divided|everyone|everybody)\b")
_MOST_PAIRS = 60


def equations(answer: str, facts: Facts) -> tuple[list[str], set[str]]:
    """(equations that do not hold, numbers as written in those that hold over known operands)."""
    wrong: list[str] = []
    shown: set[str] = set()
    answer = _NOTE.sub("", answer)
    for match in _RESULT.finditer(answer):
        terms = _TERMS.search(answer, max(match.start() - _LONGEST, 0), match.start())
        left = terms[0].strip() if terms else ""
        span = re.fullmatch(r"\d{1,4} ?[-−/] ?\d{1,4}(?: ?[-−/] ?\d{1,4})?", left) and match[0][0] not in "=≈"
        if not re.search(r"[-+*/×x÷·−]", left[1:]) or span:
            continue  # a range or a date is no equation
        value, claimed = _evaluate(left), numbers(match[1], apart=False)
        if value is None or not claimed:
            continue
        if not claimed[0].is_rounding_of(value):
            wrong.append(f"{left} {match[0]}")
        elif all(_known(number, facts) for number in numbers(left.replace("×", " "), apart=False)):
            shown.add(claimed[0].text)
    return wrong, shown


def _known(number: Number, facts: Facts) -> bool:
    """An operand that was observed, asked for, or counts a list."""
    sources = [known for fact in facts.facts for known in fact.numbers] + facts.asked.numbers
    return (
        any(number.is_rounding_of(known.value) for known in sources)
        or any(number.value == length for length, _ in facts.lengths)
        or (number.value in (2, 12, 24, 60, 100, 1000))
    )


def _evaluate(text: str) -> float | None:
    """The value of an expression of numbers and + - * /; None if it is none."""
    text = re.sub(r"[$€£,%\s]", "", plain(text)).translate({ord("×"): "*", ord("x"): "*", ord("÷"): "/", ord("·"): "*"})
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("no arithmetic")


def computed(number: Number, clause: str, facts: Facts, answer: str) -> set[Fact] | None:
    """The facts that a named computation makes this number of: a sum, mean or difference of one field over its records, a
    difference of two values, a multiple by a number of the query or a list's length. None if the clause names none that does."""
    said = plain(clause)
    for facts_of_field in keyed(facts.facts).values():
        values = [known.value for fact in facts_of_field for known in fact.numbers[:1]]
        if not values:
            continue
        total = sum(values)
        if (
            len(values) > 1
            and (_SUM.search(said) or _SUM.search(plain(facts.asked.text)))
            and number.is_rounding_of(total)
        ):
            return set(facts_of_field)
        if len(values) > 1 and _MEAN.search(said) and number.is_rounding_of(total / len(values)):
            return set(facts_of_field)
        if _GAP.search(said):
            pair = _pair(number, facts_of_field)
            if pair:
                return pair
        if _PRODUCT.search(said) or _PRODUCT.search(plain(answer)):
            factors = [n.value for n in facts.asked.numbers if 1 < n.value <= 1000]
            factors += [length for length, _ in facts.lengths if 1 < length <= 1000]
            for fact, factor in itertools.product(facts_of_field[:_MOST_PAIRS], factors):
                if any(number.is_rounding_of(known.value * factor) for known in fact.numbers[:1]):
                    return {fact}
                if _SHARE.search(said) and any(
                    number.is_rounding_of(known.value / factor) for known in fact.numbers[:1]
                ):
                    return {fact}
    return (
        _change(number, said, facts)
        or _weighted(number, facts)
        or _between(number, facts)
        or _days_between(number, facts)
        or _derived(number, said, facts)
    )


_RISES = re.compile(
    r"\b(?:gr[eo]w\w*|ris(?:e|en|es|ing)|rose|increas\w*|gain\w*|up|more|higher|larger|taller|longer|growth|expensive)\b"
)
_FALLS = re.compile(
    r"\b(?:fell|fall\w*|declin\w*|decreas\w*|drop\w*|down|less|fewer|lower|cheaper|smaller|shorter|reduc\w*|loss|lost)\b"
)


def _change(number: Number, said: str, facts: Facts) -> set[Fact] | None:
    """Two values of one field, or two fields of one record, of which one is so many per cent more, or less, than the other."""
    rises, falls = _RISES.search(said), _FALLS.search(said)
    if number.kind != "percent" or not (rises or falls):
        return None
    groups: dict[object, list[Fact]] = {}
    for fact in facts.facts[:_MOST_PAIRS]:
        if fact.numbers:
            groups.setdefault(fact.key, []).append(fact)
            groups.setdefault(fact.record, []).append(fact)
    for held in groups.values():
        for one, other in itertools.combinations(held, 2):
            low, high = sorted((one.numbers[0].value, other.numbers[0].value))
            if low <= 0 or low == high or one.unit != other.unit:
                continue
            if (rises and number.is_rounding_of(100 * (high - low) / low)) or (
                falls and number.is_rounding_of(100 * (high - low) / high)
            ):
                return {one, other}
    return None


def _weighted(number: Number, facts: Facts) -> set[Fact] | None:
    """What so many of each come to: two adults and one child at the prices of an `adult` and a `child`."""
    asked = plain(facts.asked.text)
    many = {stem(after[1]): n.value for n in facts.asked.numbers if (after := _NEXT_WORD.match(asked, n.span[1]))}
    records: dict[object, list[Fact]] = {}
    for fact in facts.facts:
        if fact.key and fact.key[-1] in many and fact.numbers:
            records.setdefault(fact.record, []).append(fact)
    for held in records.values():
        if len(held) > 1 and number.is_rounding_of(sum(many[f.key[-1]] * f.numbers[0].value for f in held)):
            return set(held)
    return None


_NEXT_WORD = re.compile(r"\s([^\W\d_]+)")
_DERIVES = re.compile(
    r"\b(times|twice|margin|difference|each|per|total|altogether|together|combined|pay|tax|save|places?|climbed|dropped|rose|fell)\b"
)
_FEW = 40
"""Observed numbers among which two are looked for that make another."""


def _derived(number: Number, said: str, facts: Facts) -> set[Fact] | None:
    """Two observed or asked numbers whose sum, difference, product or ratio this number is: where the words say that something
    was worked out, or the number has three figures and more, so that it is no accident."""
    figures = len(re.sub(r"\D", "", number.text).strip("0"))
    known = [(fact, known.value) for fact in facts.facts for known in fact.numbers[:1]]
    if (figures < 3 and number.kind != "percent" and not _DERIVES.search(said)) or len(known) > _FEW:
        return None
    pairs = [*known, *((None, asked.value) for asked in facts.asked.numbers)]
    for (one, a), (other, b) in itertools.permutations(pairs, 2):
        if one is None and other is None:
            continue
        made = [a + b, a - b, a * b, *([a / b] if b else [])]
        if number.kind == "percent":
            made = [100 * a / b] if 0 < a < b else []
        elif 0 < b < 1:
            made += [a * (1 + b), a * (1 - b)]  # a rate on top, or off
        if number.is_rounding_of(a) or number.is_rounding_of(b):  # one of them, in another unit: derived from nothing
            continue
        if any(abs(value) > 1e-9 and number.is_rounding_of(value) for value in made):
            return {fact for fact in (one, other) if fact is not None}
    return None


def _between(number: Number, facts: Facts) -> set[Fact] | None:
    """Two times of day of one record between which so much time passes."""
    if not same_dimension(number.unit, "min"):
        return None
    records: dict[object, list[Fact]] = {}
    for fact in facts.facts:
        if fact.clocks:
            records.setdefault(fact.record, []).append(fact)
    for held in records.values():
        for one, other in itertools.permutations(held[:6], 2):
            gap = (min(other.clocks[0].minutes) - min(one.clocks[0].minutes)) % 1440
            exact = Number(float(gap), unit="min").in_unit(number.unit)
            if exact is not None and number.is_rounding_of(exact.value):
                return {one, other}
    return None


def _days_between(number: Number, facts: Facts) -> set[Fact] | None:
    """A date so many days, weeks, months or years from another one: from the query's where it gives one ("today is …")."""
    exact = Number(1.0, unit="day").in_unit(number.unit) if number.unit else None
    dated = [(fact, whole) for fact in facts.facts[:_MOST_PAIRS] for date in fact.dates if (whole := date.whole)]
    asked = [whole for date in facts.asked.dates if (whole := date.whole)]
    if exact is None or not dated:
        return None
    pairs = [(fact, when, other) for fact, when in dated for other in asked or [when for _, when in dated]]
    for fact, when, other in pairs:
        gap = abs((when - other).days)
        if gap and number.is_rounding_of(gap * exact.value):
            return {fact}
    return None


def _pair(number: Number, facts: list[Fact]) -> set[Fact] | None:
    """Two values of one field whose difference this number is."""
    valued = [(fact, fact.numbers[0]) for fact in facts[:_MOST_PAIRS] if fact.numbers]
    for (one, a), (other, b) in itertools.combinations(valued, 2):
        gap = replace(a, value=abs(a.value - b.value))
        measured = gap.in_unit(number.unit) if number.unit != gap.unit else gap  # 1.9 and 1.3 kg differ by 600 g
        if gap.value and any(number.is_rounding_of(one.value) for one in (gap, measured) if one is not None):
            return {one, other}
    return None
