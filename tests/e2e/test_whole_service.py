"""A real scheduler, a real Postgres: two nights, then everything that goes wrong in a third.

The tests of this file build on one another, in order; each says what it leaves behind.
"""

import csv
import os
import signal
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
import waiting
from driving import Service, predict, query
from openlineage_sink import Event, Sink, find_problems

import lineage
from retraining.local import model_server, processes, supervisor
from retraining.local import service as local

# Some of these tests run two whole nights, on whatever machine this is.
pytestmark = pytest.mark.timeout(3600)

DAG = "headline_retraining"
# Each look costs the web server the check of a password.
wait_until = partial(waiting.wait_until, every=0.3)
NODES = {
    "HeadlineExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "DropGate", "Transform", "Trainer",
    "ChampionResolver", "Evaluator", "InfraCheck", "Pusher", "RelatedIndex", "LiveTraffic",
    "Baseline", "HyperparametersResolver", "ModelCard",
}  # fmt: skip


def run_id(service: Service, night: str) -> str:
    return next(report.run_id for report in lineage.nights(service.settings) if report.night == night)


def states(service: Service, run: str) -> dict[str, str]:
    instances = service.api("GET", f"dags/{DAG}/dagRuns/{run}/taskInstances")["task_instances"]
    return {instance["task_id"]: instance["state"] for instance in instances}


def run_state(service: Service, run: str) -> str:
    state: str = service.api("GET", f"dags/{DAG}/dagRuns/{run}")["state"]
    return state


def clear(service: Service, run: str, tasks: list[str], downstream: bool = False) -> None:
    service.api(
        "POST",
        f"dags/{DAG}/clearTaskInstances",
        json={
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": tasks,
            "only_failed": False,
            "include_downstream": downstream,
            "reset_dag_runs": True,
        },
    )


def finish(service: Service, run: str, seconds: float = 300) -> str:
    wait_until(lambda: run_state(service, run) in ("success", "failed"), f"{run} ends", seconds)
    return run_state(service, run)


def count_running(service: Service) -> int:
    return int(query(service, "SELECT count(*) FROM execution WHERE last_known_state = 2")[0][0])


def test_two_nights_run_in_order_and_a_proven_model_is_served_from_disk(service: Service) -> None:
    for night in ("2022-02-01", "2022-02-02"):
        done = service("run", "--night", night)
        assert "Pusher" in done.stdout
    reports = lineage.nights(service.settings)
    assert [report.night for report in reports] == ["2022-02-01", "2022-02-02"]
    assert [report.window_nights for report in reports] == [1, 2]
    for report in reports:
        assert report.rows_in == report.rows_used + report.rows_quarantined + report.duplicates_folded  # type: ignore[operator]
        assert report.checks, "every limit of the bar is on record"
        assert report.reason
        assert report.state in ("pushed", "refused")
    assert reports[0].state == "pushed"
    assert not reports[0].champion_metrics
    assert reports[1].champion_metrics.keys() >= {"accuracy", "macro_f1"}
    assert service.versions() == [report.pushed_version for report in reports if report.pushed_version]
    folder = service.settings.serving_dir
    assert folder is not None
    answer = predict(folder / service.versions()[-1], ["Acidente deixa dez mortos em rodovia", "", "🙂"])
    assert set(answer["label"]) <= {"negative", "neutral", "positive"}
    assert all(abs(sum(row) - 1) < 1e-5 for row in answer["probabilities"])


def test_a_data_catalogue_is_told_of_every_task_from_the_drop_to_what_serves(service: Service, catalogue: Sink) -> None:
    def find(job: str, kind: str) -> list[Event]:
        """Those of the two nights: the schedule's own, of nights before the first start, are told as well."""
        nights = ("2022-02-01", "2022-02-02")
        events = catalogue.of(job, kind)
        return [one for one in events if one["run"]["facets"]["nominalTime"]["nominalStartTime"][:10] in nights]

    # The scheduler sends a run's end by a process of its own.
    wait_until(lambda: len(find(DAG, "COMPLETE")) == 2, "both nights are told to have ended", 30)
    assert not {(event["job"]["name"], problem) for event in catalogue.events for problem in find_problems(event)}
    for node in NODES:
        assert [len(find(f"{DAG}.{node}", kind)) for kind in ("START", "COMPLETE", "FAIL")] == [2, 2, 0], node
    [served] = find(f"{DAG}.Pusher", "COMPLETE")[0]["outputs"]
    assert served["name"] == str(service.settings.serving_dir)
    assert served["facets"]["version"]["datasetVersion"] == service.versions()[0]
    # Of the second night everything is there that its lineage says, and nothing comes from nowhere.
    made = {
        (dataset["name"], dataset["facets"]["version"]["datasetVersion"])
        for event in catalogue.events
        for dataset in event["outputs"]
    }
    [read] = find(f"{DAG}.HeadlineExampleGen", "COMPLETE")[-1]["inputs"]
    assert read["facets"]["version"]["datasetVersion"].startswith("2022-02-02/1@sha256:")
    assert [drop["night"] for drop in read["facets"]["headlines_drops"]["drops"]] == ["2022-02-01", "2022-02-02"]
    for event in catalogue.events:
        for dataset in event["inputs"]:
            if dataset["name"] != str(service.settings.drops_dir):
                assert (dataset["name"], dataset["facets"]["version"]["datasetVersion"]) in made
    [gate] = [one for one in find(f"{DAG}.DropGate", "COMPLETE")[-1]["inputs"] if one["inputFacets"]]
    assert {one["success"] for one in gate["inputFacets"]["dataQualityAssertions"]["assertions"]} == {True}
    [model] = [one for one in find(f"{DAG}.Evaluator", "COMPLETE")[-1]["inputs"] if one["inputFacets"]]
    checks = lineage.nights(service.settings)[-1].checks
    told = {one["assertion"]: one["success"] for one in model["inputFacets"]["dataQualityAssertions"]["assertions"]}
    assert told == {check.name: check.passed for check in checks}


def test_the_model_server_answers_as_the_pushed_model_does_and_says_what_taught_it(service: Service) -> None:
    address, newest = model_server.address(service.settings), service.versions()[-1]
    wait_until(lambda: service.served() == newest, f"{newest} is served", 30)
    title = "Acidente deixa dez mortos em rodovia"
    answer = httpx.post(
        f"{address}/v1/models/headlines:predict", json={"signature_name": "predict_text", "instances": [title]}
    ).json()
    folder = service.settings.serving_dir
    assert folder is not None
    expected = predict(folder / newest, [title])
    assert answer["predictions"][0]["label"] == expected["label"][0]
    assert answer["predictions"][0]["probabilities"] == pytest.approx(expected["probabilities"][0], abs=1e-5)
    about = httpx.get(f"{address}/version").json()
    assert about["verdict"]["checks"]
    assert all(about[name] for name in ("code", "data", "settings", "model_id", "related"))
    related = httpx.post(f"{address}/related", json={"title": title}).json()["related"]
    assert {headline["night"] for headline in related} <= {"2022-02-01", "2022-02-02"}
    assert related
    assert f"Model server:    {address}" in service("status").stdout


def test_every_node_left_one_complete_execution_per_night(service: Service) -> None:
    rows = query(
        service,
        """SELECT component.string_value, count(*), bool_and(e.last_known_state IN (3, 5)) FROM execution e
           JOIN executionproperty component ON component.execution_id = e.id AND component.name = 'component_id'
           GROUP BY 1""",
    )
    assert {component: count for component, count, _ in rows} == dict.fromkeys(NODES, 2)
    assert all(good for _, _, good in rows)
    assert query(service, "SELECT name, type_kind, count(*) FROM type GROUP BY 1, 2 HAVING count(*) > 1") == []


def test_running_a_finished_night_again_says_so_and_does_nothing(service: Service) -> None:
    before = query(service, "SELECT max(id) FROM execution")
    done = service("run", "--night", "2022-02-01")
    assert "--force" in done.stdout
    assert query(service, "SELECT max(id) FROM execution") == before


@pytest.mark.long
def test_clearing_a_whole_run_succeeds_keeps_the_old_record_and_pushes_nothing_new(service: Service) -> None:
    versions, run = service.versions(), run_id(service, "2022-02-02")
    models = query(
        service, "SELECT a.id, a.uri, a.state FROM artifact a JOIN type t ON t.id = a.type_id AND t.name = 'Model'"
    )
    service("run", "--night", "2022-02-02", "--force")
    assert run_state(service, run) == "success"
    assert set(states(service, run).values()) <= {"success", "skipped"}
    assert service.versions() == versions, "the same drop and the same code make the same model"
    after = query(
        service, "SELECT a.id, a.uri, a.state FROM artifact a JOIN type t ON t.id = a.type_id AND t.name = 'Model'"
    )
    assert set(models) < set(after)
    assert all(Path(uri).is_dir() for _, uri, state in after if state == 2)
    assert count_running(service) == 0


@pytest.mark.long
def test_clearing_single_tasks_of_every_kind_succeeds(service: Service) -> None:
    run = run_id(service, "2022-02-02")
    for tasks in (["ChampionResolver", "ImportSchemaGen", "StatisticsGen"], ["Evaluator"], ["Pusher"]):
        clear(service, run, tasks)
        assert finish(service, run) == "success", states(service, run)
    assert count_running(service) == 0


def test_a_killed_task_is_retried_and_the_dead_attempt_is_settled(service: Service) -> None:
    run = run_id(service, "2022-02-02")
    clear(service, run, ["Trainer"])

    wait_until(lambda: bool(running_pids(service)), "the Trainer runs", 120)
    for pid in running_pids(service):
        os.kill(pid, signal.SIGKILL)
    assert finish(service, run) == "success"
    errors = query(service, "SELECT string_value FROM executionproperty WHERE name = 'error' AND is_custom_property")
    assert any("died" in error for (error,) in errors), errors
    assert count_running(service) == 0


def running_pids(service: Service) -> list[int]:
    """The processes of the executions that run, as lineage has them."""
    rows = query(
        service,
        """SELECT p.int_value FROM execution e
           JOIN executionproperty p ON p.execution_id = e.id AND p.name = 'pid' AND p.is_custom_property
           WHERE e.last_known_state = 2""",
    )
    return [pid for (pid,) in rows]


@pytest.mark.long
def test_a_killed_scheduler_takes_all_of_it_along_and_the_night_goes_on_and_ends_well(service: Service) -> None:
    run = run_id(service, "2022-02-02")
    clear(service, run, ["Trainer"])
    wait_until(lambda: bool(running_pids(service)), "the Trainer runs", 120)
    old = find_processes(service, "scheduler")
    [trainer] = running_pids(service)
    assert trainer in old
    assert len(old) > 4, "executor, workers, the processor of DAG files and the task"
    os.kill(supervisor.states(service.settings)["scheduler"]["pid"], signal.SIGKILL)
    # Well before a scheduler has started, which is when the old ones would go on beside it.
    wait_until(lambda: not old & find_processes(service, "scheduler"), "nothing is left of the old one", 30)
    assert finish(service, run) == "success", states(service, run)
    assert local.find_strays(service.settings) == []
    assert count_running(service) == 0


@pytest.mark.long
def test_whatever_program_is_killed_comes_back_by_itself_without_strays(service: Service) -> None:
    # Each with all that it has begun, Postgres' backends, gunicorn's workers and Airflow's triggers among it.
    for name in ("serving", "webserver", "triggerer", "postgres"):
        os.kill(supervisor.states(service.settings)[name]["pid"], signal.SIGKILL)
    wait_until(lambda: not local.health(service.settings).has_started, "the end of some is seen", 30)
    wait_until(lambda: local.health(service.settings).has_started, "all of them are healthy again", 300)
    assert local.find_strays(service.settings) == []
    done = service("status", check=False)
    assert "Stray" not in done.stdout


def find_processes(service: Service, program: str) -> set[int]:
    found = processes.find_all(service.settings.state_dir)
    return {process.pid for process, owner in found if owner == program}


@pytest.mark.long
def test_postgres_gone_mid_run_comes_back_and_the_run_ends_well(service: Service) -> None:
    run = run_id(service, "2022-02-02")
    clear(service, run, ["Transform"], downstream=True)
    wait_until(lambda: count_running(service) > 0, "Transform runs", 120)
    os.kill(supervisor.states(service.settings)["postgres"]["pid"], signal.SIGQUIT)
    time.sleep(3)

    def has_ended() -> bool:
        try:
            return run_state(service, run) in ("success", "failed")
        except httpx.HTTPError:
            return False

    wait_until(has_ended, "the run ends after Postgres came back", 300)
    assert run_state(service, run) == "success", states(service, run)
    assert count_running(service) == 0


def test_a_broken_drop_fails_the_run_with_a_clear_last_line_and_the_champion_still_serves(service: Service) -> None:
    versions = service.versions()
    drop = service.settings.drops_dir / "2022-02-03" / "headlines.csv"
    good = drop.read_bytes()
    drop.write_bytes(good.replace(b"title,sentiment", b"headline,mood", 1))
    done = service("run", "--night", "2022-02-03", check=False)
    assert done.returncode == 1
    assert str(drop) in " ".join(done.stdout.split())
    assert "headline" in done.stdout
    assert "Traceback" not in done.stdout
    [failed] = [r for r in service.api("GET", f"dags/{DAG}/dagRuns")["dag_runs"] if r["state"] == "failed"]
    (task,) = (name for name, state in states(service, failed["dag_run_id"]).items() if state == "failed")
    assert any(str(drop) in line for line in service.task_log(failed["dag_run_id"], task)[-12:])
    assert service.versions() == versions
    folder = service.settings.serving_dir
    assert folder is not None
    assert predict(folder / versions[-1], ["Prefeitura inaugura escola"])["label"]
    assert count_running(service) == 0

    drop.write_bytes(good)
    service("run", "--night", "2022-02-03")
    assert lineage.nights(service.settings)[-1].state in ("pushed", "refused")


def test_a_night_without_a_drop_or_before_the_first_is_refused_at_once_and_leaves_no_run(service: Service) -> None:
    runs = service.api("GET", f"dags/{DAG}/dagRuns")["total_entries"]
    for night, why in {
        "2022-03-01": f"has no drop: {service.settings.drops_dir / '2022-03-01'} does not exist",
        "2021-01-01": "is before START_DATE=2022-01-01",
    }.items():
        done = service("run", "--night", night, check=False)
        assert done.returncode == 1
        assert f"night {night} {why}" in " ".join(f"{done.stdout} {done.stderr}".split())
    assert service.api("GET", f"dags/{DAG}/dagRuns")["total_entries"] == runs


def test_too_many_bad_rows_stop_the_run_at_the_gate_and_none_is_lost(service: Service, catalogue: Sink) -> None:
    versions = service.versions()
    drop = service.settings.drops_dir / "2022-02-04" / "headlines.csv"
    # As bytes: a drop may hold some that are not UTF-8.
    header, rows = drop.read_bytes().split(b"\n", 1)
    bad = "".join(f'"Manchete sem rótulo número {i}",\n' for i in range(400))
    drop.write_bytes(header + b"\n" + bad.encode() + rows)
    done = service("run", "--night", "2022-02-04", check=False)
    assert done.returncode == 1
    assert "DropGate" in done.stdout
    report = lineage.nights(service.settings)[-1]
    assert report.night == "2022-02-04"
    assert report.state == "blocked"
    told = catalogue.of(f"{DAG}.DropGate", "FAIL")[-1]
    message = " ".join(told["run"]["facets"]["errorMessage"]["message"].split())
    assert report.error
    assert message.startswith(report.error.removesuffix("..."))
    failed = {
        one["assertion"]: one["actual"]
        for dataset in told["inputs"]
        for one in dataset["inputFacets"].get("dataQualityAssertions", {}).get("assertions", ())
        if not one["success"]
    }
    assert "quarantined_share" in failed
    assert report.rows_quarantined is not None
    assert report.rows_quarantined >= 400
    made = lineage.artifacts_of_run(service.settings, report.run_id).outputs["HeadlineExampleGen", "quarantine"]
    with (Path(made.uri) / "quarantine.csv").open(newline="", encoding="utf-8-sig") as stream:
        kept = [row for row in csv.DictReader(stream) if row["night"] == report.night]
    assert len(kept) == report.rows_quarantined
    assert sum("Manchete sem rótulo número" in str(row) for row in kept) == 400
    assert service.versions() == versions


def test_a_finished_service_is_seen_by_airflows_own_command_and_goes_down_without_a_trace(service: Service) -> None:
    assert "headline_retraining" in service.airflow("dags", "list").stdout
    service("down")
    wait_until(lambda: not service.find_processes(), f"nothing is left: {service.find_processes()}", 20)
