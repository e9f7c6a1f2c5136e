"""The night's requests beside the window, from the model server's own log to the artifact."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.proto.metadata_store_pb2 import Artifact
from tfx import v1 as tfx
from tfx.orchestration import metadata
from tfx.types import standard_artifacts

from headlines.drops.drops_folder import parse_night
from headlines.drops.rows import read_file
from headlines.drops.samples import write_samples
from modules.text import TextSettings
from serving.request_log import RequestLog
from tfx_components.live_traffic import Limits, LiveTraffic, Request, judge_answers, read_requests
from tfx_components.related_index import Headline

ZONE = ZoneInfo("America/Sao_Paulo")
NIGHT = "2022-02-04"
NIGHTS = ("2022-02-01", "2022-02-02", "2022-02-03", NIGHT)
LIMITS = Limits(max_skew=0.25, max_drift=0.25, min_served_accuracy=0.5, min_requests=100)
SPAM = "Buy the best pills online now with a very big discount offer in town today"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> list[Headline]:
    drops = tmp_path_factory.mktemp("drops")
    write_samples(drops, nights=len(NIGHTS))
    return [
        Headline(row.title, row.label, night)
        for night in NIGHTS
        for file in sorted((drops / str(parse_night(night))).glob("*.csv"))
        for row in read_file(file).rows
        # Samples have broken rows as well, which no example is made of.
        if row.title.strip() and row.title.isprintable() and row.label in ("negative", "neutral", "positive")
    ]


def line(moment: str, title: str, label: str | None = "neutral", version: int = 2022020301) -> str:
    entry = {"time": moment, "version": version, "signature": "predict_text", "title": title, "label": label}
    return json.dumps(entry | {"confidence": 0.5}, ensure_ascii=False) + "\n"


def write_log(path: Path, rows: Iterable[Headline], moment: str = f"{NIGHT}T15:00:00+00:00") -> Path:
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(line(moment, row.title, row.label) for row in rows)
    return path


def run(place: Path, window: Sequence[Headline], log: Path | str, limits: Limits = LIMITS) -> tuple[dict, Artifact]:
    """The report and the artifact of the component in a pipeline of its own."""
    for split, rows in (("train", window[1:]), ("eval", window[:1])):
        file = place / "examples" / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for row in rows:
                example = tf.train.Example()
                for name, text in zip(("title", "sentiment", "night"), row, strict=True):
                    example.features.feature[name].bytes_list.value.append(text.encode())
                writer.write(example.SerializeToString())
    examples = tfx.dsl.Importer(
        source_uri=str(place / "examples"),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": '["train", "eval"]'},
        custom_properties={"night": NIGHT},
    ).with_id("Examples")
    traffic = LiveTraffic(
        examples=examples.outputs["result"],
        request_log=str(log),
        timezone=str(ZONE),
        max_skew=limits.max_skew,
        max_drift=limits.max_drift,
        min_served_accuracy=limits.min_served_accuracy,
        min_requests=limits.min_requests,
        text_rules="{}",
    )
    store = metadata.sqlite_metadata_connection_config(str(place / "mlmd.sqlite"))
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="traffic",
            pipeline_root=str(place / "root"),
            components=[examples, traffic],
            metadata_connection_config=store,
        )
    )
    with metadata.Metadata(store) as handle:
        (artifact,) = handle.store.get_artifacts_by_type("TrafficReport")
    return json.loads((Path(artifact.uri) / "report.json").read_text()), artifact


def test_requests_like_the_window_are_measured_and_raise_no_alarm(window: list[Headline], tmp_path: Path) -> None:
    log = write_log(tmp_path / "requests.jsonl", [row for row in window if row.night == NIGHT])
    write_log(tmp_path / "requests.jsonl.1", [row for row in window if row.night == NIGHTS[2]], "2022-02-03T15:00:00Z")
    report, artifact = run(tmp_path, window, log)
    asked = sum(row.night == NIGHT for row in window)
    assert report["requests"] == artifact.custom_properties["requests"].int_value == asked
    assert report["earlier_requests"] == sum(row.night == NIGHTS[2] for row in window)
    for kind in ("skew", "drift"):
        assert report[kind].keys() == {"words", "unseen_words", "label"}
        for feature, distance in report[kind].items():
            assert 0 <= distance < 0.25
            # SQLite keeps six digits (no issue known).
            assert artifact.custom_properties[f"{kind}:{feature}"].double_value == pytest.approx(distance, abs=1e-5)
    # The log's labels are the drop's own, of a model of the night before.
    assert report["served_accuracy"] == artifact.custom_properties["served_accuracy"].double_value == 1.0
    assert report["served_rows"] == artifact.custom_properties["served_rows"].int_value > 100
    assert report["alarms"] == []
    assert artifact.custom_properties["alarm"].string_value == ""


def test_requests_unlike_the_window_and_the_day_before_are_alarms_with_their_limit(
    window: list[Headline], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "requests.jsonl", [Headline(SPAM, "positive", "")] * 150)
    write_log(log, window[:150], "2022-02-03T15:00:00+00:00")
    report, artifact = run(tmp_path, window, log)
    alarms = artifact.custom_properties["alarm"].string_value.split("; ")
    assert alarms == report["alarms"]
    assert [alarm.split(" of ")[0] for alarm in alarms] == ["label", "unseen_words", "words"] * 2
    assert re.fullmatch(r"label of the night's requests is [01]\.\d{3} from the window, limit 0\.250", alarms[0])
    assert re.fullmatch(r"words of the night's requests is [01]\.\d{3} from the earlier ones, limit 0\.250", alarms[-1])


def test_answers_that_the_night_s_labels_prove_wrong_are_an_alarm(window: list[Headline], tmp_path: Path) -> None:
    wrong = {"negative": "neutral", "neutral": "positive", "positive": "negative"}
    asked = [Headline(row.title, wrong[row.label], "") for row in window if row.night == NIGHT]
    report, _ = run(tmp_path, window, write_log(tmp_path / "requests.jsonl", asked))
    assert report["served_accuracy"] < 0.05
    assert any("were right, limit 0.500" in alarm for alarm in report["alarms"])


def test_few_requests_are_measured_and_are_no_alarm(window: list[Headline], tmp_path: Path) -> None:
    report, _ = run(tmp_path, window, write_log(tmp_path / "requests.jsonl", [Headline(SPAM, "positive", "")] * 99))
    assert report["skew"]["unseen_words"] > 0.9
    assert report["alarms"] == []


@pytest.mark.parametrize("log", ["", "no-such-file.jsonl"])
def test_without_a_log_or_a_request_the_report_says_so(log: str, window: list[Headline], tmp_path: Path) -> None:
    report, artifact = run(tmp_path, window[:5], log and tmp_path / log)
    assert report["requests"] == artifact.custom_properties["requests"].int_value == 0
    assert ("SERVING_REQUEST_LOG" in report["note"]) == (not log)
    assert "served_accuracy" not in artifact.custom_properties
    assert report["alarms"] == []


def test_what_the_model_server_logs_is_read_and_what_it_has_half_written_is_counted(tmp_path: Path) -> None:
    log = RequestLog(tmp_path / "requests.jsonl", share=1.0, max_bytes=1024, files=50)
    titles = [f"Manchete número {number} com “aspas” e \\barras" for number in range(20)]
    for title in titles:
        outputs = {"label": np.array([b"positive"], object), "confidence": np.array([0.7], np.float32)}
        log.keep(2022020301, "predict_text", {"title": np.array([title.encode()], object)}, outputs)
    log.close()
    with (tmp_path / "requests.jsonl").open("a") as stream:
        stream.write('{"time": "2022-02-')
    assert len(list(tmp_path.iterdir())) > 2, "it was rotated"
    requests, unreadable = read_requests(tmp_path / "requests.jsonl", ZONE, "2999-01-01")
    assert [request.title for request in requests] == titles
    assert {(request.version, request.label) for request in requests} == {(2022020301, "positive")}
    assert unreadable == 1


def test_a_request_belongs_to_the_night_of_the_schedule_s_time_zone_and_later_ones_are_not_read(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    log.write_text(
        line(f"{NIGHT}T02:59:00+00:00", "the night before")
        + line(f"{NIGHT}T03:00:00+00:00", "the night's first")
        + line("2022-02-05T02:59:00+00:00", "the night's last")
        + line("2022-02-05T03:00:00+00:00", "the next night")
        + line(f"{NIGHT}T12:00:00+00:00", "no answer", label=None)
    )
    requests, _ = read_requests(log, ZONE, NIGHT)
    assert [request.title for request in requests] == ["the night before", "the night's first", "the night's last"]


def test_an_answer_counts_once_per_title_as_last_given_by_a_model_that_had_not_seen_the_label() -> None:
    def answer(hour: int, title: str, label: str, version: int = 2022020301) -> Request:
        return Request(datetime(2022, 2, 4, hour, tzinfo=ZONE), version, title, label)

    window = [
        Headline("Chuva forte", "negative", NIGHT),
        Headline("Bom dia", "positive", NIGHT),
        Headline("Já sabida", "neutral", "2022-02-01"),
    ]
    requests = [
        answer(1, "CHUVA,  forte.", "neutral"),
        answer(2, "Chuva forte", "negative"),
        answer(3, "Chuva forte", "positive", version=2022020401),
        answer(4, "bom dia", "neutral"),
        answer(5, "Já sabida", "negative"),
    ]
    assert judge_answers(requests, window, NIGHT, TextSettings()) == [True, False]
