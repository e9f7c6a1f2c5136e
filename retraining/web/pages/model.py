"""One model, and two side by side."""

import shlex
from typing import Any

import lineage
from headlines.bar.checks import explain_unjudged
from headlines.names import CARD_FILE, EVALUATOR, MODEL_CARD, TRAINER
from lineage import ArtifactRecord, Reader
from retraining.web import documents
from retraining.web.axis import draw
from retraining.web.layout import lay_out
from retraining.web.page import Page
from retraining.web.prose import render

_MOST_CHOICES = 400


def model(reader: Reader, name: str) -> Page:
    """A model: its verdict check by check, how it errs, what it was made from, its card and how to see its curves."""
    detail = lineage.model_detail(reader, name)
    artifacts = detail.artifacts
    card = next((artifact for (node, _), artifact in artifacts.items() if node == MODEL_CARD), None)
    curves = artifacts.get((TRAINER, "model_run"))
    verdict = documents.verdict(artifacts.get((EVALUATOR, "evaluation")))
    text = documents.text_of(card, CARD_FILE)
    return {
        "model": detail,
        "axes": {check.name: draw(check) for check in detail.report.checks},
        "verdict": verdict,
        "slices": _list_slices(verdict),
        "card": text,
        "rendered": render(text, below=2, prefix="card-") if text else None,
        "model_run": curves.uri if curves else None,
        "tensorboard": show_curves(curves) if curves and not curves.removal else None,
        "curves_removal": documents.tell_removal(curves),
        "picture": lay_out(lineage.path_back(reader, name)),
    }


def _list_slices(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    """Each slice with its metrics, and with why it was not judged; empty for one that was."""
    limits = verdict.get("limits", {})
    is_compared = bool(verdict.get("champion_metrics") or verdict.get("lr_metrics"))
    return [
        {
            "name": name,
            "metrics": metrics,
            "unjudged": explain_unjudged(
                name.partition("=")[0], metrics["example_count"], limits["judged_slices"], limits["min_slice_rows"],
                is_compared,
            )
            if limits
            else "the verdict does not say by which limits",
            "is_worst": name == verdict.get("worst_slice"),
        }
        for name, metrics in verdict.get("slices", {}).items()
    ]  # fmt: skip


def show_curves(model_run: ArtifactRecord) -> str:
    """The command that shows how the training went."""
    return f"tensorboard --logdir {shlex.quote(model_run.uri)}"


def compare(reader: Reader, a: str | None = None, b: str | None = None) -> Page:
    """Two models side by side: data, settings, code, libraries, metrics, class mix."""
    comparison = lineage.compare(reader, a, b) if a and b else None
    choices = {model.id: model for model in lineage.models(reader, limit=_MOST_CHOICES)}
    # Also those of long ago that were asked for: what is compared is what the form says.
    choices |= {side.model.id: side.model for side in (comparison.a, comparison.b)} if comparison else {}
    return {"models": sorted(choices.values(), key=lambda model: -model.id), "a": a, "b": b, "comparison": comparison}
