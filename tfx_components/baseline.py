"""Baseline: what the night's rows yield without the model, and what production was worth on rows new to everyone."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from headlines.bar.judging import majority
from headlines.bar.tally import Answers, Floats, count_rows, decide, measure
from headlines.names import (
    BASELINE_ANSWERS_TYPE,
    CHAMPION_VERSION,
    FRESH_METRIC_PREFIXES,
    FRESH_ROWS,
    FRESH_SCORE_TYPE,
    NIGHT,
    PUSHED_VERSION,
)
from modules.features import LABELS
from tfx_components.artifacts import Artifacts
from tfx_components.predictions import Rows, ask, read_rows

ANSWERS_FILE = "answers.json"
_FRESH = "fresh"

log = logging.getLogger(__name__)


class BaselineAnswers(types.Artifact):
    """`answers.json`: the LR baseline's probabilities of the rows of the split `eval`, and the classes' shares."""

    TYPE_NAME = BASELINE_ANSWERS_TYPE


class FreshScore(types.Artifact):
    """How the champion and the baselines as of last night did on the night's fresh rows.

    Custom properties: `fresh_rows` (int), `champion_version`, and `fresh_<who>_metric:<name>` (float) for `champion`,
    `lr` and `majority`, as far as there was one before the night.
    """

    TYPE_NAME = FRESH_SCORE_TYPE


class Baselines(NamedTuple):
    """The two baselines' answers to the same rows."""

    lr: Answers
    majority: Answers


class Executor(base_executor.BaseExecutor):
    """Trains and asks the baselines, and scores production."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Does both for one night.

        Args:
          input_dict: raw `examples` with the splits `train`, `eval` and `fresh`, and, if there is a champion, `model`
            and `pushed_model`.
          output_dict: `answers` and `fresh_score`.
        """
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        train, held_out, fresh = (read_rows(examples, split) for split in ("train", "eval", _FRESH))
        answers = artifact_utils.get_single_instance(output_dict["answers"])
        write_answers(Path(answers.uri), held_out, train)
        score = artifact_utils.get_single_instance(output_dict["fresh_score"])
        night = examples.get_string_custom_property(NIGHT)
        # As of last night: the rows of the night itself taught nobody yet.
        production: dict[str, Answers] = {}
        if before := [row for row, other in enumerate(train.nights) if other < night]:
            production |= answer(take(train, before), fresh.titles)._asdict()
        if champions := input_dict.get("model"):
            production["champion"] = ask(champions[0], fresh.titles)
            push = artifact_utils.get_single_instance(input_dict["pushed_model"])
            score.set_string_custom_property(CHAMPION_VERSION, push.get_string_custom_property(PUSHED_VERSION))
        score.set_int_custom_property(FRESH_ROWS, len(fresh.titles))
        for name, answered in production.items() if fresh.titles else ():
            metrics = measure(count_rows(fresh.actual, answered).sum(axis=0))
            for metric, value in metrics.items():
                if isinstance(value, float) and metric != "example_count":
                    score.set_float_custom_property(f"{FRESH_METRIC_PREFIXES[name]}{metric}", value)
            log.info(
                "Fresh rows of night %s (%d): accuracy of %s %.3f", night, len(fresh.titles), name, metrics["accuracy"]
            )


class BaselineSpec(ComponentSpec):
    """What Baseline takes and makes."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {}
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model, optional=True),
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "answers": ChannelParameter(type=BaselineAnswers),
        "fresh_score": ChannelParameter(type=FreshScore),
    }


class Baseline(base_component.BaseComponent):
    """TF-IDF with logistic regression and the majority class on the night's rows; the champion on its fresh ones."""

    SPEC_CLASS = BaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, examples: types.BaseChannel, champion: types.BaseChannel, champion_push: types.BaseChannel
    ) -> None:
        """Places the component in a pipeline.

        Args:
          examples: raw Examples with the splits `train`, `eval` and `fresh`.
          champion: as of the night; may resolve to nothing.
          champion_push: the PushedModel that made it champion.
        """
        super().__init__(
            BaselineSpec(
                examples=examples,
                model=champion,
                pushed_model=champion_push,
                answers=types.Channel(type=BaselineAnswers),
                fresh_score=types.Channel(type=FreshScore),
            )
        )


def make_classifier() -> Pipeline:
    """The classical model that a network has to match: words and pieces of words, weighted, into a linear model."""
    words = TfidfVectorizer(ngram_range=(1, 2), strip_accents="unicode", sublinear_tf=True, dtype=np.float32)
    pieces = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), strip_accents="unicode", sublinear_tf=True, min_df=2, dtype=np.float32
    )
    return make_pipeline(make_union(words, pieces), LogisticRegression(C=4.0, max_iter=200))


def answer(train: Rows, titles: list[str]) -> Baselines:
    """Trains both baselines on rows with their weights and asks them.

    Args:
      train: at least one row.
      titles: what they are asked.
    """
    # Of mean one, so that the regularisation does not depend on how far back the window goes.
    weights = train.weights / train.weights.mean()
    shares = np.bincount(train.actual, weights=weights, minlength=len(LABELS)) + 1.0
    probabilities = np.tile(shares / shares.sum(), (len(titles), 1))
    lr = probabilities.copy()
    if titles and len(np.unique(train.actual)) > 1:
        classifier = make_classifier().fit(train.titles, train.actual, logisticregression__sample_weight=weights)
        lr = np.zeros_like(probabilities)
        lr[:, classifier.classes_] = classifier.predict_proba(titles)
    return Baselines(decide(lr), decide(probabilities))


def take(rows: Rows, chosen: list[int]) -> Rows:
    """Some of the rows."""
    titles, actual, nights, weights = rows
    return Rows([titles[row] for row in chosen], actual[chosen], [nights[row] for row in chosen], weights[chosen])


def write_answers(folder: Path, rows: Rows, train: Rows) -> None:
    """Writes what baselines that are trained on `train` answer to `rows`, for `read_answers`."""
    lr, shares = answer(train, rows.titles)
    content = {
        "titles": hash_titles(rows.titles),
        "shares": np.round(shares.probabilities[:1], 9).ravel().tolist(),
        "lr": np.round(lr.probabilities, 9).tolist(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ANSWERS_FILE).write_text(json.dumps(content), encoding="utf-8")


def read_answers(folder: Path, rows: Rows) -> Baselines:
    """The baselines' answers to the same rows.

    Raises:
      ValueError: they were asked about other rows.
    """
    content = json.loads((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
    if content["titles"] != hash_titles(rows.titles):
        raise ValueError(f"{folder} answers other rows than those the candidate is judged on; run Baseline again")
    shares: Floats = np.array(content["shares"])
    return Baselines(decide(content["lr"]), majority(shares, len(rows.titles)))


def hash_titles(titles: list[str]) -> str:
    """Names a list of rows."""
    return hashlib.sha256("\n".join(titles).encode()).hexdigest()[:16]
