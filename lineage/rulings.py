"""Rulings on drops, by DropGate and by people, and what a run would keep to of them."""

from collections.abc import Collection
from datetime import datetime

from headlines.drops.rulings import DROPS_DIR_PROPERTY, Codes, Precedents, Ruling, find_refused
from headlines.names import ABOUT_NIGHT, LABEL_CODES, RULING_TYPE
from lineage.reader import Reader, Source, open_lineage
from lineage.reading import LIVE, read_artifacts, read_drop
from lineage.runs import NEVER


def rulings(source: Source, first: str | None = None, last: str | None = None) -> tuple[Ruling, ...]:
    """The rulings on the drops of the nights from `first` to `last`, newest first, whichever pipeline's: drops are of
    none.
    """
    with open_lineage(source) as reader:
        ids = reader.column(
            "SELECT a.id FROM artifact a JOIN artifactproperty n ON n.artifact_id = a.id AND n.name = :night "
            "AND n.string_value BETWEEN :first AND :last WHERE a.type_id IN :types AND a.state = :live "
            "ORDER BY a.id DESC",
            types=reader.types(RULING_TYPE),
            live=LIVE,
            night=ABOUT_NIGHT,
            first=first or "",
            last=last or NEVER,
        )
        records = read_artifacts(reader, ids)
    return tuple(Ruling.from_properties(identity, records[identity].properties) for identity in ids)


def find_precedents(
    source: Source, drops_dir: str, nights: Collection[str], known_by: datetime | None = None
) -> Precedents:
    """What a run would keep to of what was decided of drops, as the driver of HeadlineExampleGen finds it.

    Args:
      source: of lineage.
      drops_dir: where the drops are; the codes of versions of another folder say nothing of this one's.
      nights: of the window.
      known_by: rulings made after this moment are not looked at.
    """
    with open_lineage(source) as reader:
        refused = find_refused(rulings(reader), known_by)
        return Precedents(
            tuple(ruling for ruling in refused if ruling.night in nights), _read_codes(reader, drops_dir, nights)
        )


def _read_codes(reader: Reader, drops_dir: str, nights: Collection[str]) -> dict[tuple[str, int], Codes]:
    prefix = reader.names.drop
    # Every window that a drop is in describes it; few descriptions differ.
    rows = reader.rows(
        "SELECT p.name, p.string_value, min(p.artifact_id) FROM artifactproperty p JOIN artifactproperty d "
        "ON d.artifact_id = p.artifact_id AND d.name = :place AND d.string_value = :folder "
        "JOIN artifact a ON a.id = p.artifact_id AND a.type_id IN :types WHERE p.name IN :names "
        "GROUP BY p.name, p.string_value ORDER BY 3",
        place=DROPS_DIR_PROPERTY,
        folder=drops_dir,
        types=reader.types("Examples"),
        names=[f"{prefix}{night}" for night in nights],
    )
    codes: dict[tuple[str, int], Codes] = {}
    for name, text, _ in rows:
        drop = read_drop(text)
        # Examples from before codes were kept say nothing of them.
        if drop and LABEL_CODES in drop:
            codes.setdefault((name.removeprefix(prefix), drop["version"]), drop[LABEL_CODES])
    return {key: used for key, used in codes.items() if used}
