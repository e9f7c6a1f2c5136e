"""The index of related headlines, from a TFX pipeline to the model server's reader."""

import json
from pathlib import Path

import pytest
import tensorflow as tf
from tfx import v1 as tfx
from tfx.orchestration import metadata
from tfx.types import standard_artifacts

from serving.related import RelatedIndex as ServedIndex
from tfx_components.related_index import Headline, RelatedIndex, write_index

HEADLINES = [
    Headline("Chuva forte deixa mortos em Petrópolis", "negative", "2022-02-01"),
    Headline("Chuvas em São Paulo preocupam moradores", "negative", "2022-02-02"),
    Headline("Seleção brasileira vence amistoso", "positive", "2022-02-02"),
    Headline("Congresso vota orçamento nesta terça", "neutral", "2022-02-03"),
]
HELD_OUT = Headline("Chuva forte deixa mortos no Recife", "negative", "2022-02-03")


def write_split(folder: Path, headlines: list[Headline]) -> None:
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), "GZIP") as writer:
        for headline in headlines:
            example = tf.train.Example()
            for name, text in zip(("title", "sentiment", "night"), headline, strict=True):
                example.features.feature[name].bytes_list.value.append(text.encode())
            writer.write(example.SerializeToString())


def test_the_pipeline_s_index_finds_what_the_model_was_taught_and_nothing_held_out(tmp_path: Path) -> None:
    write_split(tmp_path / "examples" / "Split-train", HEADLINES)
    write_split(tmp_path / "examples" / "Split-eval", [HELD_OUT])
    examples = tfx.dsl.Importer(
        source_uri=str(tmp_path / "examples"),
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": '["train", "eval"]'},
    ).with_id("Examples")
    store = metadata.sqlite_metadata_connection_config(str(tmp_path / "mlmd.sqlite"))
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="related",
            pipeline_root=str(tmp_path / "root"),
            components=[examples, RelatedIndex(examples=examples.outputs["result"])],
            metadata_connection_config=store,
        )
    )
    with metadata.Metadata(store) as handle:
        (artifact,) = handle.store.get_artifacts_by_type("RelatedHeadlines")
    assert artifact.custom_properties["headlines"].int_value == len(HEADLINES)
    assert artifact.custom_properties["terms"].int_value > 100
    assert artifact.custom_properties["scikit_learn"].string_value == "1.5.1"
    found = ServedIndex.load(Path(artifact.uri)).find("CHUVA forte em Petropolis", 10)
    assert [(headline.title, headline.label, headline.night) for headline in found[:2]] == HEADLINES[:2]
    assert HELD_OUT.title not in {headline.title for headline in found}


def test_a_headline_is_nearest_to_itself(tmp_path: Path) -> None:
    write_index(HEADLINES, tmp_path)
    index = ServedIndex.load(tmp_path)
    assert len(index) == len(HEADLINES)
    for headline in HEADLINES:
        (nearest,) = index.find(headline.title, 1)
        assert (nearest.title, nearest.label, nearest.night) == headline
        assert nearest.similarity == pytest.approx(1, abs=1e-3)


def test_one_headline_is_enough(tmp_path: Path) -> None:
    write_index(HEADLINES[:1], tmp_path)
    assert [headline.title for headline in ServedIndex.load(tmp_path).find("chuva", 5)] == [HEADLINES[0].title]


@pytest.mark.parametrize("headlines", [[], [Headline(" ", "neutral", "2022-02-01")]])
def test_titles_without_a_word_make_no_index(tmp_path: Path, headlines: list[Headline]) -> None:
    with pytest.raises(ValueError, match=rf"no index can be made of {len(headlines)} titles"):
        write_index(headlines, tmp_path)


def test_the_files_hold_no_pickle(tmp_path: Path) -> None:
    write_index(HEADLINES, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "matrix.npz", "rows.json"]
    assert json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))["format"] == 1
