"""A data node whose engine loses rows and reports success fails, and says where and how many are missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from apache_beam.coders.coder_impl import create_InputStream, create_OutputStream
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.execution import ListBuffer
from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig
from tfx.components import StatisticsGen
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import bulk_inferrer_pb2, transform_pb2
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_artifacts import (
    Examples,
    ExampleStatistics,
    Model,
    ModelBlessing,
    ModelEvaluation,
    PushedModel,
    Schema,
    TransformGraph,
)
from tfx.utils import proto_utils
from tiny_model import save_tiny_model, write_examples

from modules.features import PROBABILITIES, SCORING_SIGNATURE
from retraining.engines import LostRowsError
from retraining.engines.accounting import (
    Accountable,
    BulkInferrerExecutor,
    EvaluatorExecutor,
    StatisticsGenExecutor,
    TransformExecutor,
    count_records,
    find_rows,
)
from retraining.engines.arguments import LOCAL
from retraining.pipelines.evaluation import eval_config
from retraining.pipelines.nightly import create_pipeline
from retraining.pipelines.scoring import create_scoring_pipeline
from retraining.pipelines.tuning import create_tuning_pipeline
from retraining.settings import CHECKOUT, Settings

NIGHT = "2022-02-01"
TITLES = [(f"saiu o boletim {number}", "neutral", NIGHT) for number in range(20)]
ROWS = [*TITLES, ("foi ruim", "negative", NIGHT), ("foi bom", "positive", NIGHT)]
FILES = 4


class LossyRunner(FnApiRunner):
    """Beam's own runner, but that it passes over the last of the files that are read, and reports success."""

    def _run_bundle(self, context: Any, bundle: Any, bundle_input: Any, *arguments: Any) -> Any:
        for name, buffer in bundle_input.data.items():
            if name.endswith("_split/Read"):
                lose_last(buffer)
        return super()._run_bundle(context, bundle, bundle_input, *arguments)


def lose_last(buffer: ListBuffer) -> None:
    coder, elements = buffer._coder_impl, []
    for some in buffer:
        stream = create_InputStream(some)
        while stream.size() > 0:
            elements.append(coder.decode_from_stream(stream, True))
    kept = create_OutputStream()
    for element in elements[:-1] if len(elements) > 1 else elements:
        coder.encode_to_stream(element, kept, True)
    buffer._inputs = [kept.get()]


LOSSY = (f"--runner={__name__}.LossyRunner", *LOCAL[1:])


def make(kind: type[Artifact], uri: Path, *splits: str) -> Any:
    artifact = kind()
    artifact.uri, artifact.id = str(uri), 1
    if splits:
        artifact.split_names = artifact_utils.encode_split_names(list(splits))
    return artifact


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Two splits of 22 rows, each in four files, with the figures that HeadlineExampleGen records."""
    folder = tmp_path_factory.mktemp("examples")
    write_examples(folder, ROWS)
    examples = make(Examples, folder, "train", "eval")
    for split in ("train", "eval"):
        [whole] = (folder / f"Split-{split}").glob("*.gz")
        records = list(tf.data.TFRecordDataset(str(whole), compression_type="GZIP").as_numpy_iterator())
        whole.unlink()
        for number in range(FILES):
            with tf.io.TFRecordWriter(str(whole.parent / f"data_tfrecord-{number}.gz"), "GZIP") as writer:
                for record in records[number::FILES]:
                    writer.write(record)
        examples.set_int_custom_property(f"{split}_rows", len(records))
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    return examples


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return make(Model, folder)


def run(
    kind: type[Accountable], arguments: tuple[str, ...], inputs: dict[str, Any], outputs: dict[str, Any], **given: Any
) -> None:
    context = BaseBeamExecutor.Context(beam_pipeline_args=list(arguments), tmp_dir=str(outputs.pop("tmp")))
    kind(context).Do(
        {name: [one] for name, one in inputs.items()}, {name: [one] for name, one in outputs.items()}, given
    )


def run_statistics(arguments: tuple[str, ...], examples: Any, model: Any, place: Path) -> None:
    statistics = make(ExampleStatistics, place / "statistics")
    run(
        StatisticsGenExecutor,
        arguments,
        {"examples": examples},
        {"statistics": statistics, "tmp": place},
        exclude_splits="[]",
    )


def run_transform(arguments: tuple[str, ...], examples: Any, model: Any, place: Path) -> None:
    schema = place / "schema"
    schema.mkdir()
    shutil.copy(CHECKOUT / "modules" / "schema.pbtxt", schema)
    run(
        TransformExecutor,
        arguments,
        {"examples": examples, "schema": make(Schema, schema)},
        {
            "transform_graph": make(TransformGraph, place / "graph"),
            "transformed_examples": make(Examples, place / "transformed"),
            "tmp": place / "tmp",
        },
        preprocessing_fn="modules.preprocessing.preprocessing_fn",
        splits_config=proto_utils.proto_to_json(
            transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "eval"])
        ),
        custom_config=json.dumps({"text": Settings.from_env().text_rules}),
        force_tf_compat_v1=0,
        disable_statistics=1,
        module_path=None,
        module_file=None,
    )


def run_evaluator(arguments: tuple[str, ...], examples: Any, model: Any, place: Path, **champion: Any) -> None:
    run(
        EvaluatorExecutor,
        arguments,
        {"examples": examples, "model": model, **champion},
        {
            "evaluation": make(ModelEvaluation, place / "evaluation"),
            "blessing": make(ModelBlessing, place / "blessing"),
            "tmp": place / "tmp",
        },
        eval_config=proto_utils.proto_to_json(eval_config()),
        limits=Settings.from_env().bar_limits.to_json(),
        example_splits="null",
    )


def run_inferrer(arguments: tuple[str, ...], examples: Any, model: Any, place: Path) -> None:
    column = bulk_inferrer_pb2.PredictOutputCol(output_key=PROBABILITIES, output_column=PROBABILITIES)
    columns = bulk_inferrer_pb2.OutputColumnsSpec(
        predict_output=bulk_inferrer_pb2.PredictOutput(output_columns=[column])
    )
    run(
        BulkInferrerExecutor,
        arguments,
        {"examples": examples, "model": model},
        {"output_examples": make(Examples, place / "scored"), "tmp": place / "tmp"},
        model_spec=proto_utils.proto_to_json(bulk_inferrer_pb2.ModelSpec(model_signature_name=[SCORING_SIGNATURE])),
        output_example_spec=proto_utils.proto_to_json(
            bulk_inferrer_pb2.OutputExampleSpec(output_columns_spec=[columns])
        ),
        data_spec="{}",
    )


Run = Callable[[tuple[str, ...], Any, Any, Path], None]
NODES: dict[str, Run] = {
    "StatisticsGen": run_statistics,
    "Transform": run_transform,
    "Evaluator": run_evaluator,
    "BulkInferrer": run_inferrer,
}


@pytest.mark.parametrize("node", NODES)
def test_a_node_fails_that_lost_rows_though_its_engine_reported_success(
    node: str, examples: Any, model: Any, tmp_path: Path
) -> None:
    with pytest.raises(LostRowsError) as refused:
        NODES[node](LOSSY, examples, model, tmp_path)
    told = str(refused.value)
    assert told.startswith(f"{node} was given 22 rows of split ")
    assert f" and has 17, though {__name__}.LossyRunner reported success: what it made is not used" in told
    assert "BEAM=local gets the night done" in told
    assert not refused.value.may_pass


def test_one_box_is_not_advised_to_become_one(examples: Any, model: Any, tmp_path: Path) -> None:
    of_more = make(Examples, Path(examples.uri), "train", "eval")
    of_more.mlmd_artifact.CopyFrom(examples.mlmd_artifact)
    of_more.set_int_custom_property("train_rows", len(ROWS) + 1)
    with pytest.raises(LostRowsError, match="was given 23 rows of split train and has 22") as refused:
        run_statistics(LOCAL, of_more, model, tmp_path)
    assert "BEAM=local" not in str(refused.value)


@pytest.mark.parametrize("node", NODES)
def test_a_node_that_has_all_rows_goes_on(node: str, examples: Any, model: Any, tmp_path: Path) -> None:
    NODES[node](LOCAL, examples, model, tmp_path)


def test_an_evaluation_beside_a_champion_is_held_to_its_rows_too(examples: Any, model: Any, tmp_path: Path) -> None:
    push = PushedModel()
    push.set_string_custom_property("pushed_version", "2022013101")
    champion = {"baseline_model": model, "baseline_push": push}
    run_evaluator(LOCAL, examples, model, tmp_path / "whole", **champion)
    with pytest.raises(LostRowsError, match="Evaluator was given"):
        run_evaluator(LOSSY, examples, model, tmp_path / "lossy", **champion)


def test_rows_that_nobody_recorded_are_counted(examples: Any) -> None:
    bare = make(Examples, Path(examples.uri), "train", "eval")
    assert find_rows(bare, "train") == count_records(Path(examples.uri) / "Split-train") == len(ROWS)
    assert count_records(Path(examples.uri) / "Split-none") == 0


def test_every_data_node_of_the_pipelines_is_held_to_its_rows() -> None:
    settings, kept = Settings.from_env(), ConnectionConfig()
    pipelines = [
        create_pipeline(settings, NIGHT, metadata_connection_config=kept),
        create_scoring_pipeline(settings, NIGHT, "1", metadata_connection_config=kept),
        create_tuning_pipeline(settings, NIGHT, metadata_connection_config=kept),
    ]
    kinds = {node.id: node.executor_spec.executor_class for pipeline in pipelines for node in pipeline.components}
    assert {node: kinds[node] for node in NODES} == {
        "StatisticsGen": StatisticsGenExecutor,
        "Transform": TransformExecutor,
        "Evaluator": EvaluatorExecutor,
        "BulkInferrer": BulkInferrerExecutor,
    }
    # The classes of the nodes are left as they are.
    assert not issubclass(StatisticsGen.EXECUTOR_SPEC.executor_class, Accountable)
