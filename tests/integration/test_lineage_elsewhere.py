"""The same questions of other lineage: SQLite files of LocalDagRunner, stock pipelines, rollbacks, broken databases."""

import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from launching import NAME as TINY
from launching import Make, Use, launch, pipeline
from lineage_story import NAME, NAMES, Story
from lineage_story import nodes as story_nodes
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from pydantic import SecretStr
from rich.console import Console
from tfx import v1 as tfx
from tfx.orchestration.pipeline import Pipeline

import lineage
from lineage import LineageError, Names, Reader, open_lineage
from retraining.cli.lineage_tables import render_comparison
from retraining.pipelines.mlmd import initialise
from retraining.recording.store import connection_config
from retraining.settings import Settings
from retraining.web import pages

FIRST, SECOND, THIRD = "2022-02-01", "2022-02-02", "2022-02-03"


def run_locally(place: Path, night: str, drops: dict[str, int]) -> Path:
    """Runs a night of the story under LocalDagRunner."""
    file = place / "mlmd.sqlite"
    tfx.orchestration.LocalDagRunner().run(
        Pipeline(
            NAME,
            str(place / "pipelines"),
            components=story_nodes(night, drops),
            enable_cache=True,
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(file)),
        )
    )
    return file


def test_an_sqlite_file_of_local_dag_runner_answers_the_same_questions(tmp_path: Path) -> None:
    run_locally(tmp_path, FIRST, {FIRST: 1})
    run_locally(tmp_path, SECOND, {FIRST: 1, SECOND: 1})
    # The cache answers this one.
    file = run_locally(tmp_path, SECOND, {FIRST: 1, SECOND: 1})
    with open_lineage(file, NAMES) as told:
        assert [(report.night, report.state, report.drop_version) for report in lineage.nights(told)] == [
            (FIRST, "pushed", 1), (SECOND, "pushed", 1),
        ]  # fmt: skip
        assert [cell.runs for cell in lineage.calendar(told)] == [1, 2]
        serving = lineage.serving_now(told)
        assert serving is not None and serving.before is not None
        assert (serving.version, serving.before.version) == (2022020201, 2022020101)
        assert [drop.night for drop in serving.drops] == [FIRST, SECOND]
        steps = {(edge.source.partition(":")[0], edge.label) for edge in serving.path.edges}
        assert ("drop", "drop") in steps
        recall = lineage.recall(told, FIRST)
        assert {taint.model.versions: set(taint.ways) for taint in recall.taints} == {
            (2022020101,): {"trained-on", "vocabulary"},
            (2022020201,): {"trained-on", "vocabulary", "judged-against"},
        }
        assert recall.is_serving
        cached = [one.node for one in lineage.night_detail(told, SECOND).runs[-1].executions if one.state == "cached"]
        assert {"HeadlineExampleGen", "Transform", "Trainer"} <= set(cached)
        assert [point.candidate for point in lineage.metric_history(told, "accuracy").points] == [0.8, 0.8]
        assert lineage.orphans(told) == lineage.Orphans((), ())
        assert lineage.compare(told, FIRST, SECOND).data != ()
        assert lineage.graph(told).nodes
        with pytest.raises(LineageError, match="readonly"):
            told.rows("DELETE FROM artifact RETURNING id")


def signs_before_digits_before_letters(text: str) -> Any:
    return [(one.isalpha(), one.isdigit(), one.casefold()) for one in text], text


def signs_only_to_break_ties(text: str) -> Any:
    return [one.casefold() for one in text if one.isalnum()], text


@pytest.mark.parametrize("order", [signs_before_digits_before_letters, signs_only_to_break_ties])
def test_answers_are_the_same_where_the_database_sorts_text_as_a_language_does(
    order: Callable[[str], Any], tmp_path: Path
) -> None:
    run_locally(tmp_path, FIRST, {FIRST: 1})
    file = run_locally(tmp_path, SECOND, {FIRST: 1, SECOND: 1})

    def ask(told: Reader) -> tuple[object, ...]:
        return (
            lineage.metrics(told), lineage.metric_history(told, "accuracy", FIRST, SECOND), lineage.drops(told),
            lineage.checks(told), lineage.check_history(told, "accuracy", FIRST, SECOND), lineage.list_models(told),
            lineage.calendar(told, FIRST, SECOND), lineage.night_detail(told, FIRST), lineage.reigns(told),
            lineage.champion_as_of(told, SECOND), lineage.serving_now(told), lineage.recall(told, FIRST),
        )  # fmt: skip

    with open_lineage(file, NAMES) as told:
        answers = ask(told)
    assert answers[0] == answers[3] == ("accuracy",)
    with closing(sqlite3.connect(file)) as connection:
        connection.create_collation("people", lambda a, b: (order(a) > order(b)) - (order(a) < order(b)))
        for table in ("artifactproperty", "executionproperty"):
            columns = [f"{name} {kind} COLLATE people" for _, name, kind, *_ in
                       connection.execute(f"PRAGMA table_info({table})")]  # fmt: skip
            connection.execute(f"CREATE TABLE sorted ({', '.join(columns)})")
            connection.execute(f"INSERT INTO sorted SELECT * FROM {table}")
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE sorted RENAME TO {table}")
        for name in ("Metric:fame", "Check:fame", "checked", f"Drop:{FIRST}"):
            connection.execute(
                "INSERT INTO artifactproperty (artifact_id, name, is_custom_property, string_value) "
                "VALUES (1, ?, 1, 'of another pipeline')",
                [name],
            )
        assert ask(Reader(connection.cursor(), str(file), NAMES)) == answers


def test_a_file_that_is_none_of_mlmd_s_says_so(tmp_path: Path) -> None:
    with pytest.raises(LineageError, match="there is no MLMD file"), open_lineage(tmp_path / "none.sqlite"):
        pass
    (tmp_path / "text").write_text("no database at all, but long enough for a header to be looked for in it " * 20)
    with pytest.raises(LineageError, match="file is not a database"), open_lineage(tmp_path / "text"):
        pass
    (tmp_path / "empty").touch()
    with pytest.raises(LineageError, match="holds no MLMD tables"), open_lineage(tmp_path / "empty"):
        pass


def test_a_pipeline_without_nights_and_drops_is_read_by_its_own_names(settings: Settings) -> None:
    make = Make()
    launch(settings, make)
    launch(settings, Use(model=make.outputs["model"]))
    with open_lineage(settings, Names(pipeline=TINY, trainer="Make", pusher="Use")) as told:
        [model] = lineage.models(told)
        assert (model.run_id, model.night) == ("run-1", "")
        path = lineage.path_back(told, f"#{model.id}")
        assert [node.type for node in path.nodes] == ["Model", "PushedModel"]
        assert lineage.serving_now(told) is None
        assert lineage.champion_as_of(told, model.night) is None
        assert lineage.model_detail(told, f"#{model.id}").model == model
        assert (lineage.nights(told), lineage.calendar(told), lineage.drops(told)) == ([], (), ())


def test_what_a_pipeline_never_recorded_is_not_told_as_the_same(settings: Settings) -> None:
    for run, flavour in (("run-1", "vanilla"), ("run-2", "chocolate")):
        launch(settings, Make(flavour=flavour), run)
    with open_lineage(settings, Names(pipeline=TINY, trainer="Make", pusher="Use")) as told:
        newer, older = (f"#{model.id}" for model in lineage.models(told))
        compared = lineage.compare(told, older, newer)
    assert compared.recorded == {
        "data": (False, False), "settings": (True, True), "code": (False, False), "libraries": (False, False),
    }  # fmt: skip
    assert [(one.name, one.a, one.b) for one in compared.settings] == [("Make.flavour", "vanilla", "chocolate")]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render_comparison(compared))
    told_lines = console.export_text().splitlines()
    assert "code: not recorded" in told_lines
    assert not [line for line in told_lines if "the same" in line and "same rows" not in line]


def test_an_empty_database_has_empty_answers(settings: Settings) -> None:
    initialise(settings, [pipeline(settings, Make())])
    with open_lineage(settings) as told:
        assert (lineage.nights(told), lineage.models(told), lineage.calendar(told)) == ([], (), ())
        assert lineage.serving_now(told) is None
        assert lineage.graph(told) == lineage.Graph((), ())
        assert lineage.list_models(told) == lineage.ModelList((), 0, {})
        for ask in (lineage.metric_history, lineage.check_history):
            with pytest.raises(LookupError, match="none has been judged yet: run a night first"):
                ask(told, "accuracy")
        with pytest.raises(LookupError, match="there is none yet"):
            lineage.find_model(told, "2022020101")


def test_a_database_that_cannot_be_read_says_why(settings: Settings) -> None:
    with pytest.raises(LineageError, match="holds no MLMD tables yet"):
        lineage.nights(settings)
    wrong = settings.model_copy(update={"mlmd_password": SecretStr("wrong")})
    with pytest.raises(LineageError, match="does not let user"):
        lineage.nights(wrong)
    initialise(settings, [pipeline(settings, Make())])
    change(settings, "UPDATE mlmdenv SET schema_version = 11")
    with pytest.raises(LineageError, match="schema version 11, this reader knows 10"):
        lineage.nights(settings)


def test_reading_cannot_write_and_sees_one_moment(settings: Settings) -> None:
    make = Make()
    launch(settings, make)
    with open_lineage(settings, Names(pipeline=TINY, trainer="Make")) as told:
        before = lineage.models(told)
        launch(settings, make, "run-2")
        assert lineage.models(told) == before
        with pytest.raises(LineageError, match="read-only transaction"):
            told.rows("DELETE FROM artifact RETURNING id")


def test_the_index_for_lineage_is_made_once_and_kept(settings: Settings) -> None:
    for _ in range(2):
        initialise(settings, [pipeline(settings, Make())])
    with open_lineage(settings) as told:
        rows = told.rows("SELECT indexname FROM pg_indexes WHERE indexname LIKE :ours", ours="retraining%")
    assert rows == [("retraining_association_execution",)]


def test_the_nights_missing_over_new_year_are_in_the_page_of_their_year(settings: Settings) -> None:
    story = Story(settings)
    for night in ("2021-12-28", "2022-01-06"):
        story.run(night, {night: 1})
    with open_lineage(settings, NAMES) as told:
        shown = {year: pages.nights(told, settings, year) for year in (2021, 2022)}
    [december], [january] = shown[2021]["months"], shown[2022]["months"]
    assert [night and night.state for night in december["nights"]] == [None] * 27 + ["pushed"] + ["missing"] * 3
    assert [night and night.state for night in january["nights"]] == ["missing"] * 5 + ["pushed"]
    assert [gap.night[5:] for gap in shown[2021]["gaps"]] == ["12-31", "12-30", "12-29"]
    assert [gap.night[5:] for gap in shown[2022]["gaps"]] == ["01-05", "01-04", "01-03", "01-02", "01-01"]


def test_a_rollback_returns_serving_and_the_champion_until_a_newer_push(settings: Settings) -> None:
    story = Story(settings)
    story.run(FIRST, {FIRST: 1})
    story.run(SECOND, {SECOND: 1})
    roll_back(settings, from_version=2022020201, to_version=2022020101, night=THIRD)
    with open_lineage(settings, NAMES) as told:
        now = lineage.serving_now(told)
        assert now is not None and now.rollback is not None
        assert (now.version, now.rollback.by, now.rollback.reason) == (2022020101, "ana", "it called all news good")
        assert now.before and now.before.version == 2022020201
        # As of night 3 it counts; night 2's own push never did for night 2.
        champions = [lineage.champion_as_of(told, night) for night in (SECOND, THIRD)]
        assert [one.version for one in champions if one] == [2022020101, 2022020101]
        recall = lineage.recall(told, SECOND)
        assert (recall.is_serving, recall.last_good_version) == (False, 2022020101)
        assert [reign.version for reign in lineage.reigns(told)] == [2022020101, 2022020201, 2022020101]
        assert [rollback.withdrawn for rollback in lineage.rollbacks(told)] == [(2022020201,)]
    story.run(THIRD, {THIRD: 1})
    with open_lineage(settings, NAMES) as told:
        assert [reign.version for reign in lineage.reigns(told, 3)] == [2022020301, 2022020101, 2022020201]
        serving = lineage.serving_version(told)
        assert serving is not None and (serving.version, serving.rollback) == (2022020301, None)


def test_what_nothing_made_is_an_orphan(settings: Settings) -> None:
    Story(settings).run(FIRST, {FIRST: 1})
    store = MetadataStore(connection_config(settings))
    lost = mlmd.Artifact(type_id=store.get_artifact_type("Model").id, uri="/lost")
    [artifact] = store.put_artifacts([lost])
    kind = store.get_execution_types()[0].id
    [execution] = store.put_executions([mlmd.Execution(type_id=kind, last_known_state=mlmd.Execution.COMPLETE)])
    with open_lineage(settings, NAMES) as told:
        found = lineage.orphans(told)
    assert [one.uri for one in found.artifacts] == ["/lost"]
    assert ([one.id for one in found.artifacts], [one.id for one in found.executions]) == ([artifact], [execution])


def roll_back(settings: Settings, from_version: int, to_version: int, night: str) -> None:
    """Records a rollback, as the command does."""
    store = MetadataStore(connection_config(settings))
    artifact = mlmd.Artifact(
        type_id=store.put_artifact_type(mlmd.ArtifactType(name="Rollback")), state=mlmd.Artifact.LIVE
    )
    for name, value in {
        "from_version": from_version, "to_version": to_version, "night": night, "at": "2022-02-02T09:00:00+00:00",
        "by": "ana", "reason": "it called all news good", f"withdrawn:{from_version}": 1,
    }.items():  # fmt: skip
        setattr(artifact.custom_properties[name], "int_value" if isinstance(value, int) else "string_value", value)
    execution = mlmd.Execution(
        type_id=store.put_execution_type(mlmd.ExecutionType(name="Rollback")), last_known_state=mlmd.Execution.COMPLETE
    )
    event = mlmd.Event(type=mlmd.Event.OUTPUT)
    event.path.steps.add().key = "rollback"
    context = store.get_context_by_type_and_name("pipeline", NAME)
    store.put_execution(execution, [(artifact, event)], [context])


def change(settings: Settings, statement: str) -> None:
    with psycopg2.connect(
        host=settings.mlmd_host, port=settings.mlmd_port, dbname=settings.mlmd_database, user=settings.mlmd_user,
        password=settings.secret("mlmd_password"),
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        cursor.execute(statement)
    connection.close()
