"""What the questions about lineage are answered with: plain, frozen records."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from headlines.bar.checks import Check
from headlines.drops.rulings import Ruling, find_refused, find_ruling
from headlines.names import REMOVED_AT, REMOVED_BY
from headlines.notes import Note
from headlines.pushes.champion import Rollback
from headlines.pushes.removals import tell
from lineage.side_records import GateReport, TrafficReport

Way = Literal["trained-on", "vocabulary", "tuned-on", "judged-against"]
RunState = Literal["running", "failed", "blocked", "pushed", "refused", "complete"]
NightState = RunState | Literal["waiting", "stuck", "skipped", "missing"]
ModelState = NightState | Literal["serving", "withdrawn", "superseded"]


@dataclass(frozen=True)
class ArtifactRecord:
    """An artifact as MLMD has it; every property as text.

    Attributes:
      id: MLMD's.
      uri: where it is.
      properties: declared and custom ones together.
      type: such as `Model`.
      state: `live`, `pending`, `abandoned`, ...; `unknown` if MLMD has none.
      created_at: UTC.
    """

    id: int
    uri: str
    properties: dict[str, str]
    type: str = ""
    state: str = "unknown"
    created_at: datetime | None = None

    @property
    def removal(self) -> str:
        """That its files were removed, with when and by whom, in words; empty for what was not removed."""
        if self.state != "deleted":
            return ""
        at, by = self.properties.get(REMOVED_AT), self.properties.get(REMOVED_BY)
        # Others who remove files, such as TFX's own garbage collection, leave the state alone.
        return tell(datetime.fromisoformat(at), by) if at and by else "removed, nobody recorded when"


@dataclass(frozen=True)
class ExecutionRecord:
    """One attempt of a node in a run.

    Attributes:
      id: MLMD's.
      type: class of the node, such as `tfx.components.transform.component.Transform`.
      pipeline, run_id, node: of which it is an attempt; empty where MLMD does not say.
      state: `new`, `running`, `complete`, `cached`, `failed` or `canceled`.
      attempt: from 1.
      superseded_by: execution id of the attempt that took its place.
      error: one line.
      started_at, ended_at: UTC; `ended_at` is None while it runs, and where nobody recorded the end.
      properties: all of them, as text.
    """

    id: int
    type: str
    pipeline: str
    run_id: str
    node: str
    state: str
    attempt: int
    superseded_by: int | None
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    properties: dict[str, str]

    @property
    def counts(self) -> bool:
        """Whether it finished and no later attempt took its place."""
        return self.state in ("complete", "cached") and self.superseded_by is None

    @property
    def seconds(self) -> float | None:
        """How long it took; None where `ended_at` is."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None


@dataclass(frozen=True)
class RunArtifacts:
    """The artifacts of the attempts that count of a run, by `(component, key)`; of several under one key the last."""

    inputs: dict[tuple[str, str], ArtifactRecord]
    outputs: dict[tuple[str, str], ArtifactRecord]


@dataclass(frozen=True)
class ExecutionDetail:
    """An attempt with what it took and made, by input or output key; a resolver's or cached output is not its own."""

    execution: ExecutionRecord
    inputs: tuple[tuple[str, ArtifactRecord], ...]
    outputs: tuple[tuple[str, ArtifactRecord], ...]


@dataclass(frozen=True)
class DropFile:
    """One file of a drop."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class DropUse:
    """A version of a drop as it went into examples.

    `files`, and `passed_over`, what lay beside them and was not read, are empty when the examples' folder is gone;
    `label_codes` where its labels are names alone.
    """

    night: str
    version: int
    sha256: str = ""
    rows_in: int | None = None
    rows_used: int | None = None
    rows_quarantined: int | None = None
    duplicates_folded: int | None = None
    files: tuple[DropFile, ...] = ()
    passed_over: tuple[str, ...] = ()
    label_codes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """A drop that a window left out, since it had been refused and was neither corrected nor accepted."""

    night: str
    version: int
    why: str


@dataclass(frozen=True)
class ScheduledTask:
    """A task of a run as Airflow's database has it.

    Attributes:
      name: the task's id.
      state: Airflow's word for it, `none` before its turn.
      attempt: from 1; 0 before the first.
      since: when it came to be so, as far as Airflow records it.
      pool: from which it takes its slots.
      reason: what this attempt said of itself when it failed, was skipped or began to wait; empty if it said nothing.
    """

    name: str
    state: str
    attempt: int
    since: datetime | None
    pool: str
    reason: str = ""


@dataclass(frozen=True)
class ScheduledRun:
    """A run as Airflow's database has it, also one that MLMD never heard of.

    Attributes:
      run_id: Airflow's.
      run_type: `scheduled`, `manual`, `backfill` or `dataset_triggered`.
      state: `queued`, `running`, `success` or `failed`.
      begun_at: UTC; None while it is queued.
      ended_at: UTC; None before its end.
      tasks: those that failed, are at work, or wait; and the sensor.
    """

    night: str
    run_id: str
    run_type: str
    state: str
    begun_at: datetime | None
    ended_at: datetime | None
    tasks: tuple[ScheduledTask, ...]

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("queued", "running")


@dataclass(frozen=True)
class Dispatch:
    """What decides whether Airflow begins runs of the DAG and goes on with them.

    Attributes:
      is_known: whether Airflow has read the DAG, and its file is still there.
      is_paused: whether a person has paused it, or never unpaused it.
      import_error: file and last line, when its file cannot be read.
      max_active_runs: how many runs may be at work.
      active: the runs that have not ended, oldest first.
      scheduler_seen, triggerer_seen: when the newest of them was last heard of.
      pools: of each pool that has no free slot, how many it has.
      closed_pools: the pools of the newest run, or else Airflow's default one, that have no slot at all; with whether
        there is such a pool.
    """

    is_known: bool
    is_paused: bool
    import_error: str | None
    max_active_runs: int
    active: tuple[ScheduledRun, ...]
    scheduler_seen: datetime | None
    triggerer_seen: datetime | None
    pools: dict[str, int]
    closed_pools: dict[str, bool]


@dataclass(frozen=True)
class NightReport:
    """A night as one run of it left it; `None` where the run did not get that far.

    `state` is `complete` where all that began has finished and no push says how it ended, as in a pipeline that pushes
    nothing. `night` is empty where the run names none.

    The row counts are of the night's own drop; `window_nights` counts the drops trained on, `drops` names the version
    of each by its night, and `left_out` those that were left out. `champion_version` is what the candidate was compared
    with, empty for none.
    """

    night: str
    run_id: str
    state: NightState
    drop_version: int | None = None
    rows_in: int | None = None
    rows_used: int | None = None
    rows_quarantined: int | None = None
    duplicates_folded: int | None = None
    window_nights: int | None = None
    drops: dict[str, int] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    champion_version: str = ""
    checks: tuple[Check, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    champion_metrics: dict[str, float] = field(default_factory=dict)
    blessed: bool | None = None
    reason: str = ""
    pushed_version: str | None = None
    error: str | None = None
    failed_node: str | None = None
    model_id: int | None = None

    @property
    def why(self) -> str:
        """What it came to, in one line: the node that failed and its error, else the reason of the verdict."""
        return ": ".join(filter(None, (self.failed_node, self.error))) if self.error else self.reason


@dataclass(frozen=True)
class RunSummary:
    """A run in a list: what it came to, and from when to when; `ended_at` is None while it runs, and where it is
    not on record. UTC.
    """

    report: NightReport
    began_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class PipelineSummary:
    """A pipeline in a list.

    Attributes:
      runs: how many of it there are.
      models: how many they made.
      newest: when its newest attempt of a node began, UTC; None where there is none.
    """

    name: str
    runs: int
    models: int
    newest: datetime | None


@dataclass(frozen=True)
class NightSummary:
    """A night in a calendar: its newest run and its drop, with no more than a cell can show.

    Attributes:
      run_id: newest run, by MLMD or by Airflow; None for a night that was never run.
      runs: how many there were.
      state: of the newest run; `blocked` where the gate stopped it; `waiting` for its drop, its turn or a retry;
        `stuck` where nothing goes on until a person mends something; `skipped` where its run was, or where only later
        nights' windows used the drop; or `missing`, where there should have been a run.
      blessed: verdict of the newest run, None without one.
      pushed_version: by the newest run.
      drop_version: newest version used by any run of any night.
      is_corrected: whether that is not the first.
      delivered: when its first version that was used came, ISO 8601; None where lineage does not say.
      rows_in, rows_quarantined: of the newest run's drop.
      reason: why it came to no verdict, in one line; empty if it did.
      is_due: whether the schedule has asked for it by now; False where Airflow is not asked.
    """

    night: str
    run_id: str | None
    runs: int
    state: NightState
    blessed: bool | None = None
    pushed_version: int | None = None
    drop_version: int | None = None
    is_corrected: bool = False
    delivered: str | None = None
    rows_in: int | None = None
    rows_quarantined: int | None = None
    reason: str = ""
    is_due: bool = False


@dataclass(frozen=True)
class ModelSummary:
    """A model in a list.

    Attributes:
      id: MLMD's id of the artifact.
      night: it was trained for; empty for a pipeline that does not say.
      run_id: that made it.
      uri: where it is.
      versions: under which it was pushed, oldest first; more than one is rare.
      removal: that its files were removed, with when and by whom, in words; empty where they were not.
    """

    id: int
    night: str
    run_id: str
    uri: str
    versions: tuple[int, ...] = ()
    removal: str = ""


@dataclass(frozen=True)
class ListedModel:
    """A model in a list, with what became of it.

    Attributes:
      model: which.
      state: `serving`, `pushed`, `withdrawn` by a rollback, or `refused`; where no Pusher has said anything of it, as
        its run is, such as `failed`; `superseded` where the run went on with another model.
      blessed: by its verdict; None without one.
      reason: of its verdict.
      metrics: of it as a candidate.
    """

    model: ModelSummary
    state: ModelState
    blessed: bool | None
    reason: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class ModelList:
    """Some models, newest first.

    Attributes:
      models: those that were asked for.
      count: how many there are of that state and with that text.
      states: how many models of the pipeline are in each state, whatever was asked for.
    """

    models: tuple[ListedModel, ...]
    count: int
    states: dict[ModelState, int]


@dataclass(frozen=True)
class Reign:
    """A version that served, from a push or a rollback on; `until` is None for what serves now."""

    version: int
    model_id: int | None
    night: str
    since: datetime
    until: datetime | None
    rollback: Rollback | None = None


@dataclass(frozen=True)
class Node:
    """A node of a graph.

    Attributes:
      key: `drop:2022-02-01:1`, `artifact:12` or `execution:7`.
      kind: `drop`, `artifact` or `execution`.
      type: artifact type, or the node's name (component id).
      label: for a person, such as `model of night 2022-02-03`.
      night: of the run that made it; empty if unknown.
      run_id: that made it, or of which it is an attempt.
      state: as on the record.
      is_domain: whether it is shown when the graph is collapsed.
    """

    key: str
    kind: Literal["drop", "artifact", "execution"]
    type: str
    label: str
    night: str = ""
    run_id: str = ""
    state: str = ""
    is_domain: bool = True

    @property
    def id(self) -> int | None:
        """MLMD's id; None for a drop."""
        return None if self.kind == "drop" else int(self.key.partition(":")[2])


@dataclass(frozen=True)
class Edge:
    """`target` was made from, or by, `source` (keys of nodes); `label` is the input or output key, or the way."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class Graph:
    """Lineage as a graph; drops come first, pushes last. Resolver executions are no part of it."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Serving:
    """What serves now, and where it comes from.

    Attributes:
      version: of the push.
      night: it was trained for.
      since: UTC; when it was pushed, or returned to.
      model: its model; None if lineage does not know it.
      destination: folder it was pushed to.
      reason: the Pusher's sentence.
      rollback: what made it serve, if a rollback did.
      before: what served before; None for the first.
      drops: trained on, oldest first.
      path: from its drops to its push, collapsed to domain steps.
    """

    version: int
    night: str
    since: datetime
    model: ModelSummary | None
    destination: str
    reason: str
    rollback: Rollback | None
    before: Reign | None
    drops: tuple[DropUse, ...]
    path: Graph


@dataclass(frozen=True)
class Taint:
    """A model that a drop touched, and one path for each way it did.

    Attributes:
      model: touched.
      ways: to the nodes passed, from the drop to the model, by their keys.
      drop_versions: that reached it.
      is_serving: whether it serves now.
    """

    model: ModelSummary
    ways: dict[Way, tuple[Node, ...]]
    drop_versions: tuple[int, ...]
    is_serving: bool


@dataclass(frozen=True)
class Recall:
    """Every model that a drop touched.

    A model was judged against the drop when the champion it was compared with was made from it. That is one hop: what
    was judged against a model that was only judged against the drop is not counted, or each drop would touch all later
    models.

    Attributes:
      night: of the drop.
      version: asked for; None for all.
      versions: known to lineage.
      taints: newest night first.
      serving: what serves now.
      is_serving: whether what serves now was trained on, tuned on, or has its vocabulary from the drop.
      last_good_version: the newest pushed version that no such way leads to; None if there is none.
    """

    night: str
    version: int | None
    versions: tuple[int, ...]
    taints: tuple[Taint, ...]
    serving: Reign | None
    is_serving: bool
    last_good_version: int | None


@dataclass(frozen=True)
class RunDetail:
    """A run with every attempt of every node, in the order in which they began."""

    report: NightReport
    executions: tuple[ExecutionRecord, ...]


@dataclass(frozen=True)
class NightDetail:
    """Everything about a night.

    Attributes:
      drop: its own drop, as its newest run used it; None if none did.
      drop_versions: all versions that any run of any night used.
      runs: in the order in which they began; the last is the one that counts.
      champion_before: version in production as of the night; None for the first.
      champion_after: version in production as of the next night.
      models: made by its runs, newest last.
      scheduled: its runs as Airflow has them, in the order in which they were made; empty where Airflow is not asked.
      summary: the night in one word and one line, by both; None where it is no night of the calendar.
      report: the night as its newest run left it, as `latest` tells it; None where it is no night of the calendar.
      gate: what the newest run's data were held to; None where it did not get that far.
      traffic: what the newest run found in the live traffic; None where it did not look.
      notes: on the night and its versions, newest first.
      rulings: on the versions of its drop, newest first.
    """

    night: str
    drop: DropUse | None
    drop_versions: tuple[int, ...]
    runs: tuple[RunDetail, ...]
    champion_before: int | None
    champion_after: int | None
    models: tuple[ModelSummary, ...]
    scheduled: tuple[ScheduledRun, ...] = ()
    summary: NightSummary | None = None
    report: NightReport | None = None
    gate: GateReport | None = None
    traffic: TrafficReport | None = None
    notes: tuple[Note, ...] = ()
    rulings: tuple[Ruling, ...] = ()

    @property
    def refusal(self) -> Ruling | None:
        """The refusal of the drop as its newest run used it, where it stands."""
        if self.drop is None:
            return None
        return find_ruling(find_refused(self.rulings), (self.night, self.drop.version, self.drop.sha256))


@dataclass(frozen=True)
class ModelDetail:
    """Everything about a model.

    Attributes:
      model: which.
      report: of the run that made it; where that went on with another model, with this one's own verdict.
      state: as in a list of models.
      properties: of its artifact.
      origin: `code`, `settings`, `data` and one `library:<name>` each, as the Trainer recorded them.
      champion_before: version as of its night; None for the first.
      champion_after: version as of the night after.
      metrics: of the candidate; `champion_metrics`, `lr_metrics`, `majority_metrics`: of the others on the same rows.
      fresh: scores on the night's fresh rows, by `champion`, `lr`, `majority`.
      intervals: 95 % interval of a metric, where known.
      class_mix: headlines per label of the night's drop.
      drops: trained on, oldest first.
      artifacts: of its run by `(node, key)`: card, evaluation, statistics, anomalies, quarantine, model_run, ...
        Where that went on with another model, only what this one was made from.
      is_serving: whether it serves now.
      notes: on the versions under which it was pushed and on its night as a whole, newest first.
    """

    model: ModelSummary
    report: NightReport
    state: ModelState
    properties: dict[str, str]
    origin: dict[str, str]
    champion_before: int | None
    champion_after: int | None
    metrics: dict[str, float]
    champion_metrics: dict[str, float]
    lr_metrics: dict[str, float]
    majority_metrics: dict[str, float]
    fresh: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    class_mix: dict[str, int]
    drops: tuple[DropUse, ...]
    artifacts: dict[tuple[str, str], ArtifactRecord]
    is_serving: bool
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Something that two models do not share; None where one has nothing."""

    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class PairedMetric:
    """A metric of two models on the same rows; `low` to `high` is the 95 % interval of the difference, where known."""

    a: float
    b: float
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float:
        """How much more `b` has."""
        return round(self.b - self.a, 9)


@dataclass(frozen=True)
class Paired:
    """Two models on the rows that both answered, compared as the quality bar compares.

    Attributes:
      rows: how many; None where there are none to compare on.
      which: which rows, in one line.
      metrics: by name.
      p: that both err equally often, by McNemar's test; None where it is not known.
      problem: why the two cannot be compared on the same rows; empty where they can.
    """

    rows: int | None = None
    which: str = ""
    metrics: dict[str, PairedMetric] = field(default_factory=dict)
    p: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two models side by side.

    Attributes:
      a, b: the models.
      data: drops that differ: the name is the night, the values are versions (with the hash where they are equal).
      settings: that differ: the hash, and each execution property that the two runs' nodes were given; what follows
        from the night alone is left out.
      code: hashes that differ.
      libraries: versions that differ.
      recorded: of `data`, `settings`, `code` and `libraries`, whether `a` and `b` have any on record: where neither
        has, no difference is no likeness.
      metrics: every metric that either has, equal or not, with `a`'s and `b`'s value, each on its own rows.
      rows: how many those are, for `a` and `b`; None where it is not on record.
      paired: both on the same rows.
      class_mix: shares of each label in the night's own drop, by label, for `a` and `b`.
    """

    a: ModelDetail
    b: ModelDetail
    data: tuple[Difference, ...]
    settings: tuple[Difference, ...]
    code: tuple[Difference, ...]
    libraries: tuple[Difference, ...]
    recorded: dict[str, tuple[bool, bool]]
    metrics: dict[str, tuple[float | None, float | None]]
    rows: tuple[int | None, int | None]
    paired: Paired
    class_mix: dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True, kw_only=True)
class Happening:
    """What became of a night's candidate, and what people did after it.

    Attributes:
      blessed: by the newest verdict; None without one.
      is_refused: whether the run came to its end and pushed nothing for what the verdict says; as its state has it.
      pushed_version: None if it was not pushed.
      rollbacks: that were made after this night and before the next that is told of.
    """

    blessed: bool | None
    is_refused: bool
    pushed_version: int | None
    rollbacks: tuple[Rollback, ...]


@dataclass(frozen=True)
class Point(Happening):
    """A metric on one night, on the held-out rows and on the night's fresh ones; None where it was not measured."""

    night: str
    run_id: str
    candidate: float | None
    champion: float | None
    lr: float | None
    majority: float | None
    fresh_champion: float | None
    fresh_lr: float | None
    fresh_majority: float | None
    fresh_rows: int | None


@dataclass(frozen=True)
class History:
    """A metric over nights, oldest first; each night as its newest judged run left it."""

    metric: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class CheckPoint(Happening):
    """A check on one night."""

    night: str
    run_id: str
    check: Check | None


@dataclass(frozen=True)
class CheckHistory:
    """A check over nights, oldest first; each night as its newest judged run left it."""

    name: str
    points: tuple[CheckPoint, ...]


@dataclass(frozen=True)
class Gap:
    """A night that did not come to a verdict, and why, in one line."""

    night: str
    kind: Literal["missing", "skipped", "failed", "blocked", "running", "waiting", "stuck", "complete"]
    reason: str


@dataclass(frozen=True)
class Orphans:
    """What no run answers for.

    Attributes:
      artifacts: that nothing made, or whose making failed, and that are not marked as abandoned.
      executions: that belong to no run, or are called running though their run has a later attempt.
    """

    artifacts: tuple[ArtifactRecord, ...]
    executions: tuple[ExecutionRecord, ...]
