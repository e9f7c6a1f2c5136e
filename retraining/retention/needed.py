"""The one rule of what must be kept: which artifacts and which pushed versions are needed, and each why.

Whoever removes something asks here, and so does whoever copies a service. `find_needed` is the rule, and reads nothing;
`read_facts` reads what it decides by: lineage, the serving directory and, where it is given, what model servers answer.

Needed are, of the newest nights, everything their runs took or made, since that is what a rerun, a replay, a comparison
and a search consist of; the champion of each of them; what unfinished runs hold; and each version that serves or that
a rollback may return to, with its model. A recall asks MLMD alone, of which nothing is removed.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import lineage
from headlines import names
from headlines.pushes import rollbacks
from headlines.pushes.champion import Rollback, choose_champion, find_withdrawn
from headlines.pushes.versions import find_versions
from lineage import Reader, Source
from lineage.champions import models_of_versions, pushed_versions
from lineage.models import next_night
from lineage.reading import INPUT, LIVE, OUTPUT
from retraining.settings import Settings

PIPELINES = (names.NIGHTLY_DAG, names.TUNING_DAG, names.SCORING_DAG)
"""Whose runs hold artifacts, and whose artifacts may be removed; what others made in the same MLMD is theirs."""

REST = timedelta(days=1)
"""For so long after its last record a run is taken for unfinished: between two nodes MLMD knows none at work."""

_UNFINISHED = (0, 1, 2)
"""The numbers of UNKNOWN, NEW and RUNNING of Execution.State in metadata_store.proto."""


@dataclass(frozen=True)
class RunFacts:
    """A run, as far as the rule looks at it.

    Attributes:
      pipeline: one of `PIPELINES`.
      night: `YYYY-MM-DD`; empty where none of its nodes says one, as in scoring.
      began_at, last_at: when its first attempt began and its last record was written, UTC.
      is_at_work: whether an attempt of it has not ended, or Airflow says that it has not.
    """

    pipeline: str
    run_id: str
    night: str
    began_at: datetime
    last_at: datetime
    is_at_work: bool = False


@dataclass(frozen=True)
class Facts:
    """What the rule decides by.

    Attributes:
      now: the moment, UTC.
      runs: every run of `PIPELINES`.
      pushes: of each version that was ever pushed the model's artifact id; None where lineage does not know it.
      rollbacks: all that there were.
      present: the versions in the serving directory.
      served: those that something else than the rule of champions says are served: `{version: by what}`, such as what a
        model server answers with, or what the model servers' config file names.
      tuned: of each search that found something its hyperparameters' artifact id and its night.
    """

    now: datetime
    runs: tuple[RunFacts, ...] = ()
    pushes: Mapping[int, int | None] = field(default_factory=dict)
    rollbacks: tuple[Rollback, ...] = ()
    present: tuple[int, ...] = ()
    served: Mapping[int, str] = field(default_factory=dict)
    tuned: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Needed:
    """What must be kept, each with its reason in words.

    Attributes:
      nights: those of which everything is kept, oldest first.
      runs: `<pipeline>.<run id>`, of which everything is kept that they took or made.
      versions: pushed versions.
      models: artifact ids of the models of those versions, and of champions.
      hyperparameters: artifact ids of those in use.
    """

    nights: tuple[str, ...]
    runs: Mapping[str, str]
    versions: Mapping[int, str]
    models: Mapping[int, str]
    hyperparameters: Mapping[int, str]


@dataclass(frozen=True)
class NeededArtifacts:
    """The rule, with the artifacts that it comes to.

    Attributes:
      rule: the same by nights, runs, versions and models.
      artifacts: of each artifact that is needed why, by id.
      uris: of each of them where it is; of one whose files are gone already, nothing.
    """

    rule: Needed
    artifacts: Mapping[int, str]
    uris: Mapping[int, str]


def find_needed(facts: Facts, keep_nights: int, keep_versions: int) -> Needed:
    """Decides what must be kept.

    Args:
      facts: of the service.
      keep_nights: of how many nights, the newest, everything is kept.
      keep_versions: how many versions, the newest that are not withdrawn, a rollback can always return to; of so many
        rollbacks, the newest, it can return to what they name.
    """
    at_work = [run for run in facts.runs if run.is_at_work or facts.now - run.last_at < REST]
    newest = sorted({run.night for run in facts.runs if run.pipeline == names.NIGHTLY_DAG and run.night})
    newest = newest[-keep_nights:] if keep_nights else []
    nights = sorted({*newest, *(run.night for run in at_work if run.night)})
    first = newest[0] if newest else facts.now.date().isoformat()
    runs: dict[str, str] = {}
    for run in facts.runs:
        name = f"{run.pipeline}.{run.run_id}"
        if run in at_work:
            runs[name] = f"the run {run.run_id} has not ended, or not for long"
        elif run.night in nights:
            runs[name] = f"night {run.night} is one of the newest, which are kept"
        elif not run.night and run.began_at.date().isoformat() >= first:
            runs[name] = f"the run {run.run_id} is not older than the nights that are kept"
    champions = _find_champions(facts, nights)
    versions = _find_versions(facts, nights, champions, keep_versions)
    models = {model: why for version, why in versions.items() if (model := facts.pushes.get(version)) is not None}
    return Needed(tuple(nights), runs, versions, models, _find_hyperparameters(facts, nights))


def _bounds(nights: Iterable[str]) -> dict[str, str]:
    """What is asked for as of a night, by what for: each kept night, and the one after the newest."""
    kept = sorted(nights)
    asked = {night: f"of night {night}" for night in kept}
    if kept:
        after = next_night(kept[-1])
        asked[after] = f"of the next night, {after}"
    return asked


def _find_champions(facts: Facts, nights: Iterable[str]) -> dict[int, str]:
    champions: dict[int, str] = {}
    for night, of_night in reversed(_bounds(nights).items()):
        version = choose_champion(facts.pushes, facts.rollbacks, date.fromisoformat(night))
        if version is not None:
            champions.setdefault(version, f"it is the champion {of_night}")
    return champions


def _find_versions(
    facts: Facts, nights: Collection[str], champions: Mapping[int, str], keep_versions: int
) -> dict[int, str]:
    withdrawn = find_withdrawn(facts.rollbacks)
    serving = choose_champion(facts.present, facts.rollbacks)
    needed: dict[int, str] = {}

    def need(version: int, why: str) -> None:
        needed.setdefault(version, why)

    for version in filter(None, (serving, choose_champion(facts.pushes, facts.rollbacks))):
        need(version, "it is what should serve")
    for version, by in facts.served.items():
        need(version, by)
    for version, why in champions.items():
        need(version, why)
    for version in sorted({*facts.present, *facts.pushes}, reverse=True):
        try:
            night = names.night_of(version).isoformat()
        except ValueError:
            need(version, "it is no version of a night, so that somebody else put it there")
            continue
        # A night that is run again is compared with its own version, lest the same model be pushed twice.
        if night in nights:
            need(version, f"night {night} is one of the newest, which are kept")
        if version in withdrawn and serving is not None and version > serving:
            need(version, "it was rolled back, and to return to it is still open")
    for version in [one for one in sorted(facts.present, reverse=True) if one not in withdrawn][:keep_versions]:
        need(version, f"it is one of the {keep_versions} newest, to which a rollback may return")
    if keep_versions:
        for rollback in sorted(facts.rollbacks, key=lambda one: one.id)[-keep_versions:]:
            for version in filter(None, (rollback.to_version, rollback.from_version)):
                need(version, f"the rollback of {rollback.at:%Y-%m-%d} names it")
    return needed


def _find_hyperparameters(facts: Facts, nights: Iterable[str]) -> dict[int, str]:
    """What kept nights and the next train with: the latest of an earlier night, as HyperparametersAsOf resolves."""
    used: dict[int, str] = {}
    for night, of_night in reversed(_bounds(nights).items()):
        earlier = [(tuned_on, identity) for identity, tuned_on in facts.tuned if tuned_on < night]
        if earlier:
            used.setdefault(max(earlier)[1], f"the model {of_night} is trained with them")
    return used


def read_needed(
    settings: Settings,
    source: Source | None = None,
    served: Mapping[int, str] | None = None,
    now: datetime | None = None,
) -> NeededArtifacts:
    """Reads what the rule decides by, and says which artifacts it comes to.

    Args:
      settings: how much is kept, and where the models are.
      source: lineage, where it is open already.
      served: what model servers were seen to answer with, as `Facts.served` has it.
      now: the moment. Default: this one.

    Raises:
      LineageError: lineage cannot be read.
    """
    with lineage.open_lineage(source or settings) as reader:
        rule = find_needed(
            read_facts(reader, settings.serving_dir, served, now),
            settings.keep_artifact_nights,
            settings.keep_served_versions,
        )
        artifacts = _find_artifacts(reader, rule)
        uris = dict(
            reader.rows(
                "SELECT id, uri FROM artifact WHERE id IN :ids AND state = :live AND uri <> ''",
                ids=list(artifacts),
                live=LIVE,
            )
        )
    return NeededArtifacts(rule, artifacts, uris)


def read_facts(
    reader: Reader, serving_dir: Path, served: Mapping[int, str] | None = None, now: datetime | None = None
) -> Facts:
    """Reads what the rule decides by.

    Args:
      reader: of lineage; Airflow's database beside it says which runs have not ended.
      serving_dir: where the pushed models are.
      served: what model servers were seen to answer with.
      now: the moment. Default: this one.

    Raises:
      LineageError: lineage cannot be read.
      ConfigError: the model servers' config file is none.
    """
    versions = list(pushed_versions(reader))
    models = models_of_versions(reader, versions)
    named = dict.fromkeys(rollbacks.find_named(serving_dir), f"{names.POLICY_FILE} of the model servers names it")
    # Both sources of rollbacks: between its file and its record there is a moment, and a restore may bring one alone.
    known = {one.id: one for one in (*lineage.rollbacks(reader), *rollbacks.read(serving_dir))}
    return Facts(
        now or datetime.now(UTC),
        tuple(_read_runs(reader)),
        {version: models.get(version, (None, ""))[0] for version in versions},
        tuple(known[one] for one in sorted(known)),
        tuple(find_versions(serving_dir)),
        named | dict(served or {}),
        tuple(
            reader.rows(
                "SELECT a.id, n.string_value FROM artifact a JOIN artifactproperty n ON n.artifact_id = a.id "
                "AND n.name = :night AND n.string_value <> '' WHERE a.type_id IN :types AND a.state = :live",
                night=names.NIGHT,
                types=reader.types(*reader.names.tuning),
                live=LIVE,
            )
        ),
    )


def _read_runs(reader: Reader) -> Iterable[RunFacts]:
    pipelines = dict(
        reader.rows(
            "SELECT id, name FROM context WHERE type_id IN :types AND name IN :names",
            types=reader.types("pipeline"),
            names=list(PIPELINES),
        )
    )
    active = dict(reader.scheduling.active_runs(PIPELINES)) if reader.scheduling else {}
    rows = reader.rows(
        "SELECT ours.context_id, c.name, min(n.string_value), min(e.create_time_since_epoch), "
        "max(e.last_update_time_since_epoch), max(CASE WHEN e.last_known_state IN :unfinished THEN 1 ELSE 0 END) "
        "FROM association ours JOIN association s ON s.execution_id = ours.execution_id "
        "JOIN context c ON c.id = s.context_id AND c.type_id IN :types "
        "JOIN execution e ON e.id = s.execution_id "
        "LEFT JOIN executionproperty n ON n.execution_id = e.id AND n.name = :night "
        "WHERE ours.context_id IN :pipelines GROUP BY ours.context_id, c.name ORDER BY min(e.id)",
        unfinished=list(_UNFINISHED),
        types=reader.run_types,
        night=names.NIGHT,
        pipelines=list(pipelines),
    )
    for context, name, night, began, last, is_unfinished in rows:
        pipeline = pipelines[context]
        run_id = name.removeprefix(f"{pipeline}.")
        is_at_work = bool(is_unfinished) or (pipeline, run_id) in active
        active.pop((pipeline, run_id), None)
        yield RunFacts(pipeline, run_id, night or "", _moment(began), _moment(last), is_at_work)
    # What has not begun yet, or waits for its drop, resolves a champion all the same.
    for (pipeline, run_id), night in active.items():
        now = datetime.now(UTC)
        yield RunFacts(pipeline, run_id, night, now, now, True)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _find_artifacts(reader: Reader, rule: Needed) -> dict[int, str]:
    """Of each artifact that is needed why."""
    # A run of LocalDagRunner's has no prefix.
    why = {name.partition(".")[2]: reason for name, reason in rule.runs.items()} | dict(rule.runs)
    rows = reader.rows(
        "SELECT DISTINCT c.name, ev.artifact_id FROM context c JOIN association s ON s.context_id = c.id "
        "JOIN event ev ON ev.execution_id = s.execution_id AND ev.type IN :kinds "
        "WHERE c.type_id IN :types AND c.name IN :names",
        kinds=[INPUT, OUTPUT],
        types=reader.run_types,
        names=list(why),
    )
    return {artifact: why[name] for name, artifact in rows} | dict(rule.hyperparameters) | dict(rule.models)
