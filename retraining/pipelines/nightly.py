"""The whole write flow of a night, in data order: from the drops of its window to a pushed model."""

import json

from tfx import v1 as tfx
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from headlines.names import EVALUATOR, MODEL_CARD, NIGHTLY_DAG, PUSHER, TRAINER
from retraining.pipelines.as_of import ChampionResolver, HyperparametersResolver
from retraining.pipelines.evaluation import eval_config
from retraining.pipelines.parts import assemble, create_data_nodes
from retraining.pipelines.provenance import hash_code, hash_settings
from retraining.settings import Settings
from tfx_components.baseline import Baseline
from tfx_components.evaluator import HeadlineEvaluator
from tfx_components.infra_check import InfraCheck
from tfx_components.live_traffic import LiveTraffic
from tfx_components.model_card import ModelCardWriter
from tfx_components.pusher import HeadlinePusher
from tfx_components.related_index import RelatedIndex
from tfx_components.trainer import HeadlineTrainer

# A run by hand may name its night; otherwise it is the logical date's date where the schedule lives.
NIGHT = "{{ params.night or logical_date.in_timezone(dag.timezone).strftime('%Y-%m-%d') }}"


def create_pipeline(settings: Settings, night: str = NIGHT, **overrides: object) -> Pipeline:
    """Wires the nightly pipeline, for AirflowDagRunner or LocalDagRunner.

    Args:
      night: the night to train for, `YYYY-MM-DD`, or a template that Airflow renders to it at run time.
      **overrides: arguments of `Pipeline` that win, such as `metadata_connection_config`.
    """
    # From the drops of the window to transformed examples; tuning begins the same way.
    data = create_data_nodes(settings, night)
    examples, transform = data.examples, data.transform
    # What the model is about to be taught, so that a surprising answer of it can be traced to the data.
    related_index = RelatedIndex(examples=examples)
    # Beside the Trainer, not beside Transform and Baseline: three are too many for two cores.
    related_index.add_upstream_node(transform)
    # What the model server was asked, beside what its models are taught.
    live_traffic = LiveTraffic(
        examples=examples,
        request_log=str(settings.serving_request_log or ""),
        timezone=settings.timezone,
        max_skew=settings.max_traffic_skew,
        max_drift=settings.max_traffic_drift,
        min_served_accuracy=settings.min_accuracy,
        min_requests=settings.min_traffic_requests,
        text_rules=json.dumps(settings.text_rules),
    )
    live_traffic.add_upstream_node(data.gate)
    # What a search found before this night, unless a person decided; searches are another pipeline's.
    tuned = HyperparametersResolver(night)
    trainer = HeadlineTrainer(
        run_fn="modules.model.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        source_examples=examples,
        hyperparameters=None if settings.hyperparameters_file else tuned.outputs["hyperparameters"],
        custom_config={
            "hyperparameters": settings.given_hyperparameters,
            "seed": settings.seed,
            "night": night,
            "code": hash_code(),
            "settings": hash_settings(settings),
        },
    ).with_id(TRAINER)
    model = trainer.outputs["model"]
    # The candidate is compared with the champion as of its night, never with one from a later night.
    champion = ChampionResolver(
        night=night,
        model=tfx.dsl.Channel(type=standard_artifacts.Model, producer_component_id=TRAINER, output_key="model"),
        pushed_model=tfx.dsl.Channel(
            type=standard_artifacts.PushedModel, producer_component_id=PUSHER, output_key="pushed_model"
        ),
    )
    # What needs no network to be known: what LR makes of the same rows, and how production did on the fresh ones.
    baseline = Baseline(
        examples=examples, champion=champion.outputs["model"], champion_push=champion.outputs["pushed_model"]
    )
    baseline.add_upstream_node(data.gate)
    evaluator = HeadlineEvaluator(
        examples=examples,
        model=model,
        baseline_model=champion.outputs["model"],
        baseline_push=champion.outputs["pushed_model"],
        baseline_answers=baseline.outputs["answers"],
        eval_config=eval_config(),
        limits=settings.bar_limits,
    ).with_id(EVALUATOR)
    # A model that cannot answer as it will be served is never pushed.
    infra_check = InfraCheck(model=model, examples=examples)
    pusher = HeadlinePusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_check.outputs["blessing"],
        related_index=related_index.outputs["index"],
        serving_dir=str(settings.serving_dir),
        night=night,
    ).with_id(PUSHER)
    # For people: all that is known of the night's model, blessed or not, on one page.
    model_card = ModelCardWriter(
        examples=examples,
        model=model,
        evaluation=evaluator.outputs["evaluation"],
        fresh_score=baseline.outputs["fresh_score"],
    ).with_id(MODEL_CARD)
    nodes = [
        related_index,
        live_traffic,
        tuned,
        trainer,
        champion,
        baseline,
        evaluator,
        infra_check,
        pusher,
        model_card,
    ]
    return assemble(NIGHTLY_DAG, [*data, *nodes], settings, overrides)
