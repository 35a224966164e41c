"""Which run is meant when a path is left out: the newest fitting one, found by who descends from whom."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, overload

from .. import measured, models, output, runs
from ..errors import MismatchError, PastError, UsageError
from ..hashing import is_hash_of


def newest(*stages: str, made: tuple[str, ...], hint: str, but: Collection[str] = ()) -> runs.Record:
    """The newest run of `stages`, `but` these, that made one of the outputs `made`, and still has it."""
    for record in reversed(runs.records()):
        if (
            record.stage in stages
            and record.id not in but
            and any((path := record.output(name)) is not None and path.exists() for name in made)
        ):
            return record
    raise UsageError(f"no {' or '.join(stages)} run in this workspace", hint)


def ancestor(record: runs.Record, stage: str) -> runs.Record | None:
    """The nearest run of `stage` that `record` descends from."""
    return next((one for one in ancestors(record) if one.stage == stage), None)


def ancestors(record: runs.Record) -> Iterator[runs.Record]:
    """The runs that `record` descends from, nearest first."""
    known = {known.id: known for known in runs.records()}
    queue, seen = deque(record.parents), set[str]()
    while queue:
        name = queue.popleft()
        if name not in seen and name in known:
            seen.add(name)
            yield known[name]
            queue.extend(known[name].parents)


def model(name: str | Path) -> models.ModelRef:
    """A model the user named."""
    return models.resolve(name)


def model_of(record: runs.Record, why: str) -> models.ModelRef:
    """The model of a run that was chosen for the user, who is told so."""
    found = models.resolve(record.path)
    output.note(f"{why}: {record.id}")
    return found


def newest_model() -> models.ModelRef:
    """The model of the newest run that made one. Of what a study made, the models that its vectors were taken from are steps on the
    way, made last or not: nobody means these."""
    hint = "give --model PATH, or `past sft` first"
    record = newest("inject", "rl", "sft", made=models.MODEL_OUTPUTS, hint=hint)
    if not of_study(record):
        output.note(f"model: {record.id}, the newest run that made one")
        return models.resolve(record.id)
    with suppress(UsageError):
        record = newest("inject", "rl", "sft", made=models.MODEL_OUTPUTS, hint=hint, but=_steps())
    found = measured.tested(model=record.id)
    skills = " ".join(f"--vector {vector}" for vector in found[1]) if found else ""
    with_skill = f"; a study tested it with {skills}" if skills else ""
    output.note(f"model: {record.id}, the newest that no vector was taken from{with_skill}")
    return models.resolve(record.id)


def _steps() -> set[str]:
    """The runs of studies that vectors were taken from."""
    known = runs.records()
    parents = {parent for one in known if one.stage in ("extract", "distill") for parent in one.parents}
    return {one.id for one in known if one.id in parents and of_study(one)}


def of_study(record: runs.Record) -> bool:
    """Whether a study made this run: its log lies among the study's."""
    return (runs.runs_dir() / ".study" / "logs" / f"{record.id}.log").is_file()


def rl_and_sft(sft: str | None, rl: str | None) -> tuple[models.ModelRef, models.ModelRef]:
    """(sft, rl) as named, else the newest rl run and the sft run it grew from (METHOD 2: not the injected start)."""
    record: runs.Record | None
    if rl is None:
        record = newest(
            "rl", made=models.MODEL_OUTPUTS, hint="run `past rl`, or name both models: --sft PATH --rl PATH"
        )
        after = model_of(record, "rl")
    else:
        after = model(rl)
        record = runs.owner_of(after.path)
    if sft is not None:
        before = made_by(model(sft), "sft", "rl")
        if (owner := runs.owner_of(after.path)) and owner.stage != "rl":
            output.note(
                f"rl: {owner.id} is an {owner.stage} run: what it has over the SFT model is a control, no skill"
            )
        return before, after
    merged = record.output("sft") if record else None
    if merged is not None:  # the SFT run was a LoRA: RL began from its merge, kept beside the adapter
        return model(merged), after
    grew_from = ancestor(record, "sft") if record else None
    if grew_from is None:
        raise UsageError(f"cannot tell which SFT model {rl or after.name} grew from", "name it with --sft PATH")
    return model_of(grew_from, "sft"), after


def made_by(found: models.ModelRef, role: str, never: str) -> models.ModelRef:
    """`found`, unless a run of the stage `never` trained it: raises `MismatchError`, for it cannot play this `role`."""
    owner = runs.owner_of(found.path)
    if owner is not None and owner.stage == never and owner.output("sft") != found.path.resolve():
        raise MismatchError(f"--{role} {found.name} was made by the {never} run {owner.id}", "are the two swapped?")
    return found


def skill(name: str) -> Path:
    """A skill file by path, the newest skill of that file name a run of the workspace made, or that of a run: its id or @STAGE."""
    path = Path(name)
    if name.startswith("@") and not path.exists():
        found = _skill_of(record := runs.find(name))
        output.note(f"vector: {found} (run {record.id})")
        return found
    if path.is_file():
        return path
    if path.is_dir() and (path / "manifest.json").is_file():
        return _skill_of(runs.read(path))
    for record in reversed(runs.records()):
        made = record.output("skill")
        if made is not None and made.is_file() and (made.name == name or record.id == name):
            output.note(f"vector: {made} (run {record.id})")
            return made
    raise UsageError(f"no skill file {name}", "make one with `past extract`, or give its path")


def newest_skill() -> Path:
    """The newest skill of the workspace, from `extract` or `distill`."""
    record = newest("extract", "distill", made=("skill",), hint="run `past extract`, or name a skill: --vector FILE")
    path = _skill_of(record)
    output.note(f"vector: {path} (run {record.id})")
    return path


def _skill_of(record: runs.Record) -> Path:
    made = record.output("skill")
    if made is None or not made.is_file():
        raise UsageError(f"run {record.id} has no skill", "name a skill file")
    if not record.unchanged("skill"):
        raise MismatchError(
            f"{made} is not what run {record.id} made", "to use what lies there now, name it by its path"
        )
    return made


def target_for(skills: list[Path]) -> models.ModelRef:
    """The newest sft run that is not one a skill was taken from; failing that, the newest sft run."""
    sources = set()
    for path in skills:
        maker = runs.owner_of(path)
        source = ancestor(maker, "sft") if maker else None
        if source is not None:
            sources |= {source.id, *phases_before(source)}
    found = [record for record in reversed(runs.records()) if record.stage == "sft"]
    # Nor one that was trained on from a source, or that a study took a vector from: the practice beside RL, made last.
    passed = sources | _steps()
    others = [one for one in found if one.id not in passed and sources.isdisjoint(it.id for it in ancestors(one))]
    for record in others + found:
        return model_of(record, "target")
    raise UsageError("no sft run in this workspace to inject into", "run `past sft`, or name a model: --target PATH")


def newest_encoded() -> models.ModelRef:
    """The model of the newest SFT run of the phase encoding."""
    for record in reversed(runs.records()):
        if record.stage == "sft" and record.manifest["config"].get("phase") == "encoding":
            return model_of(record, "after")
    raise UsageError(
        "no encoded model in this workspace", "run `past sft DOCS --phase encoding`, or name one: --after RUN"
    )


def phases_before(record: runs.Record) -> set[str]:
    """The runs whose training an SFT run went on from, phase by phase."""
    known = {one.id: one for one in runs.records()}
    found: set[str] = set()
    while (before := record.manifest["inputs"].get("after", {}).get("run")) in known and before not in found:
        found.add(before)
        record = known[before]
    return found


_GREW_FROM = {"sft": "base", "rl": "sft", "inject": "target"}
"""The input of a stage that is the model it started from; that of SFT is its base, through all its phases."""


def origin(found: models.ModelRef) -> models.ModelRef | None:
    """The base that a model goes back to, through injections, RL and phases of SFT; None if that is not known."""
    record, seen = runs.owner_of(found.path), set()
    while record is not None and record.id not in seen:
        seen.add(record.id)
        place = record.input(_GREW_FROM.get(record.stage, ""))
        if place and record.stage == "sft":
            return models.resolve(place)
        record = runs.owner_of(Path(place)) if place else None
    noted = models.noted_base(found.path)
    return models.resolve(noted) if noted else None


@overload
def base_model(sft: models.ModelRef, needed: Literal[True] = True) -> models.ModelRef: ...


@overload
def base_model(sft: models.ModelRef, needed: bool) -> models.ModelRef | None: ...


def base_model(sft: models.ModelRef, needed: bool = True) -> models.ModelRef | None:
    """The base model an SFT model was trained from. If it is not `needed`: None where it is not known or not here."""
    record = runs.owner_of(sft.path)
    named = (record.input("base") or record.manifest["config"].get("base")) if record else models.noted_base(sft.path)
    if not needed:
        with suppress(PastError):
            return models.resolve(named) if named else None
        return None
    if not named:
        raise UsageError(f"cannot tell which base {sft.path} was trained from", "name it with --base PATH")
    output.note(f"base: {named}")
    return models.resolve(named)


def role(path: Path) -> str:
    """`skill` or `control` for a model that one was injected into, exported since or not; '' for any other."""
    record, seen = runs.owner_of(path), set()
    while record is not None and record.stage == "export" and record.id not in seen:
        seen.add(record.id)
        place = record.input("model")
        record = runs.owner_of(Path(place)) if place else None
    if record is None or record.stage != "inject":
        return ""
    return "skill" if record.manifest["config"].get("control", "none") in ("none", "") else "control"


def began_from(sft: models.ModelRef, base: models.ModelRef) -> bool:
    """Whether the run that made `sft` is known to have started from the very bytes of `base`."""
    record = runs.owner_of(sft.path)
    recorded = record.manifest["inputs"].get("base", {}).get("hash", "") if record else ""
    return bool(recorded) and is_hash_of(recorded, base.path)


def other_sft(sft: models.ModelRef) -> models.ModelRef | None:
    """The newest sft run of the workspace besides those that `sft` grew from or that grew from it; None if there is none."""
    owner = runs.owner_of(sft.path)
    mine = {owner.id, *phases_before(owner)} if owner else set()
    for record in reversed(runs.records()):
        if record.stage == "sft" and not mine & {record.id, *phases_before(record)}:
            return model_of(record, "target SFT")
    return None
