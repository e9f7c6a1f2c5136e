"""The questions about lineage, asked of what the real launcher wrote: tests/integration/lineage_story.py tells it."""

import secrets
from collections.abc import Iterator

import pytest
from lineage_story import LATE, LATE_DELIVERY, NAMES, Story
from postgres_server import Server

import lineage
from headlines.bar import answered
from lineage import Reader, UnknownError, open_lineage
from retraining.local import postgres as embedded
from retraining.settings import Settings

FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH, EIGHTH = (f"2022-02-0{day}" for day in range(1, 9))


@pytest.fixture(scope="module")
def story(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of a database that holds the whole story; no test changes it."""
    name = f"story_{secrets.token_hex(4)}"
    settings = postgres.settings.model_copy(
        update={
            "mlmd_host": "127.0.0.1",
            "mlmd_port": postgres.settings.postgres_port,
            "mlmd_database": name,
            "mlmd_user": name,
            "mlmd_password": postgres.settings.postgres_password,
            "airflow_db_password": postgres.settings.postgres_password,
            "pipeline_root": tmp_path_factory.mktemp("story"),
        }
    )
    embedded.make_databases(settings)
    Story(settings).tell()
    return settings


@pytest.fixture
def told(story: Settings) -> Iterator[Reader]:
    with open_lineage(story, NAMES) as reader:
        yield reader


def test_every_night_is_told_as_its_newest_run_left_it(told: Reader) -> None:
    reports = {report.night: report for report in lineage.nights(told)}
    assert {night: (report.state, report.pushed_version) for night, report in reports.items()} == {
        FIRST: ("pushed", "2022020101"),
        SECOND: ("pushed", "2022020202"),
        THIRD: ("blocked", None),
        FOURTH: ("pushed", "2022020401"),
        FIFTH: ("pushed", "2022020501"),
        SEVENTH: ("pushed", "2022020702"),
        EIGHTH: ("refused", None),
    }
    assert reports[SECOND].run_id == "manual__2022-02-02"
    assert (reports[SECOND].drop_version, reports[SECOND].rows_in, reports[SECOND].window_nights) == (2, 100, 2)
    assert reports[THIRD].failed_node == "DropGate"
    assert reports[THIRD].error == "OSError: the network under DropGate is down"
    # Its second attempt succeeded, so the first one's error is history.
    assert lineage.run_report(told, "scheduled__2022-02-02").error is None
    # What the cache answered with counts as the run's own.
    assert (reports[EIGHTH].run_id, reports[EIGHTH].rows_in) == ("manual__2022-02-08", 100)
    assert [report.run_id for report in lineage.runs_of_night(told, EIGHTH)] == [
        "scheduled__2022-02-08",
        "manual__2022-02-08",
    ]
    assert [report.night for report in lineage.nights(told, newest=2)] == [SEVENTH, EIGHTH]
    assert [report.night for report in lineage.nights(told, first=SECOND, last=FOURTH)] == [SECOND, THIRD, FOURTH]


def test_the_calendar_holds_the_nights_that_were_never_run(told: Reader) -> None:
    cells = {cell.night: cell for cell in lineage.calendar(told)}
    assert list(cells) == [FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH, EIGHTH]
    assert [cell.state for cell in cells.values()] == [
        "pushed", "pushed", "blocked", "pushed", "pushed", "missing", "pushed", "refused",
    ]  # fmt: skip
    assert (cells[THIRD].delivered, cells[LATE].delivered, cells[SIXTH].delivered) == (
        f"{THIRD}T06:00:00+00:00",
        f"{LATE_DELIVERY}T06:00:00+00:00",
        None,
    )
    assert (cells[SECOND].runs, cells[SECOND].drop_version, cells[SECOND].is_corrected) == (2, 2, True)
    assert cells[SEVENTH].pushed_version == 2022020702
    assert (cells[EIGHTH].blessed, cells[EIGHTH].rows_quarantined) == (False, 8)
    assert [(gap.night, gap.kind) for gap in lineage.gaps(told)] == [(THIRD, "blocked"), (SIXTH, "missing")]


def test_a_range_holds_the_nights_at_its_edges_that_were_never_run(told: Reader) -> None:
    def ask(*limits: str | None, newest: int | None = None) -> list[str]:
        return [cell.night for cell in lineage.calendar(told, *limits, newest=newest)]

    assert ask(SIXTH) == [SIXTH, SEVENTH, EIGHTH]
    assert ask(FIFTH, SIXTH) == [FIFTH, SIXTH]
    assert [(gap.night, gap.kind) for gap in lineage.gaps(told, SIXTH, SIXTH)] == [(SIXTH, "missing")]
    # Before the first night that was run, and after the last, nothing is missing.
    assert ask("2022-01-01", FIRST) == [FIRST]
    assert ask("2022-01-01", "2022-01-31") == ask("2022-02-09") == []
    assert ask(newest=2) == [SEVENTH, EIGHTH]


def test_the_greatest_version_serves_whatever_was_backfilled_after_it(told: Reader) -> None:
    serving = lineage.serving_now(told)
    assert serving is not None
    assert (serving.version, serving.night, serving.rollback) == (2022020702, SEVENTH, None)
    assert serving.model and serving.model.versions == (2022020702,)
    assert serving.before and serving.before.version == 2022020701
    assert [(drop.night, drop.version) for drop in serving.drops] == [(FIFTH, 1), (SEVENTH, 1)]
    assert [reign.version for reign in lineage.reigns(told)] == [
        2022020702, 2022020701, 2022020501, 2022020201, 2022020101,
    ]  # fmt: skip
    assert [reign.version for reign in lineage.reigns(told, 2)] == [2022020702, 2022020701]


@pytest.mark.parametrize(
    ("night", "champion"),
    [(FIRST, None), (SECOND, 2022020101), (THIRD, 2022020202), (FOURTH, 2022020202), (FIFTH, 2022020401),
     (SEVENTH, 2022020501), (EIGHTH, 2022020702)],
)  # fmt: skip
def test_the_champion_as_of_a_night_is_never_of_a_later_night(told: Reader, night: str, champion: int | None) -> None:
    found = lineage.champion_as_of(told, night)
    assert (found.version if found else None) == champion


def test_the_path_to_what_serves_begins_with_its_drops_and_passes_no_earlier_champion(told: Reader) -> None:
    serving = lineage.serving_now(told)
    assert serving is not None
    nodes = {node.key: node for node in serving.path.nodes}
    assert {node.label for node in nodes.values() if node.kind == "drop"} == {
        f"drop of {night}, version 1" for night in (FIRST, FIFTH, SEVENTH)
    }
    steps = {(nodes[edge.source].type, nodes[edge.target].type, edge.label) for edge in serving.path.edges}
    assert steps == {
        ("drop", "Examples", "drop"),
        ("Examples", "TransformGraph", "examples"),
        ("Examples", "Model", "examples"),
        ("Examples", "HyperParameters", "examples"),
        ("Examples", "ModelBlessing", "examples"),
        ("TransformGraph", "Model", "transform_graph"),
        ("HyperParameters", "Model", "hyperparameters"),
        ("Model", "ModelBlessing", "model"),
        ("Model", "ModelBlessing", "judged-against"),
        ("PushedModel", "ModelBlessing", "judged-against"),
        ("Model", "PushedModel", "model"),
        ("ModelBlessing", "PushedModel", "model_blessing"),
    }
    assert {node.label for node in nodes.values() if node.type == "PushedModel"} == {
        "version 2022020501", "version 2022020702",
    }  # fmt: skip


def test_the_full_path_has_the_attempt_that_counts_of_every_node_and_no_resolver(told: Reader) -> None:
    path = lineage.path_back(told, SEVENTH, full=True)
    ran = [(node.type, node.run_id) for node in path.nodes if node.kind == "execution"]
    assert sorted(ran) == sorted(
        [
            (node, "scheduled__2022-02-07")
            for node in ("HeadlineExampleGen", "Transform", "Trainer", "Evaluator", "Pusher")
        ]
        + [(node, "manual__2022-02-06") for node in ("HeadlineExampleGen", "Tuner")]
    )


def test_the_drops_of_a_model_have_versions_counts_files_and_hashes(told: Reader) -> None:
    first, second = lineage.drops_of_model(told, "2022020202")
    assert (first.night, first.version, second.night, second.version) == (FIRST, 1, SECOND, 2)
    assert (second.sha256, second.rows_in, second.rows_used, second.rows_quarantined) == ("2022-02-02v2", 100, 90, 8)
    assert [(file.name, file.rows, file.sha256) for file in second.files] == [("a.csv", 100, "2022-02-02file")]
    # The drop that only tuned it did not train it.
    assert [drop.night for drop in lineage.drops_of_model(told, SEVENTH)] == [FIFTH, SEVENTH]


def test_recall_finds_every_model_of_a_drop_and_tells_the_ways_apart(told: Reader) -> None:
    recall = lineage.recall(told, FIRST)
    found = {taint.model.versions: set(taint.ways) for taint in recall.taints}
    data = {"trained-on", "vocabulary"}
    assert found == {
        (2022020101,): data,
        (2022020201,): data | {"judged-against"},
        (2022020202,): data | {"judged-against"},
        (2022020401,): data | {"judged-against"},
        (2022020501,): data | {"judged-against"},
        (2022020701,): {"tuned-on", "judged-against"},
        (2022020702,): {"tuned-on", "judged-against"},
        (): {"judged-against"},
    }
    assert recall.is_serving
    assert recall.last_good_version is None
    [tuned] = [taint for taint in recall.taints if taint.is_serving]
    assert [node.type for node in tuned.ways["tuned-on"]] == ["drop", "Examples", "HyperParameters", "Model"]


def test_recall_of_one_version_leaves_out_what_only_the_correction_made(told: Reader) -> None:
    bad, good = lineage.recall(told, SECOND, 1), lineage.recall(told, SECOND, 2)
    assert bad.versions == good.versions == (1, 2)

    def trained(recall: lineage.Recall) -> set[int]:
        return {taint.model.versions[-1] for taint in recall.taints if "trained-on" in taint.ways}

    assert trained(bad) == {2022020201, 2022020401, 2022020501}
    assert trained(good) == {2022020202}
    # What serves was only compared with one of them.
    assert (bad.is_serving, bad.last_good_version) == (False, 2022020702)
    assert {taint.drop_versions for taint in bad.taints} == {(1,)}


def test_a_night_shows_every_attempt(told: Reader) -> None:
    detail = lineage.night_detail(told, SEVENTH)
    [run] = detail.runs
    told_of = [(one.node, one.attempt, one.state, one.superseded_by is not None) for one in run.executions]
    assert told_of == [
        ("HeadlineExampleGen", 1, "complete", False),
        ("DropGate", 1, "complete", False),
        ("Transform", 1, "complete", False),
        ("ChampionResolver", 1, "cached", False),
        ("HyperparametersResolver", 1, "cached", False),
        ("Trainer", 1, "complete", True),
        ("Evaluator", 1, "complete", True),
        ("Pusher", 1, "complete", True),
        ("Trainer", 2, "complete", False),
        ("Evaluator", 2, "complete", False),
        ("Pusher", 2, "complete", False),
    ]
    assert (detail.champion_before, detail.champion_after) == (2022020501, 2022020702)
    assert [model.versions for model in detail.models] == [(2022020701,), (2022020702,)]
    assert detail.drop and detail.drop.files
    cached = [one.node for one in lineage.night_detail(told, EIGHTH).runs[1].executions if one.state == "cached"]
    assert cached == [
        "HeadlineExampleGen",
        "DropGate",
        "Transform",
        "ChampionResolver",
        "Trainer",
        "Evaluator",
        "Pusher",
    ]
    [failed] = [one for one in lineage.night_detail(told, THIRD).runs[0].executions if one.attempt == 2]
    assert (failed.node, failed.state, failed.counts) == ("DropGate", "failed", False)


def test_a_model_has_its_verdict_its_metrics_and_its_champions(told: Reader) -> None:
    detail = lineage.model_detail(told, "2022020701")
    # It was cleared, and the run's verdict is another model's.
    assert detail.model.versions == (2022020701,)
    assert (detail.metrics, detail.champion_metrics) == ({"accuracy": 0.85}, {"accuracy": 0.78})
    assert (detail.lr_metrics, detail.majority_metrics) == ({"accuracy": 0.75}, {"accuracy": 0.7})
    assert detail.fresh["champion"] == {"accuracy": 0.72}
    assert detail.intervals == {"accuracy": (0.7, 0.9)}
    assert detail.class_mix == {"negative": 20, "neutral": 70}
    assert detail.origin == {"code": "c2", "settings": "s1", "library:keras": "3.1"}
    assert (detail.champion_before, detail.champion_after, detail.is_serving) == (2022020501, 2022020702, False)
    assert lineage.model_detail(told, "2022020702").is_serving
    [check] = detail.report.checks
    assert (check.name, check.limit, check.passed, check.low, check.high) == ("accuracy", 0.75, True, 0.7, 0.9)


def test_a_model_whose_run_went_on_with_another_one_is_told_nothing_of_that_one(told: Reader) -> None:
    first, second = (lineage.model_detail(told, f"202202070{revision}") for revision in (1, 2))
    assert first.model.run_id == second.model.run_id
    assert first.report.model_id == second.report.model_id == second.model.id != first.model.id
    assert (first.report.pushed_version, second.report.pushed_version) == ("2022020701", "2022020702")
    assert (first.report.reason, first.report.champion_version) == ("pushed", "2022020501")
    assert {node for node, _ in second.artifacts} >= {"HeadlineExampleGen", "Trainer", "Evaluator", "Pusher"}
    assert {node for node, _ in first.artifacts} == {"HeadlineExampleGen", "Transform", "HyperparametersResolver"}


def test_two_models_are_compared_in_data_code_and_metrics(told: Reader) -> None:
    compared = lineage.compare(told, FIFTH, SEVENTH)
    assert [difference.name for difference in compared.data] == [FIRST, SECOND, SEVENTH]
    assert [(one.a, one.b) for one in compared.code] == [("c1", "c2")]
    assert compared.libraries == ()
    assert {one.name for one in compared.settings} >= {"Trainer.code", "Evaluator.accuracy"}
    assert compared.metrics == {"accuracy": (0.8, 0.85)}
    assert compared.class_mix["negative"] == (pytest.approx(2 / 9), pytest.approx(2 / 9))


def test_what_follows_from_the_night_alone_is_no_setting(told: Reader) -> None:
    assert lineage.compare(told, FOURTH, FIFTH).settings == ()
    names = {one.name for one in lineage.compare(told, FIFTH, SEVENTH).settings}
    assert not {"HeadlineExampleGen.night", "Trainer.night", "Pusher.night"} & names


def test_two_models_are_compared_on_the_rows_that_both_answered(told: Reader) -> None:
    # Of the rows of night 5, numbers 50 to 109, and of night 8, 80 to 139.
    paired = lineage.compare(told, FIFTH, EIGHTH).paired
    assert (paired.rows, paired.problem) == (30, "")
    accuracy = paired.metrics["accuracy"]
    # Wrong are the multiples of 5 and those of 2.
    assert (accuracy.a, accuracy.b) == (pytest.approx(24 / 30), pytest.approx(15 / 30))
    assert accuracy.low is not None and accuracy.high is not None
    assert accuracy.difference == pytest.approx(-0.3)
    assert accuracy.low < accuracy.difference < accuracy.high < 0.1
    back = lineage.compare(told, EIGHTH, FIFTH).paired
    turned = back.metrics["accuracy"]
    assert (turned.low, turned.high) == (pytest.approx(-accuracy.high), pytest.approx(-accuracy.low))
    assert back.p == paired.p


def test_a_model_and_its_champion_are_compared_on_all_rows_of_the_verdict(told: Reader) -> None:
    for a, b, sign in ((FIFTH, SEVENTH, 1), (SEVENTH, FIFTH, -1)):
        paired = lineage.compare(told, a, b).paired
        assert paired.which == "all evaluation rows of 2022020702, which was judged against 2022020501"
        assert paired.rows == 60
        # Of the numbers 70 to 129 the candidate misses those of 5, the champion those of 4.
        assert paired.metrics["accuracy"].difference == pytest.approx(sign * (15 - 12) / 60)


def test_rows_that_were_not_kept_are_told_and_a_verdict_of_the_two_still_compares_them(
    told: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = lineage.compare(told, FIRST, EIGHTH).paired
    assert (alone.rows, alone.metrics) == (None, {})
    assert "what 2022020101 answered to each evaluation row is not on record" in alone.problem
    assert "one model" in lineage.compare(told, FIRST, "2022020101").paired.problem
    monkeypatch.setattr(answered, "read", lambda folder: None)
    recalled = lineage.compare(told, SEVENTH, FIFTH).paired
    assert (recalled.metrics["accuracy"].a, recalled.metrics["accuracy"].b) == (0.85, 0.78)


def test_models_are_listed_with_what_became_of_each(told: Reader) -> None:
    listed = lineage.list_models(told)
    assert {version: one.state for one in listed.models for version in one.model.versions} == {
        2022020101: "pushed", 2022020201: "pushed", 2022020202: "pushed", 2022020401: "pushed", 2022020501: "pushed",
        2022020701: "pushed", 2022020702: "serving",
    }  # fmt: skip
    assert {one.state for one in listed.models if not one.model.versions} == {"refused"}
    assert listed.states["serving"] == 1
    assert sum(listed.states.values()) == listed.count == len(listed.models)
    assert [one.model.id for one in listed.models] == sorted((one.model.id for one in listed.models), reverse=True)
    for one in listed.models:
        detail = lineage.model_detail(told, f"#{one.model.id}")
        assert (detail.state, detail.metrics) == (one.state, one.metrics)
        assert (detail.report.reason, detail.report.blessed) == (one.reason, one.blessed)
    refused = lineage.list_models(told, state="refused", search="ACCURACY")
    assert {(one.model.night, one.blessed, one.reason) for one in refused.models} == {
        (EIGHTH, False, "refused: accuracy")
    }
    assert [one.model.night for one in lineage.list_models(told, search="20220205").models] == [FIFTH]
    pages = [lineage.list_models(told, limit=3, offset=offset).models for offset in range(0, listed.count, 3)]
    assert tuple(one for page in pages for one in page) == listed.models


def test_the_history_of_a_check_has_the_limit_of_each_night_and_what_became_of_it(told: Reader) -> None:
    history = lineage.check_history(told, "accuracy")
    assert [(point.night, point.check.value, point.check.passed, point.pushed_version) for point in history.points
            if point.check] == [
        (FIRST, 0.8, True, 2022020101), (SECOND, 0.8, True, 2022020202), (FOURTH, 0.8, True, 2022020401),
        (FIFTH, 0.8, True, 2022020501), (SEVENTH, 0.85, True, 2022020702), (EIGHTH, 0.6, False, None),
    ]  # fmt: skip
    assert {point.check.limit for point in history.points if point.check} == {0.75}
    assert lineage.checks(told) == ("accuracy",)
    assert [point.pushed_version for point in lineage.metric_history(told, "accuracy").points] == [
        point.pushed_version for point in history.points
    ]


def test_the_history_of_a_metric_has_one_point_for_each_judged_night(told: Reader) -> None:
    history = lineage.metric_history(told, "accuracy")
    assert [(point.night, point.candidate, point.champion) for point in history.points] == [
        (FIRST, 0.8, None), (SECOND, 0.8, 0.78), (FOURTH, 0.8, 0.78), (FIFTH, 0.8, 0.78), (SEVENTH, 0.85, 0.78),
        (EIGHTH, 0.6, 0.78),
    ]  # fmt: skip
    assert {(point.lr, point.majority, point.fresh_champion) for point in history.points} == {(0.75, 0.7, 0.72)}
    assert history.points[-1].blessed is False
    assert lineage.metrics(told) == ("accuracy",)


def test_abandoned_outputs_and_failed_attempts_are_no_orphans(told: Reader) -> None:
    assert lineage.orphans(told) == lineage.Orphans((), ())


def test_an_execution_shows_what_it_took_and_made(told: Reader) -> None:
    found = lineage.find_execution(told, "scheduled__2022-02-07", "Trainer")
    assert found.attempt == 2
    detail = lineage.execution_detail(told, found.id)
    assert {key for key, _ in detail.inputs} == {"examples", "transform_graph", "hyperparameters"}
    assert [(key, artifact.type) for key, artifact in detail.outputs] == [("model", "Model")]


def test_what_lineage_does_not_know_is_told_with_what_it_knows(told: Reader) -> None:
    for ask, known in (
        (lambda: lineage.model_detail(told, "2021-01-01"), "or '#<id in MLMD>'; the newest are .*2022020702 of night"),
        (lambda: lineage.recall(told, "2021-01-01"), "7 drops, 2022-02-01 to 2022-02-08"),
        (lambda: lineage.recall(told, SECOND, 7), r"versions \(1, 2\)"),
        (lambda: lineage.night_detail(told, "2021-01-01"), "7 nights were, 2022-02-01 to 2022-02-08"),
        (lambda: lineage.metric_history(told, "fame"), "there are accuracy"),
        (lambda: lineage.check_history(told, "fame"), "no night has a check 'fame'; there are accuracy"),
        (lambda: lineage.find_execution(told, "scheduled__2022-02-07", "Baker"), "Transform"),
        (lambda: lineage.run_report(told, "none"), "manual__2022-02-08"),
    ):
        with pytest.raises(UnknownError, match=known):
            ask()


def test_a_night_of_the_calendar_that_was_never_run_is_told_as_missing(told: Reader) -> None:
    detail = lineage.night_detail(told, SIXTH)
    assert detail.report and (detail.report.state, detail.runs) == ("missing", ())
    assert detail.report.why == "no run, and no later night used a drop of it"


def test_the_newest_nights_are_a_graph(told: Reader) -> None:
    graph = lineage.graph(told, limit=2)
    assert {node.night for node in graph.nodes if node.type == "Model"} == {FIFTH, SEVENTH, EIGHTH}
    dot = lineage.to_dot(graph)
    assert dot.count("{") == dot.count("}") == 1
    assert '[label="drop of 2022-02-08, version 1", shape=folder]' in dot


def test_answers_become_json(told: Reader) -> None:
    answer = lineage.to_json(lineage.model_detail(told, SEVENTH))
    assert answer["model"]["versions"] == [2022020702]
    assert answer["artifacts"]["Trainer/model"]["type"] == "Model"
    assert lineage.to_json(lineage.night_detail(told, FIRST))["runs"][0]["executions"][0]["counts"] is True
    assert lineage.to_json(lineage.serving_now(told))["since"].endswith("+00:00")
