"""MLMD's rows as records: artifacts, attempts of nodes with where they belong, and the events between them."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headlines.names import ATTEMPT, ENDED, ERROR, EXECUTION_RESULT, PID, REMOVED_BYTES, SUPERSEDED_BY
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.records import ArtifactRecord, ExecutionDetail, ExecutionRecord, RunArtifacts

_EXECUTION_STATES = ("unknown", "new", "running", "complete", "failed", "cached", "canceled")
_ARTIFACT_STATES = ("unknown", "pending", "live", "marked_for_deletion", "deleted", "abandoned", "reference")
# The numbers of Execution.State, Artifact.State and Event.Type in metadata_store.proto.
COMPLETE, FAILED, CACHED, CANCELED = 3, 4, 5, 6
ENDED_BADLY = frozenset((FAILED, CANCELED))
LIVE, DELETED, ABANDONED = 2, 4, 5
RECORDED = (LIVE, DELETED)
"""The states of what an attempt that finished has made, be its files there or removed since."""
INPUT, OUTPUT, INTERNAL_OUTPUT = 3, 4, 6
_ERROR_CHARACTERS = 1000
# With which Python tells an error: its module and class.
_ERROR_CLASS = re.compile(r"^(?:\w+\.)*[A-Z]\w*: ")
RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
"""Type of resolver executions; AirflowDagRunner's write what they resolved as their outputs, so no path uses them."""


@dataclass(frozen=True)
class Link:
    """That an execution took (or made, if `is_output`) an artifact under `key`."""

    execution_id: int
    artifact_id: int
    is_output: bool
    key: str


def count_removed(source: Source) -> tuple[int, int]:
    """How many artifacts retention has removed the files of, and how many bytes that freed."""
    with open_lineage(source) as reader:
        [(number, size)] = reader.rows(
            "SELECT count(*), sum(double_value) FROM artifactproperty WHERE name = :name", name=REMOVED_BYTES
        )
        return int(number), int(size or 0)


def read_artifacts(reader: Reader, ids: Collection[int]) -> dict[int, ArtifactRecord]:
    """Artifacts with all their properties, by id."""
    if not ids:
        return {}
    properties = _properties(reader, "artifact", ids)
    return {
        identity: ArtifactRecord(
            identity,
            uri or "",
            properties.get(identity, {}),
            reader.type_name(type_id),
            _ARTIFACT_STATES[state or 0],
            moment(created),
        )
        for identity, type_id, uri, state, created in reader.rows(
            "SELECT id, type_id, uri, state, create_time_since_epoch FROM artifact WHERE id IN :ids ORDER BY id",
            ids=ids,
        )
    }


def read_executions(reader: Reader, ids: Collection[int]) -> dict[int, ExecutionRecord]:
    """Attempts with all their properties, by id, in the order in which they began."""
    if not ids:
        return {}
    properties = _properties(reader, "execution", ids)
    places = read_places(reader, ids)
    records = {}
    for identity, type_id, number, created, updated in reader.rows(
        "SELECT id, type_id, last_known_state, create_time_since_epoch, last_update_time_since_epoch "
        "FROM execution WHERE id IN :ids ORDER BY id",
        ids=ids,
    ):
        state = _EXECUTION_STATES[number or 0]
        own = properties.get(identity, {})
        superseded_by = int(own[SUPERSEDED_BY]) if SUPERSEDED_BY in own else None
        records[identity] = ExecutionRecord(
            identity,
            reader.type_name(type_id),
            *places.get(identity, ("", "", "")),
            state,
            int(own.get(ATTEMPT, 1)),
            superseded_by,
            read_error(own),
            moment(created),
            _find_end(state, own, updated),
            own,
        )
    return records


def _find_end(state: str, own: dict[str, str], updated: int) -> datetime | None:
    """When an attempt ended, as it recorded itself; None where nobody saw it.

    The last update is no end where others wrote it: who took the attempt's place, or who found its process gone. The
    events of its outputs are none either: TFX writes them when it registers the execution.
    """
    if state in ("unknown", "new", "running"):
        return None
    if ENDED in own:
        return datetime.fromtimestamp(float(own[ENDED]), UTC)
    is_ours, is_finished = PID in own or ERROR in own, state in ("complete", "cached")
    return None if SUPERSEDED_BY in own or (is_ours and not is_finished) else moment(updated)


def read_places(reader: Reader, ids: Collection[int]) -> dict[int, tuple[str, str, str]]:
    """Of each execution its pipeline, run id and node, as far as its contexts tell."""
    names: dict[int, dict[str, str]] = {}
    kinds = {**dict.fromkeys(reader.run_types, "run"), **dict.fromkeys(reader.node_types, "node")}
    kinds |= dict.fromkeys(reader.types("pipeline"), "pipeline")
    for execution, type_id, name in reader.rows(
        "SELECT s.execution_id, c.type_id, c.name FROM association s JOIN context c ON c.id = s.context_id "
        "WHERE s.execution_id IN :ids AND c.type_id IN :kinds",
        ids=ids,
        kinds=list(kinds),
    ):
        names.setdefault(execution, {})[kinds[type_id]] = name
    return {execution: _place(**named) for execution, named in names.items()}


def _place(pipeline: str = "", run: str = "", node: str = "") -> tuple[str, str, str]:
    # AirflowDagRunner: `<pipeline>.<run id>` and `<pipeline>.<run id>.<node>`, with `#2` behind it on a second attempt.
    # LocalDagRunner: the run id, and `<pipeline>.<node>`.
    for prefix in (f"{run}.", f"{pipeline}."):
        if node.startswith(prefix):
            node = node.removeprefix(prefix).partition("#")[0]
            break
    return pipeline, run.removeprefix(f"{pipeline}."), node


def read_links(reader: Reader, *, executions: Collection[int] = (), artifacts: Collection[int] = ()) -> list[Link]:
    """What the executions took and made, or who took and made the artifacts, in the order of the events."""
    chosen, ids = ("execution_id", executions) if executions else ("artifact_id", artifacts)
    return [
        Link(execution, artifact, kind in (OUTPUT, INTERNAL_OUTPUT), key or "")
        for execution, artifact, kind, key in reader.rows(
            "SELECT ev.execution_id, ev.artifact_id, ev.type, p.step_key FROM event ev "
            "LEFT JOIN eventpath p ON p.event_id = ev.id AND NOT p.is_index_step "
            f"WHERE ev.{chosen} IN :ids ORDER BY ev.id",
            ids=ids,
        )
    ]


def read_properties(reader: Reader, ids: Collection[int], names: Collection[str]) -> dict[int, dict[str, str]]:
    """Some properties of artifacts, by id."""
    return _properties(reader, "artifact", ids, names)


def _properties(
    reader: Reader, kind: str, ids: Collection[int], names: Collection[str] | None = None
) -> dict[int, dict[str, str]]:
    rows = reader.rows(
        f"SELECT {kind}_id, name, string_value, int_value, double_value, bool_value FROM {kind}property "
        f"WHERE {kind}_id IN :ids" + (" AND name IN :names" if names is not None else ""),
        ids=ids,
        names=list(names or ()),
    )
    texts: dict[int, dict[str, str]] = {}
    for identity, name, *values in rows:
        if (text := as_text(values)) is not None:
            texts.setdefault(identity, {})[name] = text
    return texts


def read_error(properties: Mapping[str, str]) -> str | None:
    """Why an attempt failed, in one line: as our launcher records it, or LocalDagRunner; None if it says no reason."""
    if ERROR in properties:
        return properties[ERROR]
    text = properties.get(EXECUTION_RESULT, "")
    result = read_object(text)
    # A database that takes no longer text has cut it off, and it is no JSON then.
    message = str(result.get("resultMessage", "")) if result or text == "{}" else text
    if not message and result.get("code"):
        return f"it ended with code {result['code']}"
    message = " ".join((_summarise_traceback(message) or message).split())
    return (message if len(message) <= _ERROR_CHARACTERS else f"{message[:_ERROR_CHARACTERS]}...") or None


def _summarise_traceback(text: str) -> str:
    """The error that a traceback ends with, and the one that it came from; empty for what is no traceback."""
    _, *tracebacks = text.split("Traceback (most recent call last):")
    errors = []
    for one in tracebacks[-2:]:
        # What is not indented is the error itself, and then a sentence that leads to the next one.
        lines = one.partition("\nThe above exception")[0].partition("\nDuring handling")[0].splitlines()
        last = max((number for number, line in enumerate(lines) if line.startswith(" ")), default=0)
        errors.append(_ERROR_CLASS.sub("", "\n".join(lines[last + 1 :]).strip()))
    return ": ".join(filter(None, reversed(errors)))


def read_object(text: str | None) -> dict[str, Any]:
    """A property that is written as a JSON object; empty for what is none, such as another pipeline's `null`."""
    try:
        value = json.loads(text or "null")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def read_drop(text: str | None) -> dict[str, Any] | None:
    """What examples say of a drop in them; None where it names no version, and so is no drop of this project's kind."""
    drop = read_object(text)
    return drop if isinstance(drop.get("version"), int) else None


def as_text(values: Iterable[Any]) -> str | None:
    """The value that is set of a property's columns."""
    return next((str(value) for value in values if value is not None), None)


def moment(milliseconds: int) -> datetime:
    """MLMD's milliseconds since the epoch as UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def artifacts_of_run(source: Source, run_id: str) -> RunArtifacts:
    """The artifacts that the attempts that count of a run took and made; of several under one key the last."""
    with open_lineage(source) as reader:
        attempts = read_executions(reader, find_executions(reader, run_id))
        counting = {identity: attempt for identity, attempt in attempts.items() if attempt.counts}
        links = read_links(reader, executions=list(counting)) if counting else []
        artifacts = read_artifacts(reader, {link.artifact_id for link in links})
    record = RunArtifacts({}, {})
    for link in links:
        side = record.outputs if link.is_output else record.inputs
        side[counting[link.execution_id].node, link.key] = artifacts[link.artifact_id]
    return record


def find_executions(reader: Reader, run_id: str) -> list[int]:
    """The executions of a run of the pipeline, oldest first; none if there is no such run."""
    return reader.column(
        "SELECT DISTINCT s.execution_id FROM context c JOIN association s ON s.context_id = c.id "
        "WHERE c.type_id IN :types AND c.name IN :names AND EXISTS (SELECT 1 FROM association p "
        "WHERE p.execution_id = s.execution_id AND p.context_id IN :pipelines) ORDER BY 1",
        types=reader.run_types,
        names=[f"{reader.names.pipeline}.{run_id}", run_id],
        pipelines=reader.pipelines,
    )


def find_execution(source: Source, run_id: str, node: str) -> ExecutionRecord:
    """The newest attempt of a node in a run.

    Raises:
      UnknownError: the node has no attempt in such a run.
    """
    with open_lineage(source) as reader:
        attempts = read_executions(reader, find_executions(reader, run_id)).values()
    own = [attempt for attempt in attempts if attempt.node == node]
    if not own:
        nodes = ", ".join(sorted({attempt.node for attempt in attempts}))
        raise UnknownError(
            f"run {run_id!r} has no attempt of {node!r}"
            + (f"; it has {nodes}" if nodes else f": lineage knows no such run of {reader.names.pipeline}")
        )
    return own[-1]


def execution_detail(source: Source, execution_id: int) -> ExecutionDetail:
    """An attempt with what it took and made.

    Raises:
      UnknownError: no such execution.
    """
    with open_lineage(source) as reader:
        records = read_executions(reader, [execution_id])
        if not records:
            [newest] = reader.column("SELECT max(id) FROM execution")
            raise UnknownError(f"lineage knows no execution {execution_id}; the newest is {newest or 'none'}")
        links = read_links(reader, executions=[execution_id])
        artifacts = read_artifacts(reader, {link.artifact_id for link in links})
    sides = [
        tuple((link.key, artifacts[link.artifact_id]) for link in links if link.is_output is is_output)
        for is_output in (False, True)
    ]
    return ExecutionDetail(records[execution_id], *sides)
