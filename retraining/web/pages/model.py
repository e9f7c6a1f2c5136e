"""One model, and two side by side."""

import shlex

import lineage
from headlines.names import CARD_FILE, EVALUATOR, MODEL_CARD, TRAINER
from lineage import Reader
from retraining.web import documents
from retraining.web.layout import lay_out
from retraining.web.page import Page


def model(reader: Reader, name: str) -> Page:
    """A model: its verdict check by check, how it errs, what it was made from, its card and how to see its curves."""
    detail = lineage.model_detail(reader, name)
    artifacts = detail.artifacts
    card = next((artifact for (node, _), artifact in artifacts.items() if node == MODEL_CARD), None)
    curves = artifacts.get((TRAINER, "model_run"))
    return {
        "model": detail,
        "verdict": documents.verdict(artifacts.get((EVALUATOR, "evaluation"))),
        "card": documents.text_of(card, CARD_FILE),
        "model_run": curves.uri if curves else None,
        "tensorboard": f"tensorboard --logdir {shlex.quote(curves.uri)}" if curves else None,
        "picture": lay_out(lineage.path_back(reader, name)),
    }


def compare(reader: Reader, a: str | None = None, b: str | None = None) -> Page:
    """Two models side by side: data, settings, code, libraries, metrics, class mix."""
    return {
        "models": lineage.models(reader, limit=400),
        "a": a,
        "b": b,
        "comparison": lineage.compare(reader, a, b) if a and b else None,
    }
