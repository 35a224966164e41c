"""The tables of `past eval`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import output
from ..words import counted


def show(results: Mapping[str, Any], confidence: float) -> None:
    """Scores of every model; what each kept of its base; the differences to the reference, then those to the baseline."""
    _scores(results, confidence)
    _kept(results)
    units = results["units"]
    tests = "sign flips" if units == "documents" else "McNemar for exact, contains and judge, sign flips for f1"
    caption = f"paired over {units}: {tests}; Holm over the models"
    _differences(results["differences"], str(results["reference"]), caption)
    baseline = results.get("baseline")
    if baseline:
        found = f"for {baseline['found']:.0%} of the questions the answer stands in the {counted(baseline['passages'], 'passages')}"
        _differences(baseline["differences"], baseline["label"], f"{caption}; {found}")


def _cell(value: Mapping[str, Any], sign: str = "") -> str:
    if value["low"] is None:
        return f"{value['mean']:{sign}.3f}"
    return f"{value['mean']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"


def _scores(results: Mapping[str, Any], confidence: float) -> None:
    from ..evals import JUDGE, METRICS

    metrics = [*METRICS, *([JUDGE] if all(JUDGE in scores for scores in results["models"].values()) else [])]
    rows = [
        (label, *(_cell(scores[metric]) for metric in metrics), f"{scores['tokens']:.1f}", scores["empty"])
        for label, scores in results["models"].items()
    ]
    units, documents = results["units"], results["documents"]
    on = f" on {counted(documents, 'documents')}" if documents else ""
    caption = f"{counted(results['questions'], 'questions')}{on}, "
    caption += f"{confidence:.0%} intervals over {units}"
    if results["ungradable"]:
        caption += f"; {results['ungradable']} more without an answer to grade by were left out"
    output.table("", ("model", *metrics, "tokens", "empty"), rows, caption)


def _kept(results: Mapping[str, Any]) -> None:
    kept = [(label, scores["retained"]) for label, scores in results["models"].items() if scores.get("retained")]
    if not kept:
        return
    rows = [
        (
            label,
            f"{one['perplexity'] / one['base_perplexity'] - 1:+.1%}",
            f"{one['kl']:.4f}",
            f"{one['kl_everyday']:.4f}",
        )
        for label, one in kept
    ]
    caption = "what is kept of the base: perplexity of a neutral text, KL(base || model) in nats a token"
    output.table("", ("model", "perplexity", "KL neutral", "KL everyday"), rows, caption)


def _differences(differences: Mapping[str, Any], reference: str, caption: str) -> None:
    rows = [
        (label, metric, _cell(value, "+"), f"{value['p']:.3g}", f"{value['p_holm']:.3g}")
        for label, scores in differences.items()
        for metric, value in scores.items()
    ]
    if rows:
        output.table("", ("model", "metric", f"minus {reference}", "p", "p Holm"), rows, caption)
