"""What an answer claims, claim by claim, and where each comes from: an observed value, the query, a computation, or nowhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import names
from .amounts import left_over
from .codes import as_observed, unknown_codes
from .computed import computed, equations
from .conditions import counts_some
from .dates import Clock, Date, clocks, dates
from .fact import Fact
from .facts import Facts
from .misstated import misstated
from .numbers import Number, equal, numbers
from .text import STOPWORDS, clauses, phrase, plain, stem, stems, words
from .units import unit_of

_DOWNWARDS = re.compile(
    r"\b(down|fell|slip\w*|dip\w*|slid\w*|sank|shed|fall\w*|drop\w*|decreas\w*|lost|loss\w*|below|lower|declin\w*|minus|negative|behind|late|back|refund\w*|credit|deficit|under|owes?|debt|overdrawn|west|south|[ws])\b"
)
_CAPITAL = re.compile(r"[^\W\d_][\w'’.-]*")
_START = re.compile(r"(?:[.!?:;\"“”'(\[{•*|\n#]|\s[-–—])\s*[\"“'(\[*]*$")
_BRACKETED = re.compile(r"\s*\([^()]*\)\s*\Z")
_COMMON = frozenset(
    """i i'm i've january february march april may june july august september october november december monday tuesday
    wednesday thursday friday saturday sunday christmas eve boxing jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun celsius fahrenheit api apis id ids url json utc gmt ok am pm yes no mr mrs ms dr the
    a an and or of in for usd eur gbp""".split()
)
_ALL_OF = re.compile(r"\b(?:the|these|those|all) (?:two|three|four|five)\b(?! \d)", re.IGNORECASE)
"""What was named before, counted: no claim of its own."""
_ABOUT = re.compile(r"\b(?:about|around|roughly|approximately|nearly|almost|just (?:before|after))\W*\Z")
TOO_MANY = 60
"""Claims without a source after which nothing can be won, and numbers of one clause that are looked at."""
COVERED = 0.6
"""Share of a long text's meaningful words that an answer must hold to have used it."""


@dataclass(frozen=True)
class Reading:
    """An answer against the facts: `used` are the facts it repeats in some form, `unsupported` its numbers, dates, times and
    names from nowhere, `wrong` its equations that do not hold."""

    used: frozenset[Fact]
    unsupported: tuple[str, ...]
    wrong: tuple[str, ...]
    counts: frozenset[int]
    """APIs whose lists were counted."""


def read(answer: str, facts: Facts) -> Reading:
    """Find the source of everything an answer claims."""
    answer = as_observed(answer, facts)
    used: set[Fact] = set()
    unsupported: list[str] = []
    counts: set[int] = set()
    wrong, shown = equations(answer, facts)
    strange = unknown_codes(answer, facts)
    query = facts.asked.text
    asked = {n.value for n in facts.asked.numbers if not query[n.span[1] : n.span[1] + 1].isalnum()}
    for clause in clauses(answer):
        clause = _ALL_OF.sub("these", clause)
        if len(unsupported) > TOO_MANY:
            break
        for number in numbers(clause)[:TOO_MANY]:
            if any(number.text in code and code in clause for code in strange):
                continue  # the 95 of I44618-95 is not that of I4618-95
            found = _number(number, clause, facts, answer)
            if found is None and number.text.lstrip("$€£¥ ") not in shown and not _soft(number):
                unsupported.append(number.text)
            used.update(found or ())
            if number.kind in ("word", "number") and number.value not in asked:
                counts.update(api for length, api in facts.lengths if length == number.value)
                counts.update(counts_some(number.value, clause, facts))
        used.update(_moments(clause, facts, unsupported))
        used.update(_nothings(clause, facts))
    used.update(fact for fact in facts.facts if isinstance(fact.value, str) and _repeats(answer, fact, facts))
    used -= misstated(answer, used, facts)
    unsupported += [*_names(answer, facts), *_letters(answer, facts), *strange]
    return Reading(frozenset(used), tuple(dict.fromkeys(unsupported)), tuple(wrong), frozenset(counts))


def _soft(number: Number) -> bool:
    """Ordinals and a written-out one are words more than claims."""
    few = number.kind == "word" and abs(number.value) <= 1
    return number.kind == "ordinal" or few


def _number(number: Number, clause: str, facts: Facts, answer: str) -> set[Fact] | None:
    """The facts a number comes from; an empty set if it is the query's or counts a list; None if it comes from nowhere."""
    down = bool(_DOWNWARDS.search(plain(clause)))
    found = {fact for fact in facts.facts if any(equal(number, known, down) for known in fact.numbers)}
    if not found and (number.unit == "cent" or facts.asks_for_hundredths):
        small = replace(number, value=number.value / 100, step=number.step / 100, unit="")
        found = {fact for fact in facts.facts if any(equal(small, known, down) for known in fact.numbers)}
    asked = any(equal(number, said, down) for said in facts.asked.numbers)
    if asked:  # said back, it proves nothing of a text that holds it, too
        said = any(abs(known.value - number.value) < 1e-9 for known in facts.asked.numbers)
        exact = {fact for fact in found if not said or any(abs(n.value - number.value) < 1e-9 for n in fact.numbers)}
        return {fact for fact in exact if not isinstance(fact.value, str) or len(fact.content) == 1}
    if found:
        return found
    if re.fullmatch(r"\d{1,2}\.\d\d", number.text):  # 12.25 is a time in much of Europe
        hour, minute = map(int, number.text.split("."))
        times = {fact for fact in facts.facts for clock in fact.clocks if 60 * hour + minute in clock.minutes}
        if times:
            return times
    if any(number.value == length for length, _ in facts.lengths) or number.value in facts.named_numbers:
        return set()
    if any(number.value in (date.year, date.day) for date in facts.asked.dates):
        return set()
    parts = {fact for fact in facts.facts if any(number.value in (date.year, date.day) for date in fact.dates)}
    if not parts and number.kind in ("number", "word") and counts_some(number.value, clause, facts):
        return set()
    return parts or left_over(number.value, clause, facts) or computed(number, clause, facts, answer)


_NOTHING = re.compile(r"\b(?:none|zero|nobody|no one|not (?:a|one) single|nothing)\b")
_FREE = re.compile(r"\b(?:free|no charge|nothing|without charge|complimentary|gratis)\b")


def _nothings(clause: str, facts: Facts) -> set[Fact]:
    """The zeros that a clause tells: none of the engines, children get in free."""
    said = plain(clause)
    if not _NOTHING.search(said) and not _FREE.search(said):
        return set()
    zeros = {fact for fact in facts.facts if fact.value == 0 and not isinstance(fact.value, bool)}
    if _NOTHING.search(said):
        return zeros
    own = set(stems(clause))
    return {fact for fact in zeros if set(fact.key) & own}


def _moments(clause: str, facts: Facts, unsupported: list[str]) -> set[Fact]:
    """Facts that hold the dates and times of a clause; those from nowhere are added to `unsupported`."""
    used: set[Fact] = set()
    said: Sequence[tuple[Date | Clock, str]] = [(item, "dates") for item in dates(clause)] + [
        (item, "clocks") for item in clocks(clause)
    ]
    spans: dict[tuple[int, int], bool] = {}
    for item, kind in said:
        loose = 5 if _ABOUT.search(plain(clause[: item.span[0]])) else 0
        found = {fact for fact in facts.facts if any(_agree(item, known, loose) for known in getattr(fact, kind))}
        asked = any(_agree(item, known) for known in getattr(facts.asked, kind))
        if not found and isinstance(item, Clock):
            found = _shifted(item, facts)
        used |= {fact for fact in found if not asked}
        spans[item.span] = spans.get(item.span, False) or bool(found) or asked
    unsupported += [clause[begin:end].strip() for (begin, end), known in spans.items() if not known]
    return used


_SHIFT = frozenset(map(stem, "hours hour offset difference diff".split()))


def _shifted(clock: Clock, facts: Facts) -> set[Fact]:
    """The hours between two places by which a time of the query is this one."""
    return {
        fact
        for fact in facts.facts
        if set(fact.key) & _SHIFT and fact.numbers and abs(fact.numbers[0].value) <= 24
        for asked in facts.asked.clocks
        if any(int(minute + 60 * fact.numbers[0].value) % 1440 in clock.minutes for minute in asked.minutes)
    }


def _agree(a: Date | Clock, b: Date | Clock, loose: int = 0) -> bool:
    if isinstance(a, Date) and isinstance(b, Date):
        return a.agrees(b)
    if not (isinstance(a, Clock) and isinstance(b, Clock)):
        return False
    return any(abs(one - other) <= loose for one in a.minutes for other in b.minutes)


def _repeats(answer: str, fact: Fact, facts: Facts) -> bool:
    """True if an answer says a text: its words in a row, most of the meaningful words of a long one, or the same by another name."""
    if fact.phrase == "  ":
        return fact.text.strip() != "" and fact.text.strip() in answer
    if fact.phrase in phrase(answer) or _bare(fact.text) in phrase(answer):
        return True
    wanted = set(fact.content)
    news = wanted - facts.asked.words  # what the query said already proves nothing
    held = set(stems(answer)) if len(wanted) >= 2 and news else set()
    if any(char.isdigit() for char in fact.text):
        return bool(held) and len(wanted) <= 6 and wanted <= held and any(map(str.isalpha, news))
    if held and len(wanted & held) >= max(2, COVERED * len(wanted)) and len(news & held) >= COVERED * len(news):
        return True
    meaning = names.meanings(fact.text)
    return bool(meaning) and bool(meaning & names.mentioned(_CAPITAL.findall(answer)))


def _bare(text: str) -> str:
    """A name without what stands behind it in brackets, as `text.phrase` gives it: 'Bosque (latest)' is Bosque."""
    name = _BRACKETED.sub("", text)
    return phrase(name) if name != text and len(name.strip()) > 1 else "\n"


def _names(answer: str, facts: Facts) -> list[str]:
    """Capitalised words that nobody said; the first word of a sentence does not tell."""
    known = facts.known_words
    missing = []
    translated = _translated(answer, facts)
    for match in _CAPITAL.finditer(answer):
        word = match[0].rstrip(".'’-")
        if (
            not word[:1].isupper()
            or len(word) < 2
            or unit_of(plain(word))
            or _opens(answer[max(match.start() - 12, 0) : match.start()])
        ):
            continue
        parts = [part.removesuffix("'s") for part in words(word)]
        if all(
            part in STOPWORDS
            or part in known
            or stem(part) in known
            or part in _COMMON
            or part.rstrip("s") in known
            or numbers(part)
            for part in parts
        ):
            continue
        means = names.meanings(word)
        if means & facts.meanings:
            continue
        spelled = re.sub(r"[\W_]", "", plain(word))  # PM2.5 is the field pm25
        if (
            spelled in known
            or (word.isupper() and spelled in facts.initials)
            or any(begin <= match.start() < end for begin, end in translated)
        ):
            continue
        if not _is_glossed(answer, match, known):
            missing.append(word)
    return [] if _is_headline(answer) else missing


_LETTER = re.compile(
    r"\b(?:[Gg]rade|[Cc]lass|[Tt]ype|[Cc]ategory|[Ll]evel|[Gg]roup|[Ss]core|[Zz]one|[Gg]ate|[Pp]latform|[Bb]lock|[Tt]erminal|[Hh]all|[Ss]ize|[Vv]itamin|[Rr]ating) (?:of )?[\"“']?([A-Z][+-]?)(?![\w'’])"
)


def _letters(answer: str, facts: Facts) -> list[str]:
    """Single letters that an answer gives as a grade, a class, a gate, and that nobody said."""
    known = {plain(fact.text) for fact in facts.facts} | {
        plain(word) for word in re.findall(r"(?<!\w)\w[+-]?(?!\w)", facts.asked.text) if word != "a"
    }
    known |= {part for fact in facts.facts for part in re.findall(r"(?<!\w)\w[+-]?(?!\w)", plain(fact.text))}
    return [letter for letter in _LETTER.findall(answer) if plain(letter) not in known]


def _translated(answer: str, facts: Facts) -> list[tuple[int, int]]:
    """Where an answer says a name of several words that means what was observed or asked: Côte d'Ivoire for Ivory Coast."""
    spans = []
    tokens = list(_CAPITAL.finditer(answer))
    for first, token in enumerate(tokens):
        for last in tokens[first + 1 : first + 4]:
            means = names.meanings(answer[token.start() : last.end()].rstrip(".,"))
            if means and means & facts.meanings:
                spans.append((token.start(), last.end()))
    return spans


def _is_glossed(answer: str, word: re.Match[str], known: frozenset[str]) -> bool:
    """True if a name stands for the observed one in brackets behind it, or in brackets behind that: "Bavaria (Bayern)"."""
    behind = re.match(r"\s?[(\[]([^()\[\]]{2,40})[)\]]", answer[word.end() :])
    if behind is None and answer[word.end() : word.end() + 1] in (")", "]"):
        behind = re.search(r"([^\W\d_][\w'’-]+)\s?[(\[]\Z", answer[: word.start()])
    return behind is not None and bool(words(behind[1])) and all(part in known for part in words(behind[1]))


def _opens(before: str) -> bool:
    """True if a sentence begins after this: nothing, or the end of another."""
    return not before.strip(" \"“'([*") or bool(_START.search(before))


def _is_headline(answer: str) -> bool:
    """True if (nearly) every word has a capital: case then says nothing."""
    found = _CAPITAL.findall(answer)
    return answer.isupper() or (len(found) > 3 and sum(word[:1].isupper() for word in found) > 0.8 * len(found))


def mentions(said: str, fact: Fact) -> bool:
    """True if a text (as `text.phrase` gives it) names a record by this fact: by words, not by a number."""
    return isinstance(fact.value, str) and any(map(str.isalpha, fact.text)) and fact.phrase in said
