"""Documents, pairs and questions as the rows that `sft`, `rl` and `distill` train on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import api, output, qa
from .. import config as configs
from ..config import IngestConfig
from ..errors import UsageError

if TYPE_CHECKING:
    from ..config import SftConfig


def ingest_config(file: Path | None) -> IngestConfig:
    """How documents are cut that a command reads which is not `ingest`: as the settings file says."""
    return configs.resolve("ingest", {}, file)


def sft_rows(docs: Sequence[Path], config: SftConfig, ingest: IngestConfig, strict: bool) -> list[dict[str, Any]]:
    """Training texts of documents and corpora and the tasks made of them, then the rows of prompt/completion files and
    of `--mix`."""
    from ..ingest import read_documents, read_pairs, sniff

    pairs = [path for path in docs if sniff(path) == "pairs"]
    others = [path for path in docs if path not in pairs]
    rows = document_rows(read_documents(others, ingest, strict), config) if others else []
    for path in [*pairs, *mixed(config, docs)]:
        rows += read_pairs(path, strict)
    if not rows:
        raise UsageError("nothing to train on: augment off leaves the documents out", "name a --task, or pairs")
    return rows


def document_rows(passages: Sequence[api.Passage], config: SftConfig) -> list[dict[str, Any]]:
    """The training texts of passages, and the pairs of `--task` that are made of them by rule."""
    from ..ingest import titles_and_texts
    from ..ingest.generate import chosen, generate, plan

    texts = titles_and_texts(passages, config.augment) if config.augment != "off" else []
    rows = [text_row(title, text, config.max_length) for title, text in texts]
    kinds = chosen([name for name in config.task if name != "none"], has_model=False)
    made = generate(plan(passages, kinds, 1, None), None, "rules", api.Sampling()) if kinds else None
    return rows + [{name: pair[name] for name in ("prompt", "completion")} for pair in (made.pairs if made else [])]


def text_row(title: str, text: str, max_length: int) -> dict[str, Any]:
    """A training text; one that may have too many tokens also says where it can be cut and what each piece begins with."""
    from ..ingest import borders

    head = f"{title}\n" if title else ""
    row = {"text": head + text}
    if len(row["text"].encode("utf-8", "surrogatepass")) < max_length:  # no token is shorter than a byte
        return row
    return {**row, "head": head, "cuts": [len(head) + at for at in borders(text)]}


def mixed(config: SftConfig, docs: Sequence[Path]) -> list[Path]:
    """The files of `--mix`. `qa` is the built-in set: without the answer format RL has little to reward at first.

    It stays out where all there is to learn is pairs of the user's own, which have a format already.
    """
    from ..ingest import sniff

    built_in = Path(str(resources.files("pastcli.ingest") / "qa_format.jsonl"))
    named = [name for name in config.mix if name != "none"]
    if all(sniff(path) == "pairs" for path in docs):
        named = [name for name in named if name != "qa"]
    return [built_in if name == "qa" else Path(name) for name in named]


def rl_rows(questions: Sequence[api.Question], where: Path | str) -> list[dict[str, Any]]:
    """Prompts with what the rewards need; questions without an answer cannot be rewarded and are left out."""
    rows = [
        {
            "prompt": qa.prompt_for(q.question),
            "question": q.question,
            "answer": q.answers[0],
            "answers": list(q.answers),
            "id": q.id,
            "doc": q.doc,
        }
        for q in questions
        if q.answers
    ]
    if not rows:
        raise UsageError(f"no question in {where} has an answer", "rewards compare with an accepted answer")
    if len(rows) < len(questions):
        output.warn(f"{len(questions) - len(rows)} of {len(questions)} questions have no answer and are left out")
    return rows
