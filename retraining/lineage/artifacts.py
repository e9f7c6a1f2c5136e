"""What one run took and made: its artifacts, by component and key, with where they are and what is recorded on them.

Nothing here knows what a property means.
"""

from dataclasses import dataclass

from retraining.lineage.connection import connect
from retraining.settings import Settings


@dataclass(frozen=True)
class ArtifactRecord:
    """An artifact as the run knew it; every property as text."""

    id: int
    uri: str
    properties: dict[str, str]


@dataclass(frozen=True)
class RunArtifacts:
    """The artifacts of the attempts that count of a run, by `(component, key)`."""

    inputs: dict[tuple[str, str], ArtifactRecord]
    outputs: dict[tuple[str, str], ArtifactRecord]


_ARTIFACTS = """
SELECT ev.type IN (4, 6), component.string_value, path.step_key, a.id, a.uri
FROM contextproperty run
JOIN context c ON c.id = run.context_id
JOIN type t ON t.id = c.type_id AND t.name = 'run'
JOIN association s ON s.context_id = c.id
JOIN execution e ON e.id = s.execution_id AND e.last_known_state IN (3, 5)
JOIN executionproperty component ON component.execution_id = e.id AND component.name = 'component_id'
JOIN event ev ON ev.execution_id = e.id
JOIN eventpath path ON path.event_id = ev.id AND NOT path.is_index_step
JOIN artifact a ON a.id = ev.artifact_id
LEFT JOIN executionproperty superseded
  ON superseded.execution_id = e.id AND superseded.name = 'superseded_by' AND superseded.is_custom_property
WHERE run.name = 'run_id' AND run.string_value = %(run_id)s AND superseded.execution_id IS NULL
ORDER BY e.id, a.id
"""
_PROPERTIES = """
SELECT artifact_id, name, coalesce(string_value, int_value::text, double_value::text)
FROM artifactproperty WHERE artifact_id = ANY(%(artifacts)s)
"""


def artifacts_of_run(settings: Settings, run_id: str) -> RunArtifacts:
    """Reads the artifacts of a run; of several under one key the last.

    Args:
      settings: where lineage is.
      run_id: Airflow's run id.

    Raises:
      LineageError: the database cannot be read.
    """
    with connect(settings) as opened, opened.cursor() as cursor:
        cursor.execute(_ARTIFACTS, {"run_id": run_id})
        rows = cursor.fetchall()
        cursor.execute(_PROPERTIES, {"artifacts": [row[3] for row in rows]})
        properties: dict[int, dict[str, str]] = {}
        for identity, name, value in cursor.fetchall():
            properties.setdefault(identity, {})[name] = value
    found = RunArtifacts({}, {})
    for is_output, component, key, identity, uri in rows:
        place = found.outputs if is_output else found.inputs
        place[component, key] = ArtifactRecord(identity, uri, properties.get(identity, {}))
    return found
