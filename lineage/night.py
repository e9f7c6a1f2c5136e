"""A night in full: its drop, every attempt of every node of every run, the champions before and after, its models."""

from lineage.calendar import calendar, find_drop_versions, report_night
from lineage.champions import champion_as_of
from lineage.drift import read_gate, read_traffic
from lineage.models import next_night, read_drops, summarise
from lineage.notes import notes
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import OUTPUT, RECORDED, artifacts_of_run, find_executions, read_executions
from lineage.records import DropUse, ExecutionRecord, ModelSummary, NightDetail, RunDetail
from lineage.rulings import rulings
from lineage.runs import find_runs, report_runs, tell_nights


def night_detail(source: Source, night: str) -> NightDetail:
    """Everything about a night.

    Raises:
      UnknownError: it is no night of the calendar: before the first that was ever run, or after the last and not due.
    """
    with open_lineage(source) as reader:
        runs = find_runs(reader, night, night)
        summary = next(iter(calendar(reader, night, night)), None)
        scheduled = reader.scheduling.runs(night, night).get(night, []) if reader.scheduling else []
        if not (runs or scheduled or summary):
            raise UnknownError(f"night {night} was never run; {tell_nights(reader)}")
        attempts = [tuple(read_executions(reader, find_executions(reader, run.run_id)).values()) for run in runs]
        before, after = champion_as_of(reader, night), champion_as_of(reader, next_night(night))
        reports = report_runs(reader, runs)
        return NightDetail(
            night,
            _find_drop(reader, runs[-1].run_id, night) if runs else None,
            tuple(sorted(find_drop_versions(reader, night, night).get(night, ()))),
            tuple(map(RunDetail, reports, attempts)),
            before.version if before else None,
            after.version if after else None,
            _models_of(reader, attempts),
            tuple(scheduled),
            summary,
            report_night(summary, reports[-1] if reports else None) if summary else None,
            read_gate(reader, attempts[-1]) if attempts else None,
            read_traffic(reader, attempts[-1]) if attempts else None,
            notes(reader, night, night),
            rulings(reader, night, night),
        )


def _find_drop(reader: Reader, run_id: str, night: str) -> DropUse | None:
    examples = artifacts_of_run(reader, run_id).outputs.get((reader.names.example_gen, "examples"))
    drops = read_drops(examples, reader.names.drop) if examples else []
    return next((drop for drop in drops if drop.night == night), None)


def _models_of(reader: Reader, attempts: list[tuple[ExecutionRecord, ...]]) -> tuple[ModelSummary, ...]:
    ids = reader.column(
        "SELECT DISTINCT a.id FROM event ev JOIN artifact a ON a.id = ev.artifact_id AND a.type_id IN :types "
        "AND a.state IN :recorded WHERE ev.type = :output AND ev.execution_id IN :executions",
        types=reader.types("Model"),
        recorded=RECORDED,
        output=OUTPUT,
        executions=[attempt.id for own in attempts for attempt in own],
    )
    # What a resolver found, or the cache answered with, was made by another run.
    own_runs = {attempt.run_id for own in attempts for attempt in own}
    models = summarise(reader, ids).values()
    return tuple(sorted((model for model in models if model.run_id in own_runs), key=lambda model: model.id))
