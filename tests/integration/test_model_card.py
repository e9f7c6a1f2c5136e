"""The card of a night's model: what a reader finds on it, blessed or not."""

import json
from pathlib import Path

import numpy as np
import pytest
from tfx.types.standard_artifacts import Examples, Model, ModelEvaluation
from tiny_model import write_examples

from headlines.bar.judging import judge
from headlines.bar.tally import decide
from modules.features import LABELS
from retraining.settings import Settings
from tfx_components.baseline import FreshScore
from tfx_components.model_card import Executor, ModelCard
from tfx_components.predictions import read_rows

ROWS = [
    *[("o dia foi ruim", "negative", "2022-02-01")] * 30,
    *[("saiu o boletim de 10 páginas", "neutral", "2022-02-02")] * 60,
    *[("o dia | foi bom", "positive", "2022-02-02")] * 10,
]


@pytest.fixture
def card(tmp_path: Path) -> tuple[dict, str, ModelCard]:
    """The card of a model that calls everything positive neutral."""
    examples, model, evaluation, score, card = Examples(), Model(), ModelEvaluation(), FreshScore(), ModelCard()
    examples.uri = str(write_examples(tmp_path / "examples", ROWS))
    examples.split_names = '["train", "eval"]'
    examples.set_int_custom_property("rows_quarantined", 3)
    for night in ("2022-02-01", "2022-02-02"):
        drop = {"version": 2, "sha256": "ab", "rows_in": 55, "rows_used": 50}
        examples.set_string_custom_property(f"drop:{night}", json.dumps(drop))
    for name in ("night", "code", "data", "settings", "library:tensorflow"):
        model.set_string_custom_property(name, f"the {name}")
    score.set_int_custom_property("fresh_rows", 12)
    score.set_float_custom_property("fresh_champion_metric:accuracy", 0.79)
    rows = read_rows(examples, "eval")
    probabilities = np.full((len(ROWS), 3), 0.1)
    probabilities[np.arange(len(ROWS)), np.minimum(rows.actual, 1)] = 0.8
    limits = Settings().bar_limits
    verdict = judge(rows.titles, rows.actual, rows.nights, decide(probabilities), {}, limits)
    evaluation.uri, card.uri = str(tmp_path), str(tmp_path / "card")
    (tmp_path / "verdict.json").write_text(json.dumps(verdict.to_json()))
    inputs = {"examples": [examples], "model": [model], "evaluation": [evaluation], "fresh_score": [score]}
    Executor().Do(inputs, {"card": [card]}, {})
    written = Path(card.uri)
    return json.loads((written / "card.json").read_text()), (written / "card.md").read_text(), card


def test_the_card_holds_data_metrics_limits_and_origin(card: tuple[dict, str, ModelCard]) -> None:
    told, _, artifact = card
    assert told["data"]["rows"] == {"train": 100, "eval": 100}
    assert told["data"]["classes"]["eval"] == {"negative": 30, "neutral": 60, "positive": 10}
    assert told["data"]["drops"]["2022-02-01"]["version"] == 2
    assert told["metrics"]["candidate"]["accuracy"] == 0.9
    assert told["intervals"]["accuracy"][0] < 0.9 < told["intervals"]["accuracy"][1]
    assert told["origin"] == {"code": "the code", "data": "the data", "settings": "the settings"}
    assert told["libraries"] == {"tensorflow": "the library:tensorflow"}
    assert told["limits"]["min_accuracy"] == 0.5
    assert told["fresh"] == {"fresh_rows": 12, "fresh_champion_metric:accuracy": 0.79}
    assert told["slices"]["digits=yes"]["example_count"] == 60
    assert artifact.get_int_custom_property("blessed") == 1
    assert artifact.get_string_custom_property("reason") == told["reason"]


def test_the_card_says_what_the_model_is_bad_at(card: tuple[dict, str, ModelCard]) -> None:
    weaknesses = " ".join(card[0]["weaknesses"])
    assert "It finds 0% of the positive headlines; those it misses it mostly calls neutral." in weaknesses
    assert "Only 10 held-out headlines are positive" in weaknesses
    assert "one source" in weaknesses


def test_the_page_shows_the_same_figures_in_tables_that_are_whole(card: tuple[dict, str, ModelCard]) -> None:
    told, page, _ = card
    assert f"**{told['reason']}**" in page
    low, high = told["intervals"]["accuracy"]
    assert f"| accuracy | 0.900 | {low:.3f} to {high:.3f} | - | - | - |" in page
    for label in LABELS:
        assert f"| {label} |" in page
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 8
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1, table
