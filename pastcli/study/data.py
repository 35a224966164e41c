"""Which documents and questions a study uses, written down as files that are named by their content.

The same for every seed: seeds vary the training, intervals over documents stand for other documents. Nothing here looks
at an answer of a model.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import config as configs
from .. import output, qa
from ..api import Passage, Question
from ..config import IngestConfig
from ..config.study import Part
from ..errors import UsageError
from ..ingest import collect, read_documents, read_questions
from ..words import counted
from . import apart
from .draws import at_most, drawn, mislabelled
from .records import rows_of, titles_of, used
from .spec import Study

ALL_SETS = 99
"""Sets of implications read of a record: all that `kinds` chose."""


@dataclass(frozen=True)
class Material:
    """One part of a study on disk. `documents` is what SFT reads, `practice` the questions RL may see, `asked` those
    that are asked, `validation` those that choose a checkpoint; `where` tells of each asked question what it is: test,
    dev, practised or held-out."""

    documents: tuple[Path, ...]
    practice: Path
    asked: Path
    where: Mapping[str, str]
    questions: tuple[Question, ...]
    titles: frozenset[str] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)
    validation: Path | None = None


NOTHING = Material((), Path(), Path(), {}, (), counts={"documents": 0, "questions": 0})
"""The source of a study that has none: its skill was made before."""


def source(study: Study, part: Part, folder: Path) -> Material:
    """The source: all questions but the held-out ones are for RL; held-out and as many practised ones can be asked."""
    taken = _learnt(study, folder) if part.apart else frozenset()
    documents, questions, titles = _taken(study, part, folder, taken)
    questions, validation = _validation(questions, part)
    held = set(drawn([question.id for question in questions], part.held_out))
    practice = [question for question in questions if question.id not in held]
    again = set(drawn([q.id for q in practice], min(0.99, len(held) / max(1, len(practice)))) if held else [])
    again = again or {question.id for question in practice}
    where = {q.id: "held-out" if q.id in held else "practised" for q in questions if q.id in held | again}
    asked = [q for q in questions if q.id in where]
    return _material(documents, mislabelled(practice, part), asked, where, titles, folder, validation)


def target(study: Study, part: Part, folder: Path) -> Material:
    """The target: every document is learnt; questions on the dev documents choose scales and are never reported."""
    documents, questions, titles = _taken(study, part, folder, frozenset())
    questions, validation = _validation(questions, part)
    dev = set(drawn(sorted({question.doc for question in questions}), part.dev))
    where = {question.id: "dev" if question.doc in dev else "test" for question in questions}
    return _material(documents, questions, questions, where, titles, folder, validation)


def singles(study: Study, whole: Material, folder: Path) -> list[Material]:
    """The target document by document, for one model each; only documents that are asked about."""
    passages: dict[str, list[Passage]] = {}
    for passage in read_documents(whole.documents, study.stage("ingest", {"implication_sets": ALL_SETS})):
        passages.setdefault(passage.doc, []).append(passage)
    made = []
    for doc in dict.fromkeys(question.doc for question in whole.questions):
        asked = [question for question in whole.questions if question.doc == doc]
        if doc not in passages:
            raise UsageError(f"no document {doc!r} for its questions", "`doc` of a question names its document")
        rows = [{**asdict(passage), "source": _shape(passage.source)} for passage in passages[doc]]
        where = {question.id: whole.where[question.id] for question in asked}
        made.append(_material((write_named(rows, folder, ".jsonl"),), asked, asked, where, whole.titles, folder))
    return made


def _shape(source: Mapping[str, Any]) -> dict[str, Any]:
    """What a passage's source says of its text, and no path: a material is named by its content alone."""
    return {name: source[name] for name in ("blocks", "section", "table_head") if name in source}


def _material(
    documents: tuple[Path, ...],
    practice: Sequence[Question],
    asked: Sequence[Question],
    where: Mapping[str, str],
    titles: frozenset[str],
    folder: Path,
    validation: Sequence[Question] = (),
) -> Material:
    counts = {"documents": len({q.doc for q in practice}), "questions": len(practice), **Counter(where.values())}
    files = (_questions(practice, folder), _questions(asked or practice, folder))
    if validation:
        counts["validation"] = len(validation)
    chosen_by = _questions(validation, folder) if validation else None
    return Material(documents, *files, where, tuple(asked), titles, counts, chosen_by)


def _validation(questions: list[Question], part: Part) -> tuple[list[Question], list[Question]]:
    """(the other questions, those on the documents that choose a checkpoint)."""
    names = sorted({question.doc for question in questions})
    chosen = set(drawn(names, part.validation))
    if part.validation and not 0 < len(chosen) < len(names):
        raise UsageError(
            f"validation = {part.validation:g} leaves {len(names) - len(chosen)} of {len(names)} documents, and takes {len(chosen)}",
            "it is a share of the documents with questions",
        )
    return [q for q in questions if q.doc not in chosen], [q for q in questions if q.doc in chosen]


def _learnt(study: Study, folder: Path) -> frozenset[str]:
    """What the documents of all targets are known by again: titles, texts, passages."""
    found: set[str] = set()
    for part in (study.target, *study.targets.values()):
        chosen = _chosen(study, part, frozenset())
        found.update(key for record in chosen for key in apart.keys(record))
        passages = collect(_documents(study, part, chosen, folder), IngestConfig()).passages
        found.update(apart.plain(passage.text) for passage in passages)
    return frozenset(found)


def _documents(study: Study, part: Part, chosen: Sequence[Mapping[str, Any]], folder: Path) -> tuple[Path, ...]:
    """What is learnt of a part: its `chosen` records in a file of their own, or its files and folders as they are."""
    paths = places(study, part.documents)
    return (write_named(rows_of(chosen, part.kinds, paths[0]), folder, ".json"),) if chosen else tuple(paths)


def _chosen(study: Study, part: Part, taken: frozenset[str]) -> list[dict[str, Any]]:
    """The records that are used; [] when the documents are no file of records."""
    found = used(places(study, part.documents), part.kinds)
    left = [record for record in found if taken.isdisjoint(apart.keys(record))]
    left = left[part.skip : part.skip + part.limit if part.limit else None]
    if found and not left:
        hint = "check skip, limit, and whether source and target share all titles"
        raise UsageError(f"nothing of {part.documents} is left", hint)
    return left


def _taken(
    study: Study, part: Part, folder: Path, taken: frozenset[str]
) -> tuple[tuple[Path, ...], list[Question], frozenset[str]]:
    """Documents, questions and titles of a part after `apart`, `skip`, `limit` and `per_document`."""
    shown = ", ".join(map(str, places(study, part.documents)))
    chosen = _chosen(study, part, taken)
    if not chosen and (part.skip or part.limit or part.kinds):
        raise UsageError(f"skip, limit and kinds choose among records, and {shown} is not made of records alone")
    documents = _documents(study, part, chosen, folder)
    files = places(study, part.questions) if part.questions else documents
    found = [question for file in files for question in read_questions(file)]
    passages = read_documents(documents)
    names = {passage.doc for passage in passages}
    asked = _about(names, [question for question in found if question.answers], bool(chosen), shown)
    if unanswered := len(found) - sum(bool(question.answers) for question in found):
        output.warn(f"{unanswered} of {counted(len(found), 'questions')} on {shown} have no answer, and are left out")
    if part.per_document:
        asked = at_most(asked, part.per_document)
    if not asked:
        hint = "`doc` of a question names its document"
        raise UsageError(f"no question with an answer is about the documents of {shown}", hint)
    if len({question.id for question in asked}) < len(asked):
        raise UsageError(f"two questions on {shown} have one id", "give every question an id of its own")
    if taken:
        apart.check(passages, {question.doc for question in asked}, taken, str(part.documents))
    return documents, asked, titles_of(chosen)


def _about(names: set[str], asked: list[Question], records: bool, shown: str) -> list[Question]:
    """The questions on these documents: one on a document that nobody learns measures nothing. Where files and questions
    are named apart and no question's `doc` is a document's, all of them are taken for theirs."""
    here = [question for question in asked if question.doc in names]
    if records or len(here) == len(asked):
        return here
    if not here:
        output.warn(f"no question names one of the documents of {shown} as its `doc`: all are taken to be about them")
        return asked
    left = f"{len(asked) - len(here)} of {counted(len(asked), 'questions')}"
    output.warn(f"{left} are on documents that are not among {shown}, and are left out")
    return here


def places(study: Study, names: str | Sequence[str]) -> list[Path]:
    """Paths of the study file: relative to the folder it lies in."""
    wanted = [names] if isinstance(names, str) else names
    if not names or not isinstance(wanted, list) or not all(isinstance(name, str) and name for name in wanted):
        raise UsageError("[source] and [target] need `documents`", "a file or folder, or a list, relative to the study")
    found = [study.folder / Path(name).expanduser() for name in wanted]
    for path in found:
        if not path.exists():
            raise UsageError(f"no file or folder {path}", "paths are relative to the study file")
    return found


def _questions(questions: Sequence[Question], folder: Path) -> Path:
    rows = [{"id": q.id, "question": q.question, "answers": list(q.answers), "doc": q.doc} for q in questions]
    return write_named(rows, folder, ".jsonl")


def pairs(questions: Path, folder: Path) -> Path:
    """The questions and their reference answers as prompt and completion: what imitation learns."""
    rows = [{"prompt": qa.prompt_for(q.question), "completion": f" {q.answers[0]}"} for q in read_questions(questions)]
    return write_named(rows, folder, ".jsonl")


def write_named(rows: Sequence[Mapping[str, Any]], folder: Path, suffix: str) -> Path:
    """A file named by its content: the same in every study that uses the same data."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = "[\n" + ",\n".join(lines) + "\n]\n" if suffix == ".json" else "".join(line + "\n" for line in lines)
    path = folder / f"{configs.digest(text)[:16]}{suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    return path
