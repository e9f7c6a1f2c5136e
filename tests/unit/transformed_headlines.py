"""Invented headlines, raw and as Transform gives them: what the tests of `modules/` share.

Fixtures only; nothing is asserted here.
"""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.coders.example_coder import RecordBatchToExamples
from tfx_bsl.public import tfxio

from modules.features import LABEL, NIGHT, TITLE, WEIGHT
from modules.model import run_fn
from modules.preprocessing import preprocessing_fn

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "modules" / "schema.pbtxt"
RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"

_SUBJECTS = ("Governo", "Prefeitura", "Time", "Ministério", "Escola", "Hospital", "Banda", "Polícia")
_PREDICATES = {
    "negative": ("anuncia crise e demissões", "sofre derrota em tragédia"),
    "neutral": ("divulga agenda da semana", "marca reunião para terça"),
    "positive": ("comemora vitória e recorde", "celebra prêmio inédito"),
}
_PLACES = ("em São Paulo", "no Recife", "em Belém", "no Rio", "em Brasília")


class Headline(NamedTuple):
    """One raw example."""

    title: str
    sentiment: str | None = None
    night: str | None = None
    weight: float | None = None


HEADLINES = [
    Headline(f"{subject} {predicate} {place}", label, "2022-02-01", 1.0)
    for subject, place, (label, predicates) in itertools.product(_SUBJECTS, _PLACES, _PREDICATES.items())
    for predicate in predicates
]


def serialize(headline: Headline) -> bytes:
    """A tf.Example of what the headline has; None is left out."""
    values = {TITLE: headline.title, LABEL: headline.sentiment, NIGHT: headline.night}
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        for name, value in values.items()
        if value is not None
    }
    if headline.weight is not None:
        features[WEIGHT] = tf.train.Feature(float_list=tf.train.FloatList(value=[headline.weight]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def transform(
    headlines: list[Headline], folder: Path, custom_config: dict[str, Any] | None = None
) -> tft.TFTransformOutput:
    """Analyses and transforms headlines as TFX's Transform does: `folder` gets `examples*.gz` and `graph/`."""
    schema = text_format.Parse(SCHEMA_FILE.read_text(), schema_pb2.Schema())
    source = tfxio.TFExampleBeamRecord(physical_format="memory", schema=schema)
    with beam.Pipeline(runner=RUNNER) as pipeline, tft_beam.Context(temp_dir=str(folder / "temporary")):
        raw = (
            pipeline
            | beam.Create([serialize(headline) for headline in headlines], reshuffle=False)
            | source.BeamSource()
        )
        (transformed, _), transform_fn = (raw, source.TensorAdapterConfig()) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: preprocessing_fn(inputs, custom_config), output_record_batches=True
        )
        examples = transformed | beam.FlatMapTuple(lambda batch, _: RecordBatchToExamples(batch))
        examples | beam.io.WriteToTFRecord(str(folder / "examples"), file_name_suffix=".gz", num_shards=1)
        transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    raw_metadata = folder / "graph" / tft.TFTransformOutput.RAW_METADATA_DIR
    raw_metadata.mkdir()
    (raw_metadata / "schema.pbtxt").write_text(SCHEMA_FILE.read_text())
    return tft.TFTransformOutput(str(folder / "graph"))


def read_transformed(folder: Path) -> dict[str, Any]:
    """All transformed examples of `folder`, in the order of the headlines, as one batch."""
    spec = tft.TFTransformOutput(str(folder / "graph")).transformed_feature_spec()
    records = tf.data.TFRecordDataset(sorted(map(str, folder.glob("examples*.gz"))), compression_type="GZIP")
    return tf.io.parse_example([record.numpy() for record in records], spec)


def run_trainer(transformed: Path, folder: Path, seed: int = 7, **hyperparameters: Any) -> Path:
    """Trains on `transformed` as TFX's Trainer does, but briefly: the SavedModel's folder; TensorBoard's is beside it.

    The arguments hold no evaluation files: whoever reads them fails.
    """
    overrides = {"epochs": 2, "min_steps": 60, "batch_size": 32, "learning_rate": 0.003, "validation_percent": 20}
    run_fn(
        FnArgs(
            train_files=[str(transformed / "examples*.gz")],
            transform_graph_path=str(transformed / "graph"),
            serving_model_dir=str(folder / "Format-Serving"),
            model_run_dir=str(folder / "run"),
            hyperparameters=None,
            custom_config={"hyperparameters": {**overrides, **hyperparameters}, "seed": seed, "code_hash": "0"},
        )
    )
    return folder / "Format-Serving"
