"""One evaluation: models asked one after the other, compared, everything kept in the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import output, runs
from ..config import EvalConfig
from . import _estimates as estimates
from . import _train
from ._eval_models import Candidate
from ._loading import check_model
from ._precision import cast, tell_apart
from ._retained import Measured
from ._skills import Skills, add_inputs, check_vectors

if TYPE_CHECKING:
    from ..api import ChatModel, Question
    from ..evals import Comparison, QAResult

    Load = Callable[[str], ChatModel]


@dataclass(frozen=True)
class Job:
    """One evaluation: who is asked what. `load` adds the skills of --vector, `plain` is for the baseline."""

    config: EvalConfig
    asked: Sequence[Question]
    candidates: Sequence[Candidate]
    load: Load
    plain: Load
    questions: Path
    documents: Sequence[Path]
    reference: str | None
    plot: Path | None
    strict: bool

    @property
    def baseline(self) -> Candidate | None:
        return next((candidate for candidate in self.candidates if candidate.retrieved), None)

    @property
    def last(self) -> str:
        """The model that the gates are about: the last one named."""
        return [candidate.label for candidate in self.candidates if not candidate.retrieved][-1]

    def key(self) -> dict[str, Any]:
        """What besides the settings tells this evaluation from another."""
        looked_up = {"corpus": [str(path.resolve()) for path in self.documents]} if self.documents else {}
        return {
            "models": [candidate.key() for candidate in self.candidates],
            "questions": str(self.questions.resolve()),
            "reference": self.reference,
            "plot": str(self.plot.absolute()) if self.plot else "",
            "strict": self.strict,
            **looked_up,
        }

    def begin(self, run: runs.Run, added: Skills, base: str | None) -> None:
        """Record what goes in, the skills `added` and a base named for adapters too; raise what loading a model, or its first
        answer, would raise."""
        run.add_input("questions", self.questions)
        for number, candidate in enumerate(self.candidates, 1):
            run.add_input("model" if number == 1 else f"model{number}", candidate.path, label=candidate.label)
        run.add_inputs("corpus", self.documents)
        add_inputs(run, added, base)
        for candidate in self.candidates:
            check_model(self.plain, candidate.path)
        check_vectors(added)

    def plan(self) -> dict[str, Any]:
        """What a dry run shows."""
        base = self.baseline
        looked_up = {"answer_in_passages": round(base.retrieved.found, 3)} if base and base.retrieved else {}
        return {
            "questions": len(self.asked),
            "ungradable": sum(not q.answers for q in self.asked),
            "backend": self.config.backend,
            "models": {candidate.label: candidate.path for candidate in self.candidates},
            "reference": self.reference,
            **estimates.asking(
                [candidate.path for candidate in self.candidates],
                sum(bool(q.answers) for q in self.asked),
                self.config.max_new_tokens,
                self.config.backend,
            ),
            **looked_up,
            **({"would_draw": str(self.plot)} if self.plot else {}),
        }

    def evaluate(self, run: runs.Run, figure: Path | None) -> None:
        """Ask model after model, one loaded at a time; then compare, and write everything into the run."""
        folder = run.dir / "answers"
        folder.mkdir(exist_ok=True)
        kept = Measured(self.config.retained, self.load, run.dir / "retained.json")
        judge = _train.judge_of(self.config) if self.config.judge_model else None
        found = {
            candidate.label: self._ask(candidate, folder / f"{number}.jsonl", kept, run, judge)
            for number, candidate in enumerate(self.candidates, 1)
        }
        if judge:
            judge.close()
        too_long = sorted({name for result in found.values() for name in result.too_long})
        results = {label: result.without(too_long) for label, result in found.items()}
        comparison, document = self._compared(results)
        document["too_long"] = too_long
        for label, scores in document["models"].items():
            scores["retained"] = kept.found(label)
            scores["role"] = next(candidate.role for candidate in self.candidates if candidate.label == label)
            scores["precision"] = run.manifest["metrics"].get(f"precision {label}", "unknown")
        models = {c.label: Path(c.path) for c in self.candidates if not c.retrieved}
        for label, left in cast(self.config, models, self.reference).items():
            document["models"][label]["cast_survival"] = left
        tell_apart({label: scores["precision"] for label, scores in document["models"].items()})
        runs.write_json(run.dir / "results.json", document)
        run.add_output("answers", folder)
        run.add_output("results", run.dir / "results.json")
        run.metrics(**{f"f1 {label}": scores["f1"].mean for label, scores in comparison.scores.items()})
        if figure:
            from ..evals.plot import plot

            plot(comparison, figure, self.config.confidence)

    def _compared(self, results: dict[str, QAResult]) -> tuple[Comparison, dict[str, Any]]:
        """All against the reference, and with a baseline all against that as well."""
        from ..evals import compare

        base = self.baseline
        if base is None or base.retrieved is None:
            comparison = compare(results, self.config, self.reference)
            return comparison, comparison.to_dict()
        beside = compare(results, self.config, base.label)
        models = {label: result for label, result in results.items() if label != base.label}
        against = compare(models, self.config, self.reference).differences if self.reference else {}
        comparison = replace(beside, reference=self.reference, differences=against)
        about = {"label": base.label, "model": base.name, "passages": self.config.passages}
        about |= {"found": base.retrieved.found, "differences": beside.to_dict()["differences"]}
        return comparison, comparison.to_dict() | {"baseline": about}

    def _ask(self, candidate: Candidate, transcript: Path, kept: Measured, run: runs.Run, judge: Any) -> QAResult:
        from ..evals import evaluate, finished

        done = finished(transcript, self.asked)
        if done is not None and kept.done(
            candidate.label
        ):  # by the run that is being resumed: no need to load the model
            return done
        output.note(f"loading {candidate.label} ({candidate.name})")
        chat = candidate.load(self.plain if candidate.retrieved else self.load)
        run.metrics(**{f"precision {candidate.label}": getattr(chat, "precision", "unknown")})
        run.save()
        try:
            kept.measure(candidate.label, chat)
            with output.progress(f"asking {candidate.label}", "questions") as progress:
                return evaluate(chat, self.asked, self.config, transcript, progress, self.strict, judge)
        finally:
            chat.close()
