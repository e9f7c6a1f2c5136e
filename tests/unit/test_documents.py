import csv
import io
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from headlines.display import fold
from lineage import ArtifactRecord, UnknownError
from retraining.web import documents


def artifact(folder: Path, **properties: str) -> ArtifactRecord:
    return ArtifactRecord(1, str(folder), properties)


def write_statistics(folder: Path) -> None:
    stats = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = stats.datasets.add()
    label = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
    label.path.step.append("sentiment")
    label.string_stats.common_stats.num_non_missing = 100
    label.string_stats.unique = 2
    for value, frequency in (("neutral", 75), ("negative", 25)):
        label.string_stats.top_values.add(value=value, frequency=frequency)
    weight = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
    weight.path.step.append("weight")
    weight.num_stats.median = 0.5
    weight.num_stats.histograms.add().buckets.add(low_value=0, high_value=1, sample_count=100)
    path = folder / "Split-train" / "FeatureStats.pb"
    path.parent.mkdir(parents=True)
    path.write_bytes(stats.SerializeToString())


def test_statistics_are_told_by_split_and_feature_with_their_bars(tmp_path: Path) -> None:
    write_statistics(tmp_path)
    label, weight = documents.statistics(artifact(tmp_path))["train"]
    assert (label["name"], label["type"], label["rows"]) == ("sentiment", "string", 100)
    assert label["bars"] == [("neutral", 75), ("negative", 25)]
    assert weight["facts"]["median"] == 0.5
    assert weight["bars"] == [("0 to 1", 100)]


def test_the_mix_of_the_drop_stands_beside_that_of_the_window(tmp_path: Path) -> None:
    write_statistics(tmp_path)
    examples = artifact(tmp_path, classes='{"positive": 1, "neutral": 3}')
    assert documents.class_mixes(examples, documents.statistics(artifact(tmp_path))) == {
        "drop": {"negative": 0, "neutral": 0.75, "positive": 0.25},
        "window": {"negative": 0.25, "neutral": 0.75, "positive": 0},
    }


def test_a_run_that_stopped_early_or_whose_files_are_gone_has_no_statistics(tmp_path: Path) -> None:
    assert documents.statistics(None) == {}
    assert documents.statistics(artifact(tmp_path / "gone")) == {}
    assert documents.class_mixes(None, {}) == {}
    assert documents.verdict(artifact(tmp_path)) == {}
    assert documents.count_reasons(None, "2022-02-01") is None
    assert documents.quarantined_rows(artifact(tmp_path)) is None
    damaged = tmp_path / "Split-eval" / "FeatureStats.pb"
    damaged.parent.mkdir()
    damaged.write_bytes(b"\xff\xff\xff")
    assert documents.statistics(artifact(tmp_path)) == {}


def test_no_anomalies_is_not_the_same_as_none_looked_for(tmp_path: Path) -> None:
    assert documents.anomalies(None) is None
    path = tmp_path / "Split-train" / "SchemaDiff.pb"
    path.parent.mkdir()
    path.write_bytes(anomalies_pb2.Anomalies().SerializeToString())
    assert documents.anomalies(artifact(tmp_path)) == {"train": []}
    found = anomalies_pb2.Anomalies()
    found.anomaly_info["sentiment"].short_description = "Unexpected string values"
    path.write_bytes(found.SerializeToString())
    assert documents.anomalies(artifact(tmp_path)) == {
        "train": [{"feature": "sentiment", "what": "Unexpected string values", "detail": ""}]
    }
    path.write_bytes(b"\xff\xff\xff")
    assert documents.anomalies(artifact(tmp_path)) is None
    assert documents.anomalies(artifact(tmp_path / "gone")) is None


def test_quarantined_rows_are_read_however_long_a_past_night_left_them(tmp_path: Path) -> None:
    quarantine = artifact(tmp_path)
    header = "night,version,file,line,reason,detail,raw\n"
    (tmp_path / "quarantine.csv").write_text(f"{header}2022-02-01,1,a.csv,2,x,,{'a' * 200_000}\n")
    [row] = documents.quarantined_rows(quarantine) or []
    assert len(row["raw"]) == 200_000


def test_quarantined_rows_are_counted_also_when_their_file_is_gone(tmp_path: Path) -> None:
    quarantine = artifact(tmp_path / "gone", rows="8", **{"reason:empty title": "3", "reason:unknown label": "5"})
    assert documents.count_reasons(quarantine, "2022-02-01") == [
        {"reason": "unknown label", "night": None, "window": 5},
        {"reason": "empty title", "night": None, "window": 3},
    ]
    assert documents.count_reasons(artifact(tmp_path, rows="0"), "2022-02-01") == []


def test_quarantined_rows_are_counted_of_the_night_and_of_its_window(tmp_path: Path) -> None:
    rows = [("2022-02-02", "unknown label"), ("2022-02-01", "unknown label"), ("2022-02-02", "empty title")]
    (tmp_path / "quarantine.csv").write_text(
        "night,reason\n" + "".join(f"{night},{reason}\n" for night, reason in rows), encoding="utf-8-sig"
    )
    quarantine = artifact(tmp_path, rows="3", **{"reason:empty title": "1", "reason:unknown label": "2"})
    assert documents.count_reasons(quarantine, "2022-02-02") == [
        {"reason": "unknown label", "night": 1, "window": 2},
        {"reason": "empty title", "night": 1, "window": 1},
    ]


def test_bytes_that_are_not_utf8_can_be_shown(tmp_path: Path) -> None:
    drop = tmp_path / "2022-02-01" / "headlines.csv"
    drop.parent.mkdir()
    drop.write_bytes(b"title,sentiment\n" + "Eleição,neutral\n".encode() * 20 + b"Elei\xe7\xe3o,neutral\n")
    rows = documents.drop_rows(tmp_path, "2022-02-01", 1)
    assert (rows[0]["title"], rows[-1]["line"]) == ("Eleição", 22)
    assert rows[-1]["title"].encode()
    with pytest.raises(UnknownError, match="version 2 of the drop of night 2022-02-01 is not in"):
        documents.drop_rows(tmp_path, "2022-02-01", 2)


def test_rows_are_searched_whatever_their_case_and_shown_page_by_page() -> None:
    rows = [{"title": f"Título {number}"} for number in range(120)]
    shown = documents.select(rows, 3, "TÍTULO")
    assert (shown["count"], shown["pages"], [row["title"] for row in shown["rows"]][:1]) == (120, 3, ["Título 100"])
    assert documents.select(rows, 99, "")["page"] == 3
    assert documents.select([], -5, "")["pages"] == 1


@pytest.mark.parametrize(
    ("sought", "text"),
    [
        ("eleicao", "Eleição no Amapá"),
        ("ELEIÇÃO", "eleicao no amapa"),
        ("amapa\u0301", "Eleição no Amapá"),
        ("Straße", "STRASSE"),
        ("ﬁm", "Fim do mês"),
    ],
)
def test_a_search_finds_a_text_whatever_its_accents_and_how_they_are_written(sought: str, text: str) -> None:
    rows = [{"title": "Chuva em Santos"}, {"title": text}]
    assert documents.select(rows, 1, sought)["rows"] == [{"title": text}]


def test_accents_are_folded_away_and_letters_are_not() -> None:
    assert fold("São João d'Água nº 5") == "sao joao d'agua no 5"
    assert documents.select([{"title": "Chuva"}], 1, "chuvá")["count"] == 1
    assert documents.select([{"title": "Chuva"}], 1, "chuvx")["count"] == 0


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1"])
def test_a_cell_that_a_spreadsheet_would_calculate_is_exported_as_text(cell: str) -> None:
    exported = documents.to_csv([{"title": cell, "line": 2}])
    [row] = csv.DictReader(io.StringIO(exported, newline=""))
    assert row == {"title": f"'{cell}", "line": "2"}


def test_what_is_no_formula_is_exported_as_it_is() -> None:
    title = 'Preço cai 3% = recorde; "menor" do ano'
    [row] = csv.DictReader(io.StringIO(documents.to_csv([{"title": title}])))
    assert row["title"] == title
