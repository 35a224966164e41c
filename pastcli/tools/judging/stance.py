"""Yes and no: what an answer affirms or denies, whether it refuses, and whether it wants to have it both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from .fact import Fact, Place
from .facts import Facts
from .opposites import NEGATED, OPPOSITES, SPELLED_OUT, phrases, says
from .sources import Said
from .text import clauses, phrase, plain, sentences, stem, stems, words

_NOT_BEHIND = re.compile(
    r"\W*(?:(?:is|are|was|were|has|have|does|do|did|will|can)\s*(?:not\b(?! only)|n't)|isn't|aren't|wasn't|weren't|doesn't|hasn't|won't|can't)"
)
_OPENS = r"(?:\A|(?<=[.!?:\n])\s|\*)\W*"
"""Where a yes or a no can stand: at the beginning of a sentence, or after "Answer:"."""
_YES = re.compile(_OPENS + r"(yes|yeah|yep|correct|indeed|that's right|true|it is|it does|affirmative)\b")
_NO = re.compile(
    _OPENS
    + r"(?:(?:sadly|unfortunately|regrettably|i'm afraid|sorry),?\s)?(no|nope|not yet|not|negative|false|it is not|it isn't|it does not|it doesn't)\b(?!\s+(?:problem|worries|doubt))"
)
_REFUSAL = re.compile(
    r"(?:\b(?:was|were|am|is|are)\s+(?:not able|unable)\b|\bunable to\b|\b(?:could|can|did|do|was|were)\s?(?:not|n't)\s+(?:be\s+)?(?:find|found|get|retriev\w*|provid\w*|locat\w*|obtain\w*|access\w*|fetch\w*|help|answer\w*|complete\w*|determin\w*|know|have (?:access|any|the|enough|information)|tell)"
    r"|\bcannot\s+(?:find|get|retrieve|provide|locate|help|answer|access|tell)|\bno (?:information|data|results?|details|answer|matches|reviews)\b|\bnothing (?:was |could be )?found\b|\bnot available (?:at the moment|right now|currently|to me)\b|\bdata (?:\w+ ){0,4}(?:is|are) (?:not available|unavailable)\b"
    r"|\btry again (?:later)?\b|\bi (?:have|had) no\b|\bfailed to\b|\b(?:was|were) not found\b|\bno \w+ (?:was|were) found\b)"
)
_NONE = re.compile(
    r"\b(no|none|nobody|no one|no-one|unfortunately not|not any|nothing|zero|0|empty|without|neither|never|isn't any|aren't any|(?:does|do|did|has|have)\s?(?:not|n't) \w+|not found|(?:could|did|does|do)\s?(?:not|n't) (?:find|have|list|exist|return)\w*)\b|n't any\b|\bnot (?:listed|exist)"
)
_PERHAPS = re.compile(r"\b(may|might|could|either|possibly|or not|true or false|yes or no|whether or not|perhaps)\b")


_CALLED = frozenset(map(stem, "name title description text summary".split()))
"""Words of fields that say what a thing is called: the shop "Open Harbour" need not be open."""
_DAYS = frozenset("mon tue wed thu fri sat sun monday tuesday wednesday thursday friday saturday sunday".split())
"""Fields of one day each: closed on Sundays says nothing of the other days."""
_COUNTED = {
    "delay": "delayed",
    "lat": "delayed",
    "availabl": "available",
    "availability": "available",
    "stock": "available",
    "quantity": "available",
    "qty": "available",
    "inventory": "available",
}
"""Fields whose number says whether it is so at all: a delay of 0 is none. What they are held against."""
_MODAL = frozenset(map(stem, "possible allowed enabled supported able".split()))
_ADVERB = "(?:currently|now|still|temporarily|today|already|fully|always)"

SAID_BACK = 6
"""Words of a sentence from which it is no accident that the query has them in a row."""


def without_echoes(answer: str, asked: Said) -> str:
    """The answer without sentences that only say the query back, as a question or word for word."""
    kept = []
    said_by_asker = words(asked.text)
    for sentence in sentences(answer):
        head, _, rest = sentence.partition(": ")
        if rest and len(words(head)) >= SAID_BACK + 2 and _in_order(words(head), said_by_asker):
            sentence = rest  # the query's words before a colon
        question = sentence.endswith("?") and _share(words(sentence), asked.words) > 0.8
        if not question and not (len(words(sentence)) >= SAID_BACK and phrase(sentence) in phrase(asked.text)):
            kept.append(sentence)
    return "\n".join(kept)


def _in_order(said: Sequence[str], asked: Sequence[str]) -> bool:
    """True if all words were asked in this order, with others between them."""
    left = iter(asked)
    return all(word in left for word in said)


def _share(said: Sequence[str], known: frozenset[str]) -> float:
    return sum(word in known for word in said) / len(said) if said else 1.0


def refuses(answer: str) -> bool:
    """True if an answer says that it has none."""
    return bool(_REFUSAL.search(plain(answer)))


def hedges(answer: str) -> bool:
    """True if most of an answer's sentences say that something may be so or not."""
    said = [plain(sentence) for sentence in sentences(answer)]
    both = [
        s
        for s in said
        if re.search(
            r"\b(?:may|might|could) (?:or may not|be or|or might not)\b|\bor not\b|\btrue or false\b|\byes or no\b", s
        )
    ]
    return len(both) > 0.5 * len(said) or _says_both(answer)


def _says_both(answer: str) -> bool:
    """True if an answer says something and, in the same words, that it is not so: "It is available. It is not available."."""
    told: dict[tuple[str, ...], set[bool]] = {}
    for clause in clauses(answer):
        said = plain(clause)
        bare = tuple(
            word.removesuffix("n't") for word in words(said) if word not in ("yes", "no", "not", "and", "never")
        )
        if len(bare) > 2 and not said.endswith("?"):
            no_less = re.sub(r"\A\W*(?:yes|no),?\s", "", said)
            told.setdefault(bare, set()).add(bool(NEGATED.search(no_less)))
    return any(len(ways) > 1 for ways in told.values())


def leaves_choice(answer: str, facts: Facts) -> bool:
    """True if an answer says of one field that it is this or that value of those observed; not if it offers both ("you can")."""
    for sentence in sentences(answer):
        said = plain(sentence)
        found = re.search(
            r"(?:\b(?:is|are|was|were|costs?|at)\b|[:=])(?P<one>.{1,60}?)\bor\b(?! so\b)(?P<other>.{1,60})", said
        )
        if not found or re.search(
            r"\b(?:can|could|may|choose|choice|choices|options?|available|between|depending|if)\b", said
        ):
            continue
        one, other = phrase(found["one"]), phrase(found["other"])
        left = {fact.key for fact in facts.novel if fact.phrase.strip() and one.endswith(fact.phrase)}
        if any(fact.key in left and other.startswith(fact.phrase) and fact.phrase.strip() for fact in facts.novel):
            return True
    return False


def denies(answer: str) -> bool:
    """True if an answer says that there is nothing."""
    return bool(_NONE.search(plain(answer)) or _NO.search(plain(answer)))


def affirms(answer: str) -> bool:
    return bool(_YES.search(plain(answer)))


def truths(facts: Iterable[Fact]) -> dict[tuple[str, ...], bool]:
    """Fields that are true or false, and the same wherever they stand: booleans, and texts that are one of two opposites."""
    seen: dict[tuple[str, ...], set[bool]] = {}
    for fact in facts:
        if isinstance(fact.value, bool):
            seen.setdefault(fact.key, set()).add(fact.value)
        for key, truth in spelled(fact):
            seen.setdefault(key, set()).add(truth)
    return {key: values.pop() for key, values in seen.items() if len(values) == 1}


@lru_cache(maxsize=16384)
def spelled(fact: Fact) -> list[tuple[tuple[str, ...], bool]]:
    """What a short text says that is one of two opposites: (by the first word for it, whether it is so)."""
    if isinstance(fact.value, (int, float)) and not isinstance(fact.value, bool):
        bad = any(fact.name.lower() in negative.split("|") for _, negative in OPPOSITES)  # malicious: 0
        none = [(fact.key, False)] if bad and fact.value == 0 else []
        return [*none, *(((stem(name),), fact.value != 0) for part, name in _COUNTED.items() if part in fact.key)]
    if not isinstance(fact.value, str) or len(fact.text) >= 40 or "?" in fact.text or _is_called(fact):
        return []
    found: list[tuple[tuple[str, ...], bool]] = []
    for positive, negative in OPPOSITES[:SPELLED_OUT]:
        key = (stem(positive.split("|")[0]),)
        if says(negative, " ".join(words(fact.text))):
            found.append((key, False))
        elif re.fullmatch(rf"(?:{_ADVERB} )?(?:{positive})(?: {_ADVERB})?", " ".join(words(fact.text))):
            found.append((key, True))
    return found


def _is_called(fact: Fact) -> bool:
    """True if a text is what something is called rather than how it is; that of a `condition` is how it is."""
    around = words(str(fact.record[-1])) if len(fact.record) > 1 else ()
    return bool(set(fact.key) & (_CALLED | _DAYS)) and not {"condition", "weather", "status", "state"} & set(around)


def asked_whether(fact: Fact, query: str) -> bool:
    """True if a value is one of two opposites, and the query asks which."""
    return any(says("|".join(phrases(key)), query) for key, _ in spelled(fact) if any(phrases(key)))


def stances(answer: str, key: tuple[str, ...], query: str) -> set[bool]:
    """What an answer says of a true-or-false field: {True}, {False}, both, or nothing."""
    positive, negative = phrases(key)
    found: set[bool] = set()
    for clause in clauses(answer):
        said = plain(clause)
        hit = says(positive, said) or _has_key(key, said)
        miss = says(negative, said) if negative else None
        if not hit and not miss:
            continue
        if miss and not (hit and hit.start() < miss.start() and not (miss.start() <= hit.start() < miss.end())):
            found.add(bool(NEGATED.search(said[: miss.start()])) and not _leading_no(said, miss.start()))
            continue
        negated = len(NEGATED.findall(_before(said, hit))) + bool(hit and _NOT_BEHIND.match(said, hit.end()))
        assigned = re.search(r"(?:is|are|[:=])\s*(true|false|yes|no)\b", said[hit.end() :]) if hit else None
        if assigned:
            found.add(assigned[1] in ("true", "yes"))
        else:
            found.add(negated % 2 == 0)
        if _PERHAPS.search(said) and (" or " in said or negated):
            found |= {True, False}
    if not found:
        found |= _by_yes_or_no(answer, key, query)
    return found


def _by_yes_or_no(answer: str, key: tuple[str, ...], query: str) -> set[bool]:
    """A plain yes or no to a query that asks about the field."""
    said, asked = plain(answer), plain(query)
    yes, no = bool(_YES.search(said)), bool(_NO.search(said))
    if yes == no:
        return set()
    positive, negative = phrases(key)
    if says(positive, asked) or _has_key(key, asked):
        return {yes}
    return {no} if negative and says(negative, asked) else set()


def _before(said: str, hit: re.Match[str] | None) -> str:
    """What can negate a mention: the clause up to its end, without a leading "No," and without what follows a comma."""
    text = said[: hit.end()] if hit else said
    text = re.sub(r"(?:\A|\W)(?:yes|no)\s*,\s*", " ", text)
    return re.sub(r"\bnot only\b|\bno doubt\b", "", text)


def _leading_no(said: str, place: int) -> bool:
    return bool(re.search(r"(?:\A|\W)no\s*,", said[:place])) and len(NEGATED.findall(said[:place])) == 1


def _has_key(key: tuple[str, ...], said: str) -> re.Match[str] | None:
    """Where a clause names the field: all the words of its name, by their stems."""
    meaningful = [part for part in key if part not in ("is", "ha", "has", "can")]
    if len(meaningful) > 1:  # the address can be changed: `address_change_possible`
        meaningful = [part for part in meaningful if part not in _MODAL] or meaningful
    if not meaningful or not set(meaningful) <= set(stems(said)):
        return None
    last = [match for match in re.finditer(r"[^\W_]+", said) if stem(match[0]) == meaningful[-1]]
    return last[-1] if last else None


def _without_field_names(answer: str, facts: Facts) -> str:
    """An answer without the names of fields that hold something else than a truth: the "found TLDs" are 465, and whether
    something was `found` is another question; it "closes" at six, and is not closed."""
    for fact in facts.novel:
        several = len(fact.key) > 1 and not isinstance(fact.value, bool)
        if several or fact.clocks:
            name = r"[\s_-]+".join(map(re.escape, words(fact.name)))
            answer = re.sub(rf"(?<!\w){name}(?!\w)", " ", answer, flags=re.IGNORECASE) if name else answer
    return answer


def _happened(place: Place) -> tuple[str, ...]:
    """What a field of a moment says has happened: `delivered_at` that it was delivered, and where it is null that it was not."""
    name = words(str(place[-1]))
    return (
        (stem(name[0]),)
        if len(name) == 2 and name[0].endswith("ed") and name[1] in ("at", "on", "date", "time")
        else ()
    )


def contradictions(answer: str, facts: Facts) -> tuple[list[str], set[Fact]]:
    """(fields an answer states the wrong way round or both ways, facts whose truth it states right)."""
    wrong: list[str] = []
    right: set[tuple[str, ...]] = set()
    answer = "\n".join(
        sentence for sentence in sentences(answer) if not sentence.endswith("?")
    )  # a question states nothing
    answer = _without_field_names(answer, facts)
    set_so = [fact for fact in facts.repeated if isinstance(fact.value, bool)]  # the lights that were to be turned off
    known = truths([*facts.novel, *set_so])
    known |= {key: False for place in facts.nulls if (key := _happened(place)) and key not in known}
    for key, value in known.items():
        said = stances(answer, key, facts.asked.text)
        if said == {value}:
            right.add(key)
        elif said:
            wrong.append(" ".join(key))
    if not right and not wrong and len(known) == 1:
        [(key, value)] = known.items()
        bare, only = plain(answer), len(facts.novel) == 1
        if only and (_YES.search(bare) or _NO.search(bare)):
            (right.add(key) if bool(_YES.search(bare)) == value else wrong.append(" ".join(key)))
    return wrong, {fact for fact in facts.novel if fact.key in right or any(key in right for key, _ in spelled(fact))}
