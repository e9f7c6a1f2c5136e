"""One night, and the rows it put aside."""

from datetime import date, timedelta

import lineage
from headlines.names import EXAMPLE_GEN
from lineage import ArtifactRecord, Reader, UnknownError
from retraining.web import documents
from retraining.web.page import Page, check_night, find_refresh


def night(reader: Reader, name: str) -> Page:
    """A night: its drop, every attempt of every run, and what the data of its newest run looked like."""
    detail = _night_detail(reader, name)
    artifacts = _newest_outputs(reader, detail)
    described = documents.statistics(artifacts.get(("StatisticsGen", "statistics")))
    return {
        "night": detail,
        "scores": lineage.scores(reader, name),
        "most": lineage.MOST_SCORINGS,
        "before": _neighbour(name, -1),
        "after": _neighbour(name, 1),
        "mixes": documents.class_mixes(artifacts.get((EXAMPLE_GEN, "examples")), described),
        "statistics": described,
        "anomalies": documents.anomalies(artifacts.get(("ExampleValidator", "anomalies"))),
        "quarantine": documents.count_reasons(artifacts.get((EXAMPLE_GEN, "quarantine")), name),
        # Of what was removed the page says so, where it would otherwise say that it is not known.
        "removals": {
            "statistics": documents.tell_removal(artifacts.get(("StatisticsGen", "statistics"))),
            "examples": documents.tell_removal(artifacts.get((EXAMPLE_GEN, "examples"))),
        },
        "refresh_seconds": find_refresh([_find_state(detail)]),
    }


def quarantine(reader: Reader, name: str, page: int, search: str, reason: str, of: str) -> Page:
    """The rows that the newest run of a night put aside, each with its reason.

    Args:
      reader: of lineage.
      name: the night.
      page: from 1.
      search: only the rows that hold it; empty for all.
      reason: only the rows that were put aside for it; empty for all.
      of: only the rows of this night's drop; `window` for those of all nights that the run trained on.
    """
    detail = _night_detail(reader, name)
    entries = documents.quarantined_rows(_newest_outputs(reader, detail).get((EXAMPLE_GEN, "quarantine")))
    chosen = [row for row in entries or () if of in ("window", row["night"]) and reason in ("", row["reason"])]
    return {
        "night": name,
        "is_known": entries is not None,
        "reasons": sorted({row["reason"] for row in entries or ()}),
        "reason": reason,
        "of": of,
        "nights": sorted({row["night"] for row in entries or ()} | {name}, reverse=True),
        **documents.select(chosen, page, search),
    }


def _night_detail(reader: Reader, name: str) -> lineage.NightDetail:
    """What lineage knows of a night; of one that was never run, who was champion."""
    check_night(name)
    try:
        return lineage.night_detail(reader, name)
    except UnknownError:
        before = lineage.champion_as_of(reader, name)
        version = before.version if before else None
        notes = lineage.notes(reader, name, name)
        return lineage.NightDetail(name, None, (), (), version, version, (), notes=notes)


def _find_state(detail: lineage.NightDetail) -> str:
    """How the night stands; `running` also while a run goes on behind its verdict."""
    state = detail.summary.state if detail.summary else ""
    if state in lineage.VERDICTS and any(run.is_active for run in detail.scheduled):
        return "running"
    return state


def _newest_outputs(reader: Reader, detail: lineage.NightDetail) -> dict[tuple[str, str], ArtifactRecord]:
    return lineage.artifacts_of_run(reader, detail.runs[-1].report.run_id).outputs if detail.runs else {}


def _neighbour(name: str, days: int) -> str | None:
    """The night so many days away; None beyond the first and the last day that can be written."""
    try:
        return (date.fromisoformat(name) + timedelta(days=days)).isoformat()
    except OverflowError:
        return None
