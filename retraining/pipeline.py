"""The whole write flow of a night, in data order: from the drops of its window to a pushed model.

Wiring only: no rule, no limit and no computation lives here.
"""

from tfx import v1 as tfx
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from retraining import quality_bar
from retraining.as_of import ChampionResolver
from retraining.launcher import refuse_what_airflow_ignores
from retraining.provenance import hash_code, hash_settings
from retraining.settings import CHECKOUT, Settings
from retraining.store import connection_config
from tfx_components.evaluator import HeadlineEvaluator
from tfx_components.gate import DropGate
from tfx_components.headline_example_gen.component import HeadlineExampleGen
from tfx_components.infra_check import InfraCheck
from tfx_components.live_traffic import LiveTraffic
from tfx_components.pusher import HeadlinePusher
from tfx_components.related_index import RelatedIndex
from tfx_components.trainer import HeadlineTrainer

NAME = "headline_retraining"
# A run by hand may name its night; otherwise it is the logical date's date where the schedule lives.
NIGHT = "{{ params.night or logical_date.in_timezone(dag.timezone).strftime('%Y-%m-%d') }}"


def create_pipeline(settings: Settings, night: str = NIGHT, **overrides: object) -> Pipeline:
    """Wires the nightly pipeline.

    Args:
      settings: what it runs with.
      night: the night to train for, `YYYY-MM-DD`, or a template that Airflow renders to it at run time.
      **overrides: arguments of `Pipeline` that win, such as `metadata_connection_config`.

    Returns:
      A pipeline for AirflowDagRunner or LocalDagRunner.

    Raises:
      UnsupportedPipelineError: it uses something that AirflowDagRunner would silently ignore.
    """
    # The drops of the window become split, weighted examples; bad rows go to the quarantine.
    example_gen = HeadlineExampleGen(
        drops_dir=str(settings.drops_dir),
        night=night,
        rules=settings.drop_rules,
    )
    examples = example_gen.outputs["examples"]
    # Statistics against the reviewed schema show anomalies; the gate is what stops a run on them.
    statistics_gen = tfx.components.StatisticsGen(examples=examples, exclude_splits=["fresh"])
    schema_gen = tfx.components.ImportSchemaGen(schema_file=str(CHECKOUT / "modules" / "schema.pbtxt"))
    schema = schema_gen.outputs["schema"]
    example_validator = tfx.components.ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    gate = DropGate(
        examples=examples,
        quarantine=example_gen.outputs["quarantine"],
        anomalies=example_validator.outputs["anomalies"],
        max_quarantined_share=settings.max_quarantined_share,
        min_headlines=settings.min_headlines,
        alarm_limits=settings.alarm_limits,
    )
    # What the model is about to be taught, so that a surprising answer of it can be traced to the data.
    related_index = RelatedIndex(examples=examples)
    related_index.add_upstream_node(gate)
    # What the model server was asked, beside what its models are taught.
    live_traffic = LiveTraffic(
        examples=examples,
        request_log=str(settings.serving_request_log or ""),
        timezone=settings.timezone,
        max_skew=settings.max_traffic_skew,
        max_drift=settings.max_traffic_drift,
        min_served_accuracy=settings.min_accuracy,
        min_requests=settings.min_traffic_requests,
    )
    live_traffic.add_upstream_node(gate)
    # Everything that touches text is one graph, used in training and in serving.
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="modules.preprocessing.preprocessing_fn",
        splits_config=tfx.proto.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        custom_config={"text": settings.text_rules, "code": hash_code()},
    )
    transform.add_upstream_node(gate)
    trainer = HeadlineTrainer(
        run_fn="modules.model.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        source_examples=examples,
        custom_config={
            "hyperparameters": settings.hyperparameters,
            "seed": settings.seed,
            "night": night,
            "code": hash_code(),
            "settings": hash_settings(settings),
        },
    ).with_id("Trainer")
    model = trainer.outputs["model"]
    # The candidate is compared with the champion as of its night, never with one from a later night.
    champion = ChampionResolver(
        night=night,
        model=tfx.dsl.Channel(type=standard_artifacts.Model, producer_component_id="Trainer", output_key="model"),
        pushed_model=tfx.dsl.Channel(
            type=standard_artifacts.PushedModel, producer_component_id="Pusher", output_key="pushed_model"
        ),
    )
    evaluator = HeadlineEvaluator(
        examples=examples,
        model=model,
        baseline_model=champion.outputs["model"],
        baseline_push=champion.outputs["pushed_model"],
        eval_config=quality_bar.eval_config(settings),
    ).with_id("Evaluator")
    # A model that cannot answer as it will be served is never pushed.
    infra_check = InfraCheck(model=model, examples=examples)
    pusher = HeadlinePusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_check.outputs["blessing"],
        related_index=related_index.outputs["index"],
        serving_dir=str(settings.serving_dir),
        night=night,
    ).with_id("Pusher")
    pipeline = Pipeline(
        **{
            "pipeline_name": NAME,
            "pipeline_root": str(settings.pipeline_root),
            "components": [
                example_gen, statistics_gen, schema_gen, example_validator, gate, related_index, live_traffic,
                transform, trainer, champion, evaluator, infra_check, pusher,
            ],
            "enable_cache": settings.enable_cache,
            # Not even asked for when given: a local run needs no password of the service's.
            "metadata_connection_config": overrides.get("metadata_connection_config") or connection_config(settings),
            "beam_pipeline_args": list(settings.beam_runner_args),
            **overrides,
        }
    )  # fmt: skip
    refuse_what_airflow_ignores(pipeline)
    return pipeline
