"""Unlabelled headlines scored with a pushed model: files -> examples -> predictions -> one CSV file per night."""

from tfx import v1 as tfx
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import bulk_inferrer_pb2

from headlines.names import FIND_UNLABELLED, SCORING_DAG
from modules.features import PROBABILITIES, SCORING_SIGNATURE
from retraining.pipelines.as_of import PushedModelResolver
from retraining.pipelines.parts import assemble
from retraining.settings import Settings
from tfx_components.score_writer import ScoreWriter
from tfx_components.scoring_through_beam import ScoresExecutor, UnlabelledExecutor
from tfx_components.unlabelled_example_gen import UnlabelledExampleGen

# The task that decides them runs before every node: retraining.operators.choosing.FindUnlabelled.
NIGHTS = f"{{{{ ti.xcom_pull(task_ids={FIND_UNLABELLED!r})['nights'] }}}}"
VERSION = f"{{{{ ti.xcom_pull(task_ids={FIND_UNLABELLED!r})['version'] }}}}"


def create_scoring_pipeline(
    settings: Settings, nights: str = NIGHTS, version: str = VERSION, **overrides: object
) -> Pipeline:
    """Wires the scoring pipeline.

    Args:
      nights: whose headlines are scored, `YYYY-MM-DD` separated by commas, or a template for them.
      version: which pushed model scores them, or a template for it.
      **overrides: arguments of `Pipeline` that win, such as `metadata_connection_config`.
    """
    pushed = PushedModelResolver(version)
    unlabelled = UnlabelledExampleGen(
        drops_dir=str(settings.drops_dir), nights=nights, rules=settings.drop_rules.to_json()
    )
    output = bulk_inferrer_pb2.OutputColumnsSpec(
        predict_output=bulk_inferrer_pb2.PredictOutput(
            output_columns=[bulk_inferrer_pb2.PredictOutputCol(output_key=PROBABILITIES, output_column=PROBABILITIES)]
        )
    )
    inferrer = tfx.components.BulkInferrer(
        examples=unlabelled.outputs["examples"],
        model=pushed.outputs["model"],
        model_spec=bulk_inferrer_pb2.ModelSpec(model_signature_name=[SCORING_SIGNATURE]),
        # Examples instead of prediction logs: they keep the nights apart.
        output_example_spec=bulk_inferrer_pb2.OutputExampleSpec(output_columns_spec=[output]),
    )
    writer = ScoreWriter(
        examples=unlabelled.outputs["examples"],
        predictions=inferrer.outputs["output_examples"],
        model=pushed.outputs["model"],
        scores_dir=str(settings.scores_dir),
        version=version,
    )
    if settings.beam != "local":
        # The components are functions, whose executors nobody can choose when they are made.
        unlabelled.executor_spec = BeamExecutorSpec(UnlabelledExecutor)
        writer.executor_spec = BeamExecutorSpec(ScoresExecutor)
    return assemble(SCORING_DAG, [pushed, unlabelled, inferrer, writer], settings, overrides)
