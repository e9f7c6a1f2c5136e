"""What no run answers for: artifacts and executions that something left behind."""

from headlines.names import SUPERSEDED_BY
from lineage.reader import Source, open_lineage
from lineage.reading import ABANDONED, ENDED_BADLY, OUTPUT, RESOLVER, read_artifacts, read_executions
from lineage.records import Orphans


def orphans(source: Source) -> Orphans:
    """Artifacts that nothing made and executions that belong to no run, but for those known to be abandoned."""
    with open_lineage(source) as reader:
        artifacts = reader.column(
            "SELECT a.id FROM artifact a WHERE (a.state IS NULL OR NOT a.state = :abandoned) AND NOT EXISTS "
            "(SELECT 1 FROM event ev JOIN execution e ON e.id = ev.execution_id AND NOT e.last_known_state IN :failed "
            "AND NOT e.type_id IN :resolvers WHERE ev.artifact_id = a.id AND ev.type = :output) ORDER BY a.id",
            abandoned=ABANDONED,
            failed=ENDED_BADLY,
            resolvers=reader.types(RESOLVER),
            output=OUTPUT,
        )
        executions = reader.column(
            "SELECT e.id FROM execution e WHERE NOT EXISTS (SELECT 1 FROM association s JOIN context c "
            "ON c.id = s.context_id AND c.type_id IN :types WHERE s.execution_id = e.id) "
            "OR (e.last_known_state IN :unfinished AND EXISTS (SELECT 1 FROM executionproperty x "
            "WHERE x.execution_id = e.id AND x.name = :superseded)) ORDER BY e.id",
            superseded=SUPERSEDED_BY,
            types=[*reader.run_types, *reader.types("pipeline")],
            unfinished=[0, 1, 2],
        )
        return Orphans(
            tuple(read_artifacts(reader, artifacts).values()), tuple(read_executions(reader, executions).values())
        )
