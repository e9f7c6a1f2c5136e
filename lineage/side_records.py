"""What is told beside a night's course: its measures, its live traffic, scores, searches. Plain, frozen records."""

from dataclasses import dataclass, field
from datetime import datetime

from headlines.drops.measures import Kind, Measure


@dataclass(frozen=True)
class GateReport:
    """What the gate held a night's data to.

    Attributes:
      execution_id: of the gate's newest attempt.
      state: of that attempt: `complete` where the data passed.
      error: what it said when it stopped the run.
      measures: each figure beside the limit that was in force.
    """

    execution_id: int
    state: str
    error: str | None
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class TrafficReport:
    """What users asked of the model server on a night, beside what the models are taught.

    Attributes:
      execution_id: of the attempt that looked.
      note: what there was to look at.
      requests: titles asked on the night; None where it was not recorded.
      served_rows: titles of the night's drop that an earlier model had answered.
      served_accuracy: of those answers, the share that was right; None without any.
      skew: distance of the night's requests from the window, by feature.
      drift: the same, from the earlier requests.
      limits: in force, by name.
      alarm: what was beyond them, in one line; empty for nothing.
    """

    execution_id: int
    note: str
    requests: int | None
    served_rows: int | None
    served_accuracy: float | None
    skew: dict[str, float]
    drift: dict[str, float]
    limits: dict[str, float]
    alarm: str


@dataclass(frozen=True)
class NightMeasures:
    """The measures of a night's newest run that has any; a name that is not there was not recorded.

    Attributes:
      classes: share of each label in the night's own drop.
      values: by the name of the measure.
      limits: in force, by the name of the measure.
      missed: the measures that are beyond their limits.
      traffic: figures of its live traffic, by the name of the property.
      traffic_limits: in force, by the name of the property that is held to them.
      traffic_missed: of a night whose live traffic raised an alarm, the properties that are beyond their limits; it
        raises none where there were too few requests to judge.
    """

    night: str
    run_id: str
    classes: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    missed: tuple[str, ...] = ()
    traffic: dict[str, float] = field(default_factory=dict)
    traffic_limits: dict[str, float] = field(default_factory=dict)
    traffic_missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One measure over the nights of a `Drift`, in their order; None where it was not recorded.

    Attributes:
      limits: in force on each night.
      missed: the nights on which it was beyond its limit.
    """

    kind: Kind
    values: tuple[float | None, ...]
    limits: tuple[float | None, ...]
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Drift:
    """Every measure over nights, oldest first; `kinds` says what each is and which way its limit goes."""

    kinds: tuple[Kind, ...]
    nights: tuple[NightMeasures, ...]


@dataclass(frozen=True)
class ScoredNight:
    """A night's unlabelled headlines as a model scored them; None where it was not recorded.

    Attributes:
      rows: headlines that were scored.
      quarantined: rows without a usable title.
      labels: how many got which.
      file: the scores.
      sources: names of the files that were read.
    """

    night: str
    rows: int
    quarantined: int | None
    labels: dict[str, int] | None
    file: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Scoring:
    """One attempt to score unlabelled headlines.

    Attributes:
      id: MLMD's, of the scores.
      version: of the model, as it was pushed; empty for an attempt that wrote nothing.
      model_id: MLMD's; None where lineage does not say.
      nights: that were scored, oldest first.
    """

    id: int
    execution_id: int
    pipeline: str
    run_id: str
    state: str
    error: str | None
    began: datetime
    ended: datetime | None
    version: str
    model_id: int | None
    nights: tuple[ScoredNight, ...]


@dataclass(frozen=True)
class Search:
    """One attempt to find better hyperparameters.

    Attributes:
      id: MLMD's, of the hyperparameters.
      night: on whose window it searched; empty for one that found nothing.
      trials: that came to an end.
      objective, score: what the best trial is judged by, and what it reached.
      hyperparameters: of the best trial.
      results_uri: folder with a row for each trial; empty if there is none.
      used_by: nights whose models were trained with what it found, oldest first.
    """

    id: int
    execution_id: int
    pipeline: str
    run_id: str
    state: str
    error: str | None
    began: datetime
    ended: datetime | None
    night: str
    trials: int | None
    objective: str
    score: float | None
    hyperparameters: dict[str, str | int | float | bool | None]
    results_uri: str
    used_by: tuple[str, ...]
