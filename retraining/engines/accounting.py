"""The data nodes on their engine, each held to the rows that it was given.

An engine may report success and lose rows, as Beam's DaskRunner does. After its work each node counts what it wrote,
and compares that with what the driver's figures say of its input.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_model_analysis as tfma
from tfx.components.bulk_inferrer import executor as bulk_inferrer
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.transform import executor as transform
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from headlines.names import EVALUATOR, ROWS_PREFIX
from retraining.engines import LostRowsError
from retraining.engines.arguments import LOCAL
from retraining.engines.readiness import value_of
from retraining.engines.submitting import submit
from tfx_components import evaluator, scoring_through_beam
from tfx_components.artifacts import Artifacts, read_properties
from tfx_components.headline_example_gen import beam_executor

_EVAL = "eval"
_AT_A_TIME = 4096
_ANOTHER_ENGINE = "BEAM=local gets the night done; use another engine, or another version of it"
_DEFECT = "No other engine is at work: look at the disk and at what changed, keep the attempt's log and report it"

log = logging.getLogger(__name__)

Counts = Iterable[tuple[str, int]]


class Accountable(BaseBeamExecutor):
    """An executor that runs on an engine, and fails when rows are lost there.

    Attributes:
      node: what it is called in what people are told.
    """

    node = ""
    _beam_pipeline_args: list[str]

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Runs the node, then counts.

        Raises:
          EngineError: the engine cannot take a job.
          LostRowsError: a split has other rows than it was given.
        """
        arguments = list(self._beam_pipeline_args)
        with submit(arguments) as self._beam_pipeline_args:
            super().Do(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        is_local = value_of(arguments, "runner") == value_of(LOCAL, "runner")
        for split, found in self.count(output_dict):
            expected = find_rows(examples, split)
            if found != expected:
                raise LostRowsError(
                    f"{self.node} was given {expected} rows of split {split} and has {found}, though "
                    f"{value_of(arguments, 'runner') or 'its engine'} reported success: what it made is not used. "
                    + (_DEFECT if is_local else _ANOTHER_ENGINE)
                )
            log.info("%s has all %d rows of split %s.", self.node, found, split)

    def count(self, output_dict: Artifacts) -> Counts:
        """The rows that went into what was written, by the split of the input."""
        raise NotImplementedError


class StatisticsGenExecutor(Accountable, statistics_gen.Executor):
    """Counts by the statistics' own number of examples."""

    node = "StatisticsGen"

    def count(self, output_dict: Artifacts) -> Counts:
        """The rows of each split that was looked at."""
        statistics = artifact_utils.get_single_instance(output_dict["statistics"])
        for split, folder in list_splits(statistics):
            datasets = tfdv.load_stats_binary(str(folder / "FeatureStats.pb")).datasets
            yield split, sum(dataset.num_examples for dataset in datasets)


class TransformExecutor(Accountable, transform.Executor):
    """Counts the transformed examples."""

    node = "Transform"

    def count(self, output_dict: Artifacts) -> Counts:
        """The rows of each split that was transformed."""
        return count_all(output_dict.get("transformed_examples", []))


class EvaluatorExecutor(Accountable, evaluator.Executor):
    """Counts by the metrics of all rows together."""

    node = EVALUATOR

    def count(self, output_dict: Artifacts) -> Counts:
        """The rows that each model was evaluated on."""
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        counts = [
            item.value.double_value.value
            for metrics in tfma.load_metrics(evaluation.uri)
            if not metrics.slice_key.single_slice_keys
            for item in metrics.metric_keys_and_values
            # The difference of two models has a count too, which is nought.
            if item.key.name == "example_count" and not item.key.is_diff
        ]
        return [(_EVAL, round(count)) for count in counts or [0]]


class BulkInferrerExecutor(Accountable, bulk_inferrer.Executor):
    """Counts the examples with predictions."""

    node = "BulkInferrer"

    def count(self, output_dict: Artifacts) -> Counts:
        """The rows of each split that was scored."""
        return count_all(output_dict.get("output_examples", []))


class Submitting(BaseBeamExecutor):
    """An executor that runs on an engine, and holds itself to the rows that were delivered."""

    _beam_pipeline_args: list[str]

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Runs the node.

        Raises:
          EngineError: the engine cannot take a job.
        """
        with submit(list(self._beam_pipeline_args)) as self._beam_pipeline_args:
            super().Do(input_dict, output_dict, exec_properties)


class HeadlineExampleGenExecutor(Submitting, beam_executor.BeamExecutor):
    """Counts rows when files are looked through, and where they were written."""


class UnlabelledExampleGenExecutor(Submitting, scoring_through_beam.UnlabelledExecutor):
    """The same."""


class ScoreWriterExecutor(Submitting, scoring_through_beam.ScoresExecutor):
    """Has as many scores as UnlabelledExampleGen counted headlines."""


_ON_ENGINES = (
    *(StatisticsGenExecutor, TransformExecutor, EvaluatorExecutor, BulkInferrerExecutor),
    *(HeadlineExampleGenExecutor, UnlabelledExampleGenExecutor, ScoreWriterExecutor),
)


def hold_to_rows(node: BaseNode) -> None:
    """Has a node that is one of Beam's run as an `Accountable`; every other stays as it is."""
    spec = node.executor_spec
    if not isinstance(spec, BeamExecutorSpec):
        return
    for kind in _ON_ENGINES:
        if spec.executor_class in kind.__bases__:
            # A copy, for the node's class has this one; by its own method, since `copy.copy` makes it one of no Beam.
            node.executor_spec = spec.copy()
            node.executor_spec.executor_class = kind


def find_rows(examples: Artifact, split: str) -> int:
    """The rows of a split, as whoever wrote it recorded them, and counted where nobody did."""
    properties = read_properties(examples)
    for name in (f"{split}_rows", f"{ROWS_PREFIX}{split}"):
        if name in properties:
            return int(properties[name])
    return count_records(Path(artifact_utils.get_split_uri([examples], split)))


def list_splits(artifact: Artifact) -> Iterator[tuple[str, Path]]:
    """The splits of an artifact, each with its folder."""
    for split in artifact_utils.decode_split_names(artifact.split_names):
        yield split, Path(artifact_utils.get_split_uri([artifact], split))


def count_all(artifacts: list[Artifact]) -> Counts:
    """The records of every split."""
    return [(split, count_records(folder)) for one in artifacts for split, folder in list_splits(one)]


def count_records(folder: Path) -> int:
    """The records in the gzipped TFRecord files of a folder."""
    files = sorted(map(str, folder.glob("*.gz")))
    batches = tf.data.TFRecordDataset(files, compression_type="GZIP", buffer_size=2**20).batch(_AT_A_TIME)
    return int(batches.reduce(tf.constant(0, tf.int64), lambda sum, batch: sum + tf.size(batch, tf.int64)).numpy())
