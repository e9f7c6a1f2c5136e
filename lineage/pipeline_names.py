"""What the nodes, properties and inputs that carry meaning are called: the defaults are this project's own.

Configuration of the reader, not of the pipeline: nothing here is read from the environment.
"""

from dataclasses import dataclass

from headlines.names import (
    BASELINE_ANSWERS_TYPE,
    BASELINE_MODEL,
    BASELINE_PUSH,
    DROP_PREFIX,
    EVALUATOR,
    EXAMPLE_GEN,
    FRESH_SCORE_TYPE,
    GATE,
    NIGHT,
    NIGHTLY_DAG,
    PUSHER,
    TRAFFIC_REPORT_TYPE,
    TRAINER,
    WAIT_FOR_DROP,
)


@dataclass(frozen=True)
class Names:
    """How a pipeline calls what the questions ask about; give others to read another AirflowDagRunner's lineage.

    Attributes:
      pipeline: whose runs, models and pushes are asked about; other pipelines are reached by paths only.
      sensor: task that waits for a night's drop; no node, so MLMD does not know it. None if there is none.
      example_gen: node that reads drops, and whose artifacts name them.
      gate: node that stops a run on bad data; None if there is none.
      trainer: node that makes models.
      evaluator: node that judges them.
      pusher: node that publishes them.
      night: property that names the night of an execution, an artifact or a push.
      drop: prefix of the properties of Examples that describe the drops in them, as JSON with at least `version`.
      baseline: input keys through which a model is only compared with another.
      tuning: artifact types that carry tuned hyperparameters from one pipeline to another.
      vocabulary: artifact types that carry vocabularies.
      scores: artifact types that only say something of a model; no path leads through them.
      domain: artifact types that a graph shows before it is expanded; of Examples only those that were read, not those
        that were transformed.
    """

    pipeline: str = NIGHTLY_DAG
    sensor: str | None = WAIT_FOR_DROP
    example_gen: str = EXAMPLE_GEN
    gate: str | None = GATE
    trainer: str = TRAINER
    evaluator: str = EVALUATOR
    pusher: str = PUSHER
    night: str = NIGHT
    drop: str = DROP_PREFIX
    baseline: tuple[str, ...] = (BASELINE_MODEL, BASELINE_PUSH)
    tuning: tuple[str, ...] = ("HyperParameters",)
    vocabulary: tuple[str, ...] = ("TransformGraph",)
    scores: tuple[str, ...] = ("ModelEvaluation", BASELINE_ANSWERS_TYPE, FRESH_SCORE_TYPE, TRAFFIC_REPORT_TYPE)
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
