"""The read side: MLMD's tables, in Postgres or an SQLite file, answer questions with plain dataclasses.

Where Airflow's database is known too, it is a second source of what became of nights.
Every question takes its source first, and raises LineageError when that cannot be read. A night is `YYYY-MM-DD`;
`first` and `last` bound the nights that are asked for, `newest` and `limit` how many; None for no bound.
"""

from headlines.bar.checks import Check
from headlines.drops.rulings import Ruled, Ruling
from headlines.notes import Note
from headlines.pushes.champion import Rollback
from lineage.calendar import calendar, find_gaps, find_obstacle, find_paused, gaps, latest
from lineage.champions import champion_as_of, pushed_versions, reigns, rollbacks, serving_version
from lineage.compare import compare
from lineage.database import LineageError
from lineage.drift import drift, list_series
from lineage.graph import graph, to_dot
from lineage.history import check_history, checks, metric_history, metrics
from lineage.model_list import list_models
from lineage.models import (
    drops_of_model,
    find_model,
    model_detail,
    models,
    name_model,
    path_back,
    serving_now,
    tell_occasion,
)
from lineage.night import night_detail
from lineage.notes import count_notes, notes
from lineage.orphans import orphans
from lineage.pipeline_names import OURS, Names
from lineage.pipelines import find_names, pipelines
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import artifacts_of_run, count_removed, execution_detail, find_execution
from lineage.recall import drops, recall
from lineage.records import (
    ArtifactRecord,
    CheckHistory,
    CheckPoint,
    Comparison,
    Difference,
    Dispatch,
    DropFile,
    DropUse,
    Edge,
    ExecutionDetail,
    ExecutionRecord,
    Gap,
    Graph,
    Happening,
    History,
    LeftOut,
    ListedModel,
    ModelDetail,
    ModelList,
    ModelState,
    ModelSummary,
    NightDetail,
    NightReport,
    NightSummary,
    Node,
    Orphans,
    Paired,
    PairedMetric,
    PipelineSummary,
    Point,
    Recall,
    Reign,
    RunArtifacts,
    RunDetail,
    RunSummary,
    ScheduledRun,
    ScheduledTask,
    Serving,
    Taint,
    Way,
)
from lineage.rulings import find_precedents, rulings
from lineage.runs import (
    find_ends,
    find_finished,
    find_night,
    find_night_of_execution,
    nights,
    run_report,
    runs,
    runs_of_night,
)
from lineage.scores import MOST_SCORINGS, scores
from lineage.searches import MOST_SEARCHES, find_search, searches
from lineage.shape import VERSION, to_json
from lineage.side_records import Drift, GateReport, NightMeasures, ScoredNight, Scoring, Search, Series, TrafficReport
from lineage.standing import VERDICTS
