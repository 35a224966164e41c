"""The `rules` judge: no model, the same label every time, and nothing to be had for invented arguments.

*Solved*: the run finished; every relevant API was called validly with arguments that come from somewhere (`arguments`); the
answer uses what each of them said, answers what was asked, claims nothing that nobody said, states no fact the wrong way
round, and is an answer rather than a refusal, a hedge or a dump (`claims`, `stance`, `checks`). Where a task says itself what is
expected, that decides (`expected`). A right answer that shares no value with the observations is not recognised.
"""

from __future__ import annotations

from typing import Any

from ...api import Episode, JudgeError, Verdict
from .acts import acts_done, is_reported, prepares, undone
from .amounts import amounts_denied, miscounted, not_all, taken_for_left
from .asked import of_another_entry, off_topic, relevant, serves, unanswered
from .attribution import attributed, unrecognised
from .binding import misbound
from .checks import LONGEST, is_dump
from .claims import Reading, read
from .conditions import strangers
from .contests import another_gap, wrong_way, wrong_winner
from .coverage import owing
from .each import said_of_each
from .evidence import Evidence, weigh
from .expected import expectations
from .fact import Fact
from .facts import Facts
from .focus import restricted, unmet
from .limits import overstepped, turned
from .misstated import misstated
from .opposites import reversed_texts
from .records import crossed
from .stance import affirms, contradictions, denies, hedges, leaves_choice, refuses, without_echoes
from .superlatives import superlative
from .text import phrase
from .unused import left_beside, left_unused, uncounted

DUMP = "a dump of the observations, not an answer"
SOLVED, PARTIALLY, UNSOLVED, UNGRADED = "Solved", "Partially Solved", "Unsolved", "Ungraded"


class RulesJudge:
    """Role `past.judges`, name `rules`."""

    name = "rules"
    version = "rules/12"
    deterministic = True
    error = JudgeError(false_solved=23, not_solved=111, false_not_solved=50, solved=89)
    """On two hundred answers by people who never saw it, on which no rule was mended (tests/tools/test_judge.py)."""

    def judge(self, episode: Episode) -> Verdict:
        """Label one attempt; `Ungraded` when nobody said what a good run does."""
        if episode.task.expected_calls or episode.task.expected_answer is not None or episode.task.check:
            return expectations(episode)
        if not episode.task.relevant:
            return Verdict(UNGRADED, "nothing is known of what a good run of this query does")
        evidence = weigh(episode)
        called = sum(evidence.called)
        details: dict[str, Any] = {
            "called": called,
            "relevant": len(episode.task.relevant),
            "invented": evidence.invented[:5],
        }
        if episode.status != "finished":
            return Verdict(UNSOLVED, f"ended without an answer: {episode.status}", details)
        if not called:
            why = (
                f"invented arguments: {evidence.invented[0]}"
                if evidence.invented
                else "no relevant API was called validly"
            )
            return Verdict(UNSOLVED, why, details)
        label, reason = _judge_answer(episode, evidence, details)
        return Verdict(label, reason, details)


def _judge_answer(episode: Episode, evidence: Evidence, details: dict[str, Any]) -> tuple[str, str]:
    """(label, reason) of a finished run that called at least one relevant API."""
    facts = evidence.facts
    if len(episode.answer) > LONGEST:
        return UNSOLVED, f"an answer of {len(episode.answer)} characters is a dump"
    answer = without_echoes(episode.answer, facts.asked)
    if hedges(answer):
        return UNSOLVED, "the answer wants to have it both ways"
    if leaves_choice(answer, facts):
        return UNSOLVED, "the answer leaves a choice"
    reading = read(answer, facts)
    if is_dump(answer, facts, reading.used):
        return UNSOLVED, DUMP
    made_up = _from_tainted(answer, evidence)
    if made_up:
        return UNSOLVED, _short(f"rests on a call with invented arguments: {made_up}")
    right, wrong = _wrong(answer, evidence, reading)
    reading, right = attributed(reading, right, facts, episode.task, answer)
    apis = [place for place, was in enumerate(evidence.called) if was]
    served = [
        api
        for api in apis
        if _speaks_of(api, facts, reading, right, answer) or is_reported(api, facts, episode.task, answer)
    ]
    unknown = unrecognised(served, episode.task, facts, reading.used, answer, evidence.passed_on)
    served = [api for api in served if api not in unknown]
    done = acts_done(facts, episode.task, answer)
    served += [api for api in apis if api not in served and prepares(api, facts, done)]
    left_out, _ = unanswered(facts, reading, right | {fact for api in done for fact in facts.of(api)})
    details |= {
        "unused": len(set(apis) - set(served) - evidence.passed_on),
        "unsupported": list(reading.unsupported[:5]),
        "wrong": wrong[:5],
        "left_out": left_out[:5],
    }
    if wrong:
        return UNSOLVED, _short(f"contradicts what was observed: {wrong[0]}")
    if not served:
        why = f"leaves out what was asked: {left_out[0]}" if left_out else "repeats nothing that was asked for"
        return UNSOLVED, _short(f"the answer {why}")
    novel = set(facts.novel)
    if len(reading.unsupported) > max(1, sum(fact in novel for fact in reading.used)):
        return UNSOLVED, _short(f"mostly without a source: {', '.join(reading.unsupported[:3])}")
    left_out = left_out or list(
        filter(None, [unmet(facts, reading.used | right, bool(done)), owing(answer, facts, reading.used | right)])
    )
    return _graded(episode, evidence, reading, set(served), left_out, answer)


def _wrong(answer: str, evidence: Evidence, reading: Reading) -> tuple[set[Fact], list[str]]:
    """(facts whose truth the answer states right, what it states wrong)."""
    facts = evidence.facts
    wrong, right = contradictions(answer, facts)
    each_wrong, each_right = said_of_each(answer, facts)
    right |= each_right
    right -= misstated(answer, right, facts)
    wrong += [*each_wrong, *reading.wrong, *misbound(answer, facts)]
    wrong += amounts_denied(answer, facts)
    stranger = strangers(answer, facts)
    wrong += [f"not asked for: {stranger}"] if stranger else []
    wrong += [
        *miscounted(answer, facts),
        *taken_for_left(answer, facts),
        *not_all(answer, facts),
        *reversed_texts(answer, reading.used),
    ]
    swapped = crossed(answer, facts)
    wrong += [f"another's values: {swapped}"] if swapped else []
    other = of_another_entry(facts, reading.used)
    wrong += [f"another entry's: {other}"] if other else []
    outside = overstepped(answer, facts)
    wrong += [f"outside what was asked for: {outside}"] if outside else []
    moved = turned(answer, facts)
    wrong += [f"the other way: {moved}"] if moved else []
    best, named_rightly = superlative(answer, facts)
    wrong += [f"it is {best}"] if best else []
    right |= named_rightly
    winner = wrong_winner(answer, facts)
    wrong += [f"it was {winner}"] if winner else []
    less = wrong_way(answer, facts) or another_gap(answer, facts)
    wrong += [f"the other way round: {less}"] if less else []
    not_done = undone(answer, facts, evidence.refused)
    wrong += [f"was not done: {not_done}"] if not_done else []
    nothing = any(facts.empty(api) for api, was in enumerate(evidence.called) if was)
    if nothing and affirms(answer) and not denies(answer):
        wrong.append("nothing was found")
    return right, wrong


def _from_tainted(answer: str, evidence: Evidence) -> str:
    """Something the answer repeats that only a call with invented arguments said; ''."""
    said = phrase(answer)
    known = phrase(evidence.facts.asked.text) + "".join(fact.phrase for fact in evidence.facts.facts)
    return next(
        (
            text
            for text in evidence.tainted
            if len(phrase(text)) > 4 and phrase(text) in said and phrase(text) not in known
        ),
        "",
    )


def _graded(
    episode: Episode, evidence: Evidence, reading: Reading, served: set[int], left_out: list[str], answer: str
) -> tuple[str, str]:
    """Solved, or what keeps a partly right answer from it; Unsolved where less than half of it is right."""
    apis, facts = len(evidence.called), evidence.facts
    missing = apis - sum(evidence.called)
    if 2 * len(served | (evidence.passed_on & set(range(apis)))) < apis:
        return UNSOLVED, f"the answer has something of {len(served)} of {apis} relevant APIs only"
    if refuses(answer) and not all(facts.empty(api) for api in range(apis)):
        if apis == 1 or missing:
            return UNSOLVED, "refuses although something was observed"
        return PARTIALLY, "refuses although something was observed"
    if missing:
        why = f" (invented: {evidence.invented[0]})" if evidence.invented else ""
        return PARTIALLY, _short(f"{missing} of {apis} relevant APIs not called validly{why}")
    if reading.unsupported:
        return PARTIALLY, _short(f"without a source: {', '.join(reading.unsupported[:3])}")
    silent = {api for api, was in enumerate(evidence.called) if was} - served - evidence.passed_on
    if silent:
        return PARTIALLY, f"the answer uses nothing that {len(silent)} of {apis} relevant APIs said"
    if left_out:
        return PARTIALLY, _short(f"the answer leaves out: {', '.join(left_out[:3])}")
    unused, only_how = left_unused(facts, evidence.given, relevant(episode.task), evidence.filled)
    if unused:
        label = PARTIALLY if only_how else UNSOLVED
        return label, _short(f"nothing was done with what the query gives: {unused}")
    beside = left_beside(facts, evidence.given, answer)
    if beside:
        return PARTIALLY, _short(f"nothing was done with what the query gives: {beside}")
    many = uncounted(facts, evidence.given, relevant(episode.task))
    if many:
        return PARTIALLY, f"{many} were asked for, and no call said so"
    alone = restricted(facts, reading.used)
    if alone:
        return PARTIALLY, _short(f"{alone} was asked for alone")
    if off_topic(facts, reading.used):
        return PARTIALLY, "most of the answer is of what nobody asked for"
    return SOLVED, "all relevant APIs called validly, answer grounded in observations"


def _speaks_of(api: int, facts: Facts, reading: Reading, right: set[Fact], answer: str) -> bool:
    """True if the answer tells what was wanted of an API, or says that it had nothing."""
    if facts.empty(api):
        return denies(answer) or refuses(answer)
    return serves(api, facts, reading, right)


def _short(reason: str) -> str:
    """Under 20 words and 200 characters."""
    return " ".join(reason.split()[:18])[:200]


rules = RulesJudge()
