"""Years of nights in MLMD without a pipeline's run: written through MLMD's own API, as HeadlineLauncher would have.

What is measured on them is in benchmarks/lineage.py.
"""

import json
import math
import time
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import psycopg2
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from headlines import names
from retraining.pipelines.mlmd import initialise
from retraining.pipelines.nightly import create_pipeline
from retraining.recording.store import connection_config
from retraining.settings import Settings

FIRST_NIGHT = date(2020, 1, 1)
_RUN_SECONDS = 60
_REFUSED, _RETRIED, _CORRECTED, _FAILED = 5, 20, 50, 40
_METRICS = ("accuracy", "macro_f1", "log_loss", "negative_f1", "neutral_f1", "positive_f1")
_CHECK = '{"value": 0.81, "limit": 0.7, "passed": true, "low": 0.77, "high": 0.85}'
_TRANSFORM_OUTPUTS = {
    "transform_graph": "TransformGraph",
    "transformed_examples": "Examples",
    "post_transform_schema": "Schema",
    "post_transform_stats": "ExampleStatistics",
    "post_transform_anomalies": "ExampleAnomalies",
    "pre_transform_schema": "Schema",
    "pre_transform_stats": "ExampleStatistics",
    "updated_analyzer_cache": "TransformCache",
}
# Table -> the columns that are ids, by the table that gives them; in an order in which they can be copied.
_TABLES = {
    "context": {"id": "context"},
    "contextproperty": {"context_id": "context"},
    "execution": {"id": "execution"},
    "executionproperty": {"execution_id": "execution"},
    "artifact": {"id": "artifact"},
    "artifactproperty": {"artifact_id": "artifact"},
    "event": {"id": "event", "artifact_id": "artifact", "execution_id": "execution"},
    "eventpath": {"event_id": "event"},
    "association": {"id": "association", "context_id": "context", "execution_id": "execution"},
    "attribution": {"id": "attribution", "context_id": "context", "artifact_id": "artifact"},
}


class Nights:
    """Writes nights, one run each, in order."""

    def __init__(self, settings: Settings) -> None:
        pipeline = create_pipeline(settings)
        initialise(settings, [pipeline])
        self._store = MetadataStore(connection_config(settings))
        self._window_nights = settings.window_nights
        self._settings = settings
        self._classes = {node.id: node.type for node in pipeline.components}
        self._types = {
            kind.name: kind.id
            for kind in (
                *self._store.get_artifact_types(),
                *self._store.get_execution_types(),
                *self._store.get_context_types(),
            )
        }
        self._pipeline = mlmd.Context(type_id=self._types["pipeline"], name=names.NIGHTLY_DAG)
        self._pipeline.properties["pipeline_name"].string_value = names.NIGHTLY_DAG
        known = self._store.get_context_by_type_and_name("pipeline", names.NIGHTLY_DAG)
        [self._pipeline.id] = [known.id] if known else self._store.put_contexts([self._pipeline])
        # Ids of the model and of its push, by what the resolver calls them.
        self._champion: dict[str, int] = {}
        self._champion_version = ""
        self._executions = 0

    def write(self, number: int) -> None:
        """Writes the run of the night that is `number` nights after the first."""
        day = FIRST_NIGHT + timedelta(number)
        night = day.isoformat()
        run = self._context("run", f"{names.NIGHTLY_DAG}.scheduled__{night}", run_id=f"scheduled__{night}")
        version = 2 if number % _CORRECTED == 7 else 1
        drops = {
            f"{names.DROP_PREFIX}{FIRST_NIGHT + timedelta(earlier)}": json.dumps(
                {
                    "version": 2 if earlier % _CORRECTED == 7 else 1,
                    "delivered": f"{FIRST_NIGHT + timedelta(earlier)}T20:00:00+00:00",
                    "sha256": f"{earlier:064x}",
                    "rows_in": 430,
                    "rows_used": 420,
                    "rows_quarantined": 8,
                    "duplicates_folded": 2,
                }
            )
            for earlier in range(max(0, number + 1 - self._window_nights), number + 1)
        }
        figures = {names.NIGHT: night, names.ROWS_IN: 5160, names.ROWS_USED: 5040, names.FRESH_ROWS: 84,
                   "train_rows": 4032,
                   "classes": '{"negative": 97, "neutral": 298, "positive": 25}',
                   names.NIGHT_ROWS_IN: 430, names.NIGHT_ROWS_QUARANTINED: 8, "titles": 420, "seen_titles": 40,
                   "relabelled_share": 0.02, "swap_evidence": 0.01,
                   "class_mix_shift": 0.05 + 0.04 * math.sin(number / 9),
                   "not_portuguese_share": 0.01, "unseen_word_share": 0.2, "unseen_word_excess": 0.03,
                   "mean_title_characters": 61.5}  # fmt: skip
        window = self._node(
            run, names.EXAMPLE_GEN, {}, {"examples": "Examples", "quarantine": "Quarantine"},
            {"examples": drops | figures, "quarantine": {"rows": 8, f"{names.REASON_PREFIX}empty title": 8}},
            night=night, fingerprint=f"{number:064x}",
        )  # fmt: skip
        examples = window["examples"]
        statistics = self._node(run, "StatisticsGen", window, {"statistics": "ExampleStatistics"})
        schema = self._node(run, "ImportSchemaGen", {}, {"schema": "Schema"})
        anomalies = self._node(
            run, "ExampleValidator", statistics | schema, {"anomalies": "ExampleAnomalies"},
        )  # fmt: skip
        if number % _FAILED == 11:
            self._gate(run, window | anomalies, "too few headlines")
            return
        self._gate(run, window | anomalies)
        transformed = self._node(run, "Transform", {"examples": examples} | schema, _TRANSFORM_OUTPUTS)
        inputs = {
            "examples": transformed["transformed_examples"],
            "transform_graph": transformed["transform_graph"],
            "source_examples": examples,
        }
        outputs = {"model": "Model", "model_run": "ModelRun"}
        if number % _RETRIED == 3:
            self._node(run, names.TRAINER, inputs, outputs, error="process 4711 on box died")
        origin = {names.NIGHT: night, names.CODE: f"{number // 90:016x}", names.SETTINGS: f"{number // 60:016x}",
                  names.DATA: f"{number:016x}", f"{names.LIBRARY_PREFIX}keras": "3.15.0",
                  f"{names.LIBRARY_PREFIX}tensorflow": "2.16.2"}  # fmt: skip
        attempt = 2 if number % _RETRIED == 3 else 1
        model = self._node(
            run, names.TRAINER, inputs, outputs, {"model": origin}, attempt=attempt, custom_config=f'{{"n": {number}}}'
        )["model"]
        self._node(run, "ChampionResolver", {}, {}, resolved=self._champion)
        blessed = number % _REFUSED != 2
        scores = {name: 0.8 + 0.02 * math.sin(number / 30) for name in _METRICS}
        verdict: dict[str, Any] = {
            **{names.METRIC_PREFIX + name: value for name, value in scores.items()},
            **{names.CHAMPION_METRIC_PREFIX + name: value - 0.01 for name, value in scores.items() if self._champion},
            **{names.LR_METRIC_PREFIX + name: value - 0.005 for name, value in scores.items()},
            **{names.CHECK_PREFIX + name: _CHECK for name in ("accuracy", "macro_f1")},
            names.BLESSED: int(blessed), names.REASON: "blessed" if blessed else "refused: macro_f1",
            names.CHAMPION_VERSION: self._champion_version,
        }  # fmt: skip
        fresh = {
            f"fresh_{prefix}{name}": value - 0.02
            for prefix in (names.CHAMPION_METRIC_PREFIX, names.LR_METRIC_PREFIX)
            for name, value in scores.items()
        }
        baseline = self._node(
            run, "Baseline", {"examples": examples} | self._champion,
            {"answers": names.BASELINE_ANSWERS_TYPE, "fresh_score": names.FRESH_SCORE_TYPE},
            {"fresh_score": {names.FRESH_ROWS: 84} | fresh},
        )  # fmt: skip
        evaluation = self._node(
            run, names.EVALUATOR,
            {"examples": examples, "model": model, "baseline_answers": baseline["answers"]}
            | dict(zip((names.BASELINE_MODEL, names.BASELINE_PUSH), self._champion.values(), strict=False)),
            {"blessing": "ModelBlessing", "evaluation": "ModelEvaluation"}, {"blessing": verdict},
        )  # fmt: skip
        infra = self._node(
            run, "InfraCheck", {"model": model, "examples": examples}, {"blessing": "InfraBlessing"},
            {"blessing": {names.BLESSED: 1}},
        )["blessing"]  # fmt: skip
        pushed_version = str(names.version_of(day, version))
        push = {names.PUSHED: int(blessed), names.NIGHT: night, names.MODEL_ID: model, names.REASON: "because"} | (
            {names.PUSHED_VERSION: pushed_version, "pushed_destination": f"/serving/{pushed_version}"}
            if blessed
            else {}
        )
        pushed_model = self._node(
            run, names.PUSHER, {"model": model, "model_blessing": evaluation["blessing"], "infra_blessing": infra},
            {"pushed_model": "PushedModel"}, {"pushed_model": push}, night=night,
        )["pushed_model"]  # fmt: skip
        if blessed:
            self._champion = {"model": model, "pushed_model": pushed_model}
            self._champion_version = pushed_version

    def _context(self, kind: str, name: str, **properties: str) -> mlmd.Context:
        context = mlmd.Context(type_id=self._types[kind], name=name)
        for key, value in ({"pipeline_name": names.NIGHTLY_DAG} | properties).items():
            context.properties[key].string_value = value
        return context

    def _gate(self, run: mlmd.Context, inputs: dict[str, int], error: str = "") -> None:
        limits = self._settings
        self._node(
            run, names.GATE, inputs, {}, error=error, max_quarantined_share=str(limits.max_quarantined_share),
            min_headlines=str(limits.min_headlines), alarm_limits=limits.alarm_limits.to_json(),
        )  # fmt: skip

    def _node(
        self,
        run: mlmd.Context,
        node: str,
        inputs: dict[str, int],
        outputs: dict[str, str],
        properties: dict[str, dict[str, Any]] | None = None,
        *,
        attempt: int = 1,
        error: str = "",
        resolved: dict[str, int] | None = None,
        **exec_properties: str,
    ) -> dict[str, int]:
        """Writes one attempt of a node, which failed if it has an error; the ids of its outputs by key."""
        run_id = run.properties["run_id"].string_value
        self._executions += 1
        execution = mlmd.Execution(
            type_id=self._types[self._classes[node]],
            last_known_state=mlmd.Execution.FAILED if error else mlmd.Execution.COMPLETE,
        )
        for key, text in (
            {"pipeline_name": names.NIGHTLY_DAG, "pipeline_root": "/pipelines", "run_id": run_id, "component_id": node,
             "state": "failed" if error else "complete"} | exec_properties
        ).items():  # fmt: skip
            execution.properties[key].string_value = text
        execution.custom_properties[names.ATTEMPT].int_value = attempt
        execution.custom_properties[names.HOST].string_value = "box"
        execution.custom_properties[names.PID].int_value = 4711
        execution.custom_properties[names.ENDED].double_value = time.time()
        if error:
            execution.custom_properties[names.ERROR].string_value = error
        if error and node == names.TRAINER:
            # The attempt after it gets the next id: the sequence is this process's alone.
            execution.custom_properties[names.SUPERSEDED_BY].int_value = self._executions + 1
        artifacts: list[mlmd.Artifact] = []
        edges: list[tuple[int, int | None, mlmd.Event]] = []
        for key, identity in inputs.items():
            edges.append((0, None, self._event(mlmd.Event.INPUT, key, identity)))
        for key, identity in (resolved or {}).items():
            edges.append((0, None, self._event(mlmd.Event.OUTPUT, key, identity)))
        for index, (key, kind) in enumerate(outputs.items()):
            artifact = mlmd.Artifact(
                type_id=self._types[kind],
                uri=f"{self._settings.pipeline_root}/{node}/{key}/{self._executions}",
                name=f"{key}:{names.NIGHTLY_DAG}:{self._executions}:0",
                state=mlmd.Artifact.ABANDONED if error else mlmd.Artifact.LIVE,
            )
            for name, value in (properties or {}).get(key, {}).items():
                field = {int: "int_value", float: "double_value", str: "string_value"}[type(value)]
                setattr(artifact.custom_properties[name], field, value)
            artifacts.append(artifact)
            edges.append((0, index, self._event(mlmd.Event.OUTPUT, key)))
        suffix = "" if attempt == 1 else f"#{attempt}"
        place = self._context(
            "component_run", f"{names.NIGHTLY_DAG}.{run_id}.{node}{suffix}", run_id=run_id, component_id=node
        )
        _, artifact_ids, contexts = self._store.put_lineage_subgraph(
            [execution], artifacts, [self._pipeline, run, place], edges, reuse_context_if_already_exist=True
        )
        run.id = contexts[1]
        return dict(zip(outputs, artifact_ids, strict=True))

    def _event(self, kind: int, key: str, artifact_id: int | None = None) -> mlmd.Event:
        event = mlmd.Event(type=kind, artifact_id=artifact_id)
        event.path.steps.add().key = key
        event.path.steps.add().index = 0
        return event


def connect(settings: Settings) -> Any:
    """A connection to MLMD's database, which the caller closes."""
    return psycopg2.connect(
        host=settings.mlmd_host, port=settings.mlmd_port, dbname=settings.mlmd_database, user=settings.mlmd_user,
        password=settings.secret("mlmd_password"),
    )  # fmt: skip


def multiply(settings: Settings, nights: int, times: int) -> None:
    """Makes `times` as many nights of the `nights` there are: copied row by row, under new ids, with their dates moved.

    Through MLMD's API ten times three years would take a quarter of an hour.
    """
    with closing(connect(settings)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_MOVED)
        newest: dict[str, int] = {}
        for table, ids in _TABLES.items():
            if "id" in ids:
                cursor.execute(f"SELECT max(id) FROM {table}")
                newest[table] = cursor.fetchall()[0][0]
        for copy in range(1, times):
            for table, ids in _TABLES.items():
                cursor.execute(f"SELECT * FROM {table} LIMIT 0")
                columns = [column.name for column in cursor.description or ()]
                values = [_moved(table, column, newest, copy, copy * nights) for column in columns]
                key = next(iter(ids))
                cursor.execute(
                    f"INSERT INTO {table} SELECT {', '.join(values)} FROM {table} WHERE {key} <= {newest[ids[key]]}"
                    # The pipeline stays one.
                    + (f" AND {key} <> {_PIPELINE}" if ids[key] == "context" else "")
                )
        for table in newest:
            cursor.execute(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")


_PIPELINE = f"(SELECT id FROM context WHERE name = '{names.NIGHTLY_DAG}')"
# A text with the first date, or the version beginning with one, moved by some days.
_MOVED = r"""
CREATE FUNCTION pg_temp.moved(text, int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN $1 ~ '\d{4}-\d\d-\d\d' THEN replace($1, substring($1 FROM '\d{4}-\d\d-\d\d'),
      (substring($1 FROM '\d{4}-\d\d-\d\d')::date + $2)::text)
    WHEN $1 ~ '(^|/)20\d{8}$' THEN left($1, -10)
      || to_char(to_date(left(right($1, 10), 8), 'YYYYMMDD') + $2, 'YYYYMMDD') || right($1, 2)
    ELSE $1 END
$$"""


def _moved(table: str, column: str, newest: dict[str, int], copy: int, days: int) -> str:
    """What a column of a copied row holds."""
    owner = _TABLES[table].get(column)
    if owner == "context" and table != "context":
        return f"CASE {column} WHEN {_PIPELINE} THEN {column} ELSE {column} + {copy * newest[owner]} END"
    if owner:
        return f"{column} + {copy * newest[owner]}"
    if column == "int_value":
        return (
            f"CASE name WHEN '{names.MODEL_ID}' THEN int_value + {copy * newest['artifact']} "
            f"WHEN '{names.SUPERSEDED_BY}' THEN int_value + {copy * newest['execution']} ELSE int_value END"
        )
    if (table, column) == ("artifact", "name"):
        return f"name || ':{copy}'"
    if column in ("name", "string_value"):
        return f"pg_temp.moved({column}, {days})"
    return column
