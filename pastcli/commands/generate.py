"""`past generate`: more knowledge out of passages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import hashing, narration, output, runs
from ..config import GenerateConfig
from ..errors import UsageError
from ..files import writable, write_lines
from . import _estimates as estimates
from . import _train_rows
from ._options import (
    AllowStale,
    DryRun,
    Force,
    Json,
    Name,
    Resume,
    Strict,
    close,
    complete_model,
    finished_before,
    show_plan,
    told,
    with_settings,
)
from ._writing import make, writer

if TYPE_CHECKING:
    from ..ingest.generate import Made
    from ..ingest.generate.run import Request

EXAMPLE = "Example: `past generate corpus.jsonl --kind implications --kind self_qa --model qwen-7b --backend openai`"

CHARS_A_TOKEN = 4.0
"""Characters of English in a token, about: for the plan alone, where no tokenizer is loaded."""

DOCS = typer.Argument(metavar="DOCS...", help="Documents, folders or a corpus (default: the newest corpus).")
MODEL = typer.Option("--model", metavar="NAME", autocompletion=complete_model, help="The chat model that writes.")
PROMPTS = typer.Option("--prompts", metavar="DIR", help="Prompts of your own: KIND.txt with {title} and {text}.")
PRINT = typer.Option(
    "--print-prompts", metavar="DIR", help="Write the built-in prompts there, to change them, and stop."
)


@with_settings("generate")
def command(
    docs: Annotated[list[Path] | None, DOCS] = None,
    model: Annotated[str | None, MODEL] = None,
    *,
    config: GenerateConfig,
    prompts: Annotated[Path | None, PROMPTS] = None,
    print_prompts: Annotated[Path | None, PRINT] = None,
    name: Name = "",
    as_json: Json = False,
    dry_run: DryRun = False,
    force: Force = False,
    resume: Resume = False,
    strict: Strict = False,
    allow_stale: AllowStale = False,
    config_file: Path | None = None,
    sources: dict[str, str] | None = None,
) -> None:
    """Make implications, rewrites, summaries and questions from passages: corpus.jsonl and pairs.jsonl for `past sft`, questions.jsonl
    for `past rl` and `past eval`.

    Without --model the kinds that need none are made: verbatim, recall and cloze tasks. A model's answers are read strictly,
    checked against the passage, and kept by content: nothing is paid for twice. Rejects are counted with their reasons.
    """
    from ..ingest import from_stdin, read_documents
    from ..ingest.generate import chosen, plan

    if print_prompts is not None:
        _print_prompts(print_prompts, as_json)
        return
    kinds = chosen(config.kind, model is not None)
    documents = [from_stdin(path) for path in docs or [_newest_corpus()]]
    if prompts is not None and not prompts.is_dir():
        raise UsageError(f"no folder {prompts}", "make one with: past generate --print-prompts DIR")
    also = {"ingest": _train_rows.ingest_config(config_file)}
    passages = read_documents(documents, also["ingest"], strict)
    requests = plan(passages, kinds, config.samples, prompts)
    who, path = writer(model, config.backend)
    written = _written(prompts) if prompts else {}
    extra = {"docs": [str(path.resolve()) for path in documents], "model": who, "prompts": written, "name": name}
    record = None if dry_run else finished_before("generate", config, extra, resume, also)
    if record is None:
        may = runs.Options(resume=resume, force=force, name=name, allow_stale=allow_stale, dry_run=dry_run)
        may["also"] = also
        with runs.start("generate", config, extra=extra, **may) as run:
            run.add_inputs("documents", documents)
            if path is not None:
                run.add_input("model", path, model=model)
            if dry_run:
                show_plan(_plan(requests, config, model, path), config, sources, as_json)
                return
            _write(run, make(requests, config, path or model, who))
        record = runs.read(run.final)
    _show(record, as_json)


def _written(prompts: Path) -> dict[str, str]:
    """The user's own prompts by content."""
    return {str(file.resolve()): hashing.hash_path(file) for file in sorted(prompts.glob("*.txt"))}


def _newest_corpus() -> Path:
    record = runs.newest("ingest", output_name="corpus")
    made = record.output("corpus") if record else None
    if record is None or made is None:
        raise UsageError("no documents given, and no corpus in this workspace", "name some: past generate docs/")
    output.note(f"corpus: {made} (run {record.id})")
    return made


def _write(run: runs.Run, made: Made) -> None:
    from ..ingest import write_corpus

    corpus, pairs, questions = (run.dir / f"{name}.jsonl" for name in ("corpus", "pairs", "questions"))
    write_corpus(corpus, made.texts)
    write_lines(pairs, made.pairs)
    write_lines(questions, made.questions)
    for output_name, path in (("corpus", corpus), ("pairs", pairs), ("questions", questions)):
        run.add_output(output_name, path)
    runs.write_json(run.dir / "yield.json", made.table())
    run.metrics(
        texts=len(made.texts),
        pairs=len(made.pairs),
        questions=len(made.questions),
        rejected=sum(sum(reasons.values()) for reasons in made.rejects.values()),
        answers_paid=made.paid,
        prompt_tokens=made.prompt_tokens,
        completion_tokens=made.completion_tokens,
        kinds=made.table(),
    )


def _plan(requests: Sequence[Request], config: GenerateConfig, model: str | None, path: Path | None) -> dict[str, Any]:
    """What a model would be asked, with the most it can cost and, of one that runs here, take: every answer as long as it may be,
    nothing in the cache."""
    asked = [request for request in requests if request.prompt]
    read = round(sum(len(request.prompt) for request in asked) / CHARS_A_TOKEN)
    most = len(asked) * config.max_new_tokens
    return {
        "model": model or "none (by rule)",
        "by_rule": len(requests) - len(asked),
        "answers": len(asked),
        "prompt_tokens_about": read,
        "answer_tokens_at_most": most,
        "price_at_most": round((read * config.price_in + most * config.price_out) / 1e6, 4),
        **(
            {"seconds_at_most_about": estimates.speaking(path, most, config.backend)["seconds_at_most_about"]}
            if path
            else {}
        ),
    }


def _print_prompts(folder: Path, as_json: bool) -> None:
    """The built-in prompts as files; none that is there already is touched."""
    from ..ingest.generate import KINDS
    from ..ingest.generate.kinds import prompt_text

    writable(folder)
    written = []
    for kind in KINDS.values():
        file = folder / f"{kind.name}.txt"
        if kind.prompt and not file.exists():
            file.write_text(prompt_text(kind, None), encoding="utf-8")
            written.append(str(file))
    output.emit({"written": written}, as_json)


def _show(record: runs.Record, as_json: bool) -> None:
    metrics = record.manifest["metrics"]
    end = narration.closing(record.manifest)
    document = {"run": record.id, "outputs": record.outputs(), "metrics": metrics, **told(end)}

    def human() -> None:
        rows = [
            (
                row["kind"],
                row["asked"],
                row["kept"],
                ", ".join(f"{n} {why}" for why, n in row["rejected"].items()) or "-",
            )
            for row in metrics["kinds"]
        ]
        output.table("", ("kind", "asked", "kept", "rejected"), rows, f"in {record.path}")

    output.emit(document, as_json, human)
    close(end, as_json)
