"""What kind of question each one is: was its pattern practised, is its fact stated often. Figures are given by stratum."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from .. import qa
from ..api import Question
from ..ingest import read_documents, read_questions, training_texts
from .data import ALL_SETS, Material
from .spec import Study

OFTEN = 3
"""A fact counts as stated often when its answer stands in at least so many training texts of its document."""


def template(question: str, name: str = "") -> str:
    """A question without its names, so that two questions of one pattern about two things are equal: words with a capital
    (but the first) and numbers go, and the words of `name`, its document's."""
    own = set(re.findall(r"\w+", name.lower()))
    words = re.findall(r"[\w'’]+", question)
    kept = [words[0].lower()] if words else []
    kept += [word.lower() for word in words[1:] if not (word[0].isupper() or word[0].isdigit())]
    return " ".join(word for word in kept if word not in own and word.rstrip("s") not in own)


def templates(questions: Iterable[Question]) -> set[str]:
    return {template(question.question, question.doc) for question in questions}


def _practised(sources: Iterable[Material]) -> set[str]:
    return {one for source in sources if source.documents for one in templates(read_questions(source.practice))}


def strata(study: Study, target: Material, sources: Iterable[Material]) -> list[dict[str, str]]:
    """Of each question asked about the target: whether its template occurs among those that any vector's training may see,
    and whether its answer is stated often in what SFT reads of its document."""
    seen = _practised(sources)
    texts = _texts_by_doc(study, target)
    found = []
    for question in target.questions:
        answers = [f" {qa.spelled(answer)} " for answer in question.answers]
        stated = sum(any(answer in text for answer in answers) for text in texts.get(question.doc, []))
        known = "seen" if template(question.question, question.doc) in seen else "new"
        found.append({"template": known, "stated": "often" if stated >= OFTEN else "rarely"})
    return found


def _texts_by_doc(study: Study, material: Material) -> dict[str, list[str]]:
    """Every training text of each document, normalised as answers are."""
    passages: dict[str, list[Any]] = {}
    for passage in read_documents(material.documents, study.stage("ingest", {"implication_sets": ALL_SETS})):
        passages.setdefault(passage.doc, []).append(passage)
    augment = study.stage("sft").augment
    return {
        doc: [f" {qa.spelled(text)} " for text in training_texts(found, augment)] for doc, found in passages.items()
    }


def overlap(
    study: Study, sources: Sequence[Material], target: Material, learnt: Sequence[Material] = ()
) -> dict[str, Any]:
    """What source and target share: titles, the target questions whose template RL may see, and those that stand in what SFT
    reads of the target, in any of the versions that are `learnt`."""
    seen = _practised(sources)
    same = sum(template(question.question, question.doc) in seen for question in target.questions)
    texts = [text for material in learnt for found in _texts_by_doc(study, material).values() for text in found]
    return {
        "titles": len(target.titles.intersection(title for source in sources for title in source.titles)),
        "templates_seen": same,
        "read": sum(any(f" {qa.spelled(one.question)} " in text for text in texts) for one in target.questions),
        "questions": len(target.questions),
    }
