"""What the nodes, properties and inputs that carry meaning are called: the defaults are this project's own."""

from dataclasses import dataclass

from headlines import names


@dataclass(frozen=True)
class Names:
    """How a pipeline calls what the questions ask about; `lineage.find_names` finds those of another one.

    Attributes:
      pipeline: whose runs, models and pushes are asked about; other pipelines are reached by paths only.
      sensor: task that waits for a night's drop; no node, so MLMD does not know it. None if there is none.
      example_gen: node that reads drops, and whose artifacts name them.
      gate: node that stops a run on bad data; None if there is none.
      trainer: node that makes models.
      evaluator: node that judges them.
      pusher: node that publishes them; None if there is none.
      night: property that names the night of an execution, an artifact or a push.
      drop: prefix of the properties of Examples that describe the drops in them, as JSON with at least `version`.
      baseline: input keys through which a model is only compared with another.
      tuning: artifact types that carry tuned hyperparameters from one pipeline to another.
      vocabulary: artifact types that carry vocabularies.
      scores: artifact types that only say something of a model; no path leads through them.
      domain: artifact types that a graph shows before it is expanded; of Examples only those that were read, not those
        that were transformed.
    """

    pipeline: str = names.NIGHTLY_DAG
    sensor: str | None = names.WAIT_FOR_DROP
    example_gen: str = names.EXAMPLE_GEN
    gate: str | None = names.GATE
    trainer: str = names.TRAINER
    evaluator: str = names.EVALUATOR
    pusher: str | None = names.PUSHER
    night: str = names.NIGHT
    drop: str = names.DROP_PREFIX
    baseline: tuple[str, ...] = (names.BASELINE_MODEL, names.BASELINE_PUSH)
    tuning: tuple[str, ...] = ("HyperParameters",)
    vocabulary: tuple[str, ...] = ("TransformGraph",)
    scores: tuple[str, ...] = (
        "ModelEvaluation",
        names.BASELINE_ANSWERS_TYPE,
        names.FRESH_SCORE_TYPE,
        names.TRAFFIC_REPORT_TYPE,
    )
    domain: tuple[str, ...] = (
        "Examples",
        "HyperParameters",
        "TransformGraph",
        "Model",
        "ModelBlessing",
        "InfraBlessing",
        "PushedModel",
    )


OURS = Names()
