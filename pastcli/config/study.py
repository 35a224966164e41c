"""What a study file may say: its tables as dataclasses, and the text of `past study --help` that is made from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .setting import default_of, setting

KINDS = ("rl", "imitation", "format", "distill", "file")
CONTROLS = ("none", "random", "shuffled", "layers", "zero")
WHEN = ("end", "each", "kept")
MODELS = ("sft", "base", "source", "rl")
STRATA = ("template: new", "template: seen", "stated: often", "stated: rarely", "part: practised", "part: held-out")
"""Kinds of question: of the target, whether RL may have seen its pattern and how often SFT reads its answer; of the source, its part."""
STAGE_TABLES = ("ingest", "generate", "sft", "rl", "distill", "inject", "eval")


@dataclass(frozen=True)
class Part:
    """[source] or [target]: documents, and questions about them."""

    documents: Any = setting(
        "", "what SFT learns: a file of records (SQuAD, LooGLE, JSONL), a corpus, a folder; or a list of such"
    )
    questions: Any = setting(
        "", "questions with answers, `doc` naming the document (default: those inside `documents`)"
    )
    limit: int = setting(0, "use only so many documents, after `skip`; 0 uses all")
    skip: int = setting(0, "leave out so many documents first")
    kinds: list = setting(
        [], "model-written texts of a record's `augmentations` to learn as well: AUTHOR.KIND[:N], * and ? allowed"
    )
    per_document: int = setting(0, "use at most so many questions on one document; 0 uses all")
    held_out: float = setting(
        0.15, "source: share of the questions that RL does not see, to tell a skill from learning the content"
    )
    label_noise: float = setting(
        0.0,
        "source: share of the practised questions that get another one's answers, for RL and imitation alike; what is asked stays right",
    )
    dev: float = setting(
        0.0, "target: share of the documents whose questions only choose a scale and are never reported"
    )
    validation: float = setting(
        0.0,
        "share of the documents whose questions are neither practised nor reported: they choose the checkpoint, of RL and "
        "of a phase of SFT that says `validate`",
    )
    single: bool = setting(
        False, "target: one model a document, asked about that document alone (the paper's single-passage setting)"
    )
    apart: bool = setting(True, "source: leave out documents whose title (article) occurs in the target")


@dataclass(frozen=True)
class Phase:
    """[phases.NAME]: one phase of SFT; each goes on from the one before, and the base stays the base (METHOD 3)."""

    sft: dict = setting(None, "changes to [sft], e.g. { phase = 'encoding' } or { phase = 'adaptation', epochs = 3 }")
    generate: list = setting([], "kinds that `past generate` makes of the documents beforehand, settings in [generate]")
    model: str = setting("", "the chat model that writes them (rules need none)")
    validate: bool = setting(False, "the checkpoint is the one with the least loss on the `validation` questions")


@dataclass(frozen=True)
class Vector:
    """[vectors.NAME]: a weight change made on the source. `rl`, `imitation` and `format` exist without being declared."""

    kind: str = setting(
        "rl",
        choices=KINDS,
        help="rl: RL minus source SFT | imitation: SFT on the source's question-answer pairs, minus source SFT | format: base + SFT on everyday pairs, minus base | distill: K rounds on disjoint parts of the source | file: a skill made before",
    )
    file: str = setting("", "the skill file (kind file), relative to the study; no source is needed for it")
    distill: dict = setting(None, "changes to [distill] (kind distill)")
    sft: dict = setting(
        None,
        "changes to [sft] for the source model it starts from, e.g. { mix = ['qa'] } (default: those of the reference arm, "
        "so that a skill and what it is added to have learnt alike)",
    )
    rl: dict = setting(None, "changes to [rl]")
    imitation: dict = setting(None, "changes to [imitation] (kind imitation) or [format] (kind format)")
    source: dict = setting(None, "changes to [source]")
    seed_shift: int = setting(
        0, "take the vector of the seed so many places further in `seeds`: the skill of another seed"
    )


@dataclass(frozen=True)
class Arm:
    """[arms.NAME]: one model that is asked, at every seed."""

    model: str = setting(
        "sft",
        choices=MODELS,
        help="what the vectors are added to. sft: SFT on the target | base | source: SFT on the source, asked about the source | rl: SFT and then RL on the target's own questions (upper bound)",
    )
    add: list = setting([], "vectors to add, as NAME or NAME:FACTOR")
    scale: Any = setting(1.0, "the scale of the sum; a list is a grid, of which the dev questions choose one")
    control: str = setting("none", "replace each vector by a control of `past inject`", choices=CONTROLS)
    sft: dict = setting(None, "changes to [sft] for this arm's target model, e.g. { mix = ['qa'] }")
    target: dict = setting(
        None, "changes to [target] for what this arm's model reads, e.g. { kinds = ['*'] }; the questions stay the same"
    )
    inject: dict = setting(None, "changes to [inject]")
    single: Any = setting(None, "one model a document, or all in one (default: as [target] says)")
    sequence: list = setting(
        [],
        "continual adaptation: SFT on these [targets] one after the other; after each step all of them so far are asked",
    )
    when: str = setting(
        "end",
        "with a sequence, when the vectors are added: once at the end | after each step, for the next to start from | "
        "kept: taken out before every SFT and put back after it",
        choices=WHEN,
    )
    against: str = setting("", "the arm it is compared with (default: `reference`); `a|b` is the better of several")
    within: str = setting(
        "",
        "judge the arm on the questions of one stratum alone: a claim about these is declared before it is looked for",
        choices=("", *STRATA),
    )
    test: bool = setting(False, "a claim: its p-values count in Holm's correction")


TOP = {
    "title": "a name for the reports (default: the file's)",
    "base": "the base model of everything: alias, hub id, or path, from the file's folder or the current one (default: smol)",
    "seeds": "seeds of every training (default: 0 to 4)",
    "reference": "the arm the others are compared with (default: SFT)",
}


def reference() -> str:
    """The study file's keys with their meaning, as Markdown."""
    blocks = [
        "**The file**, TOML. `[source]` and `[target]` with `documents` are all it needs; the rest has defaults. `past study init` writes one."
    ]
    blocks.append("\n".join(f"- `{name}`: {text}" for name, text in TOP.items()))
    for title, cls in (
        ("[source], [target], [targets.NAME]", Part),
        ("[phases.NAME]", Phase),
        ("[vectors.NAME]", Vector),
        ("[arms.NAME]", Arm),
    ):
        blocks += [f"**{title}**", "\n".join(_lines(cls))]
    blocks.append(
        "**[ingest] [generate] [sft] [rl] [distill] [inject] [eval]**: settings of the stages, as in past.toml. **[imitation] [format]**: settings of the SFT that makes these vectors, as in [sft]."
    )
    return "\n\n".join(blocks)


def _lines(cls: type) -> Iterator[str]:
    for one in dataclasses.fields(cls):
        choices = f" ({', '.join(one.metadata['choices'])})" if one.metadata["choices"] else ""
        default = default_of(one)
        shown = f" [default: {default}]" if default not in (None, "", [], 0, False) else ""
        yield f"- `{one.name}`{choices}: {one.metadata['help']}{shown}"
