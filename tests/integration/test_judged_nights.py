"""Nights through resolver, evaluator, infra check and pusher, as each of the two runners runs them."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pendulum
import pytest
from airflow.models import DAG
from airflow.timetables.base import DataInterval
from airflow_runs import make_context
from ml_metadata import MetadataStore
from tfx.orchestration.airflow.airflow_component import AirflowComponent
from tfx.orchestration.data_types import PipelineInfo
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tiny_pipeline import nodes

from retraining.engines.arguments import list_arguments
from retraining.recording.launcher import HeadlineLauncher
from retraining.recording.store import connection_config
from retraining.settings import Settings

NAME = "judged"
KINDS = ("ModelBlessing", "PushedModel")
LIMITS = {"min_accuracy": 0.6, "min_macro_f1": 0.4}
Run = Callable[..., tuple[dict, dict]]


def recorded(store: MetadataStore) -> tuple[dict, dict]:
    """The custom properties of the blessing and of the push that the last run recorded."""
    artifacts = [max(store.get_artifacts_by_type(kind), key=lambda artifact: artifact.id) for kind in KINDS]
    blessing, push = (
        {name: getattr(value, value.WhichOneof("value")) for name, value in artifact.custom_properties.items()}
        for artifact in artifacts
    )
    return blessing, push


@pytest.fixture
def run_locally(tmp_path: Path) -> Run:
    settings = Settings(state_dir=tmp_path, **LIMITS)
    connection = sqlite_metadata_connection_config(str(tmp_path / "mlmd.sqlite"))

    def run(night: str, **model: object) -> tuple[dict, dict]:
        pipeline = Pipeline(
            pipeline_name=NAME,
            pipeline_root=str(settings.pipeline_root),
            components=nodes(settings, night, **model),
            metadata_connection_config=connection,
            beam_pipeline_args=list_arguments(settings),
        )
        LocalDagRunner().run(pipeline)
        with Metadata(connection) as metadata:
            return recorded(metadata.store)

    return run


@pytest.fixture
def run_under_airflow(settings: Settings) -> Run:
    """Each node as the operator that AirflowDagRunner makes of it, its templates rendered by Airflow."""
    runs = count(1)
    settings = settings.model_copy(update=LIMITS)

    def run(night: str, **model: object) -> tuple[dict, dict]:
        dag = DAG(NAME, start_date=datetime(2022, 2, 1, tzinfo=UTC), schedule=None)
        info = PipelineInfo(NAME, str(settings.pipeline_root))
        run_id = f"run-{next(runs)}"
        pipeline = Pipeline(
            pipeline_name=NAME,
            pipeline_root=str(settings.pipeline_root),
            components=nodes(settings, "{{ ds }}", **model),
            beam_pipeline_args=list_arguments(settings),
        )
        for node in pipeline.components:
            operator = AirflowComponent(
                parent_dag=dag,
                component=node,
                component_launcher_class=HeadlineLauncher,
                pipeline_info=info,
                enable_cache=False,
                metadata_connection_config=connection_config(settings),
                beam_pipeline_args=pipeline.beam_pipeline_args,
                additional_pipeline_args={},
                component_config=None,
            )
            # Airflow executes a copy, which is locked: it looks for no upstream tasks in what it is given.
            operator = operator.prepare_for_execution()
            operator.render_template_fields({"ds": night})
            operator.execute(make_context(operator, DataInterval.exact(pendulum.parse(night)), run_id=run_id))
        with Metadata(connection_config(settings)) as metadata:
            return recorded(metadata.store)

    return run


@pytest.mark.parametrize("runner", [pytest.param("run_locally", marks=pytest.mark.long), "run_under_airflow"])
def test_each_night_is_judged_against_the_champion_as_of_it(runner: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(runner)

    verdict, push = run("2022-02-01")
    assert (verdict["champion_version"], verdict.get("champion_metric:accuracy")) == ("", None)
    assert (push["pushed"], push["pushed_version"], push["night"]) == (1, "2022020101", "2022-02-01")

    verdict, push = run("2022-02-02", always="neutral")
    assert (verdict["champion_version"], verdict["champion_metric:accuracy"]) == ("2022020101", 1.0)
    assert push["pushed"] == 0
    assert push["reason"].startswith("refused: accuracy 0.333 is below its floor 0.600; ")

    # A refused night has made no champion; a pushed one has.
    verdict, push = run("2022-02-03", sure=4.0)
    assert verdict["champion_version"] == "2022020101"
    assert push["pushed_version"] == "2022020301"

    # A rerun of the first night is judged as it was then, and makes nothing new of the same model.
    verdict, push = run("2022-02-01")
    assert (verdict["champion_version"], verdict.get("champion_metric:accuracy")) == ("", None)
    assert push["reason"] == (
        "kept 2022020101: the night was run again and made the same model; the newer 2022020301 keeps serving"
    )

    # A backfill of the second night sees nothing of the third.
    verdict, push = run("2022-02-02", sure=5.0)
    assert verdict["champion_version"] == "2022020101"
    assert push["reason"] == "pushed as 2022020201; the newer 2022020301 keeps serving"
