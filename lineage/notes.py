"""Notes that people wrote on nights and versions."""

from headlines.names import ABOUT_NIGHT, NOTE_TYPE
from headlines.notes import Note, pair
from lineage.reader import Source, open_lineage
from lineage.reading import LIVE, read_artifacts
from lineage.runs import NEVER


def notes(source: Source, first: str | None = None, last: str | None = None) -> tuple[Note, ...]:
    """The notes on nights and their versions, newest first, withdrawn ones among them."""
    with open_lineage(source) as reader:
        ids = reader.column(
            "SELECT a.id FROM artifact a JOIN artifactproperty n ON n.artifact_id = a.id AND n.name = :night "
            "AND n.string_value BETWEEN :first AND :last WHERE a.type_id IN :types AND a.state = :live "
            "AND EXISTS (SELECT 1 FROM attribution p WHERE p.artifact_id = a.id AND p.context_id IN :pipelines) "
            "ORDER BY a.id",
            types=reader.types(NOTE_TYPE),
            live=LIVE,
            night=ABOUT_NIGHT,
            first=first or "",
            last=last or NEVER,
            pipelines=reader.pipelines,
        )
        records = read_artifacts(reader, ids).values()
    return pair(Note.from_properties(record.id, record.properties) for record in records)


def count_notes(source: Source, first: str | None = None, last: str | None = None) -> dict[str, int]:
    """How many notes stand on each night and its versions; nights without any are left out."""
    counts: dict[str, int] = {}
    for note in notes(source, first, last):
        if note.withdrawal is None:
            counts[note.night] = counts.get(note.night, 0) + 1
    return counts
