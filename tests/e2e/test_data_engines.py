"""A night's data nodes on a real Flink or Spark cluster, one of whose workers is killed amid a job: equal to one box.

`make test-flink` and `make test-spark` run one half each.
"""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_model_analysis as tfma
import waiting
from driving import CHECKOUT, SMALL_TRAINING, Service, make_environment, predict, query, start_service
from engine_clusters import Cluster, UnavailableError, run_cluster
from google.protobuf.json_format import MessageToDict

import lineage
from modules.features import LABELS

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long]

NIGHT = "2022-02-01"
UNLABELLED = ["Acidente deixa dez mortos em rodovia", "Prefeitura inaugura escola", "Foi bom", "Foi ruim"]
# Its job has the most stages.
AMID = "Transform"
# Of MLMD's Execution.State.
RUNNING = 2
wait_until = partial(waiting.wait_until, every=0.2)
# Sketches: what they say depends on how the rows were dealt out to workers.
SKETCHED = {"histograms", "uniques", "top_values", "rank_histogram", "median", "quantiles", "weighted_string_stats"}
# Runs an executor as the pipelines do, on the engine that the environment names: those whose input is a model, with
# one and the same.
NODE = """
import sys
from pathlib import Path
import json
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import bulk_inferrer_pb2
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation
from tfx.utils import proto_utils
from retraining.engines.accounting import BulkInferrerExecutor, EvaluatorExecutor
from retraining.engines.arguments import list_arguments
from retraining.pipelines.evaluation import eval_config
from retraining.settings import Settings
from modules.features import PROBABILITIES, SCORING_SIGNATURE

def make(kind, uri):
    artifact = kind()
    artifact.uri, artifact.id = uri, 1
    return artifact

if __name__ == "__main__":
    examples_uri, model_uri, place = sys.argv[1:]
    settings = Settings.from_env()
    examples, model = make(Examples, examples_uri), make(Model, model_uri)
    examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    context = BaseBeamExecutor.Context(beam_pipeline_args=list_arguments(settings), tmp_dir=place + "/tmp")
    EvaluatorExecutor(context).Do(
        {"examples": [examples], "model": [model]},
        {"evaluation": [make(ModelEvaluation, place + "/evaluation")], "blessing": [make(ModelBlessing, place + "/b")]},
        {
            "eval_config": proto_utils.proto_to_json(eval_config()),
            "limits": settings.bar_limits.to_json(),
            "example_splits": "null",
        },
    )
    column = bulk_inferrer_pb2.PredictOutputCol(output_key=PROBABILITIES, output_column=PROBABILITIES)
    predicted = bulk_inferrer_pb2.PredictOutput(output_columns=[column])
    columns = bulk_inferrer_pb2.OutputColumnsSpec(predict_output=predicted)
    context = BaseBeamExecutor.Context(beam_pipeline_args=list_arguments(settings), tmp_dir=place + "/tmp2")
    BulkInferrerExecutor(context).Do(
        {"examples": [examples], "model": [model]},
        {"output_examples": [make(Examples, place + "/scored")]},
        {
            "model_spec": proto_utils.proto_to_json(
                bulk_inferrer_pb2.ModelSpec(model_signature_name=[SCORING_SIGNATURE])
            ),
            "output_example_spec": proto_utils.proto_to_json(
                bulk_inferrer_pb2.OutputExampleSpec(output_columns_spec=[columns])
            ),
            "data_spec": "{}",
        },
    )
"""


@dataclass(frozen=True)
class Nights:
    """The same night of one box, and of a service whose data nodes run on a cluster.

    Attributes:
      cluster: the cluster.
      box: the one box.
      service: the service.
    """

    cluster: Cluster
    box: Service
    service: Service

    @property
    def here(self) -> Path:
        """The folder of artifacts of the one box."""
        return self.box.settings.state_dir / "local" / "pipelines"

    @property
    def there(self) -> Path:
        """That of the service."""
        return self.service.settings.pipeline_root


@pytest.fixture(scope="module", params=["flink", "spark"])
def nights(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, twelve_nights: Path
) -> Iterator[Nights]:
    kind = request.param
    try:
        with run_cluster(kind, tmp_path_factory.mktemp(f"{kind}-cluster")) as cluster:
            yield from run_nights(cluster, tmp_path_factory.mktemp(kind), twelve_nights)
    except UnavailableError as missing:
        pytest.skip(f"no cluster of {kind}: {missing}")


def run_nights(cluster: Cluster, place: Path, drops: Path) -> Iterator[Nights]:
    settings = {**SMALL_TRAINING, "MAX_QUARANTINED_SHARE": "0.5"}
    with start_service(place / "service", drops, 1, **settings, **cluster.variables) as service:
        box = Service(make_environment(place / "box", service.settings.drops_dir, **settings))
        box("run", "--local", "--night", NIGHT)
        unlabelled = service.settings.drops_dir / NIGHT / "unlabelled.csv"
        unlabelled.write_text("\n".join(["title", *UNLABELLED, ""]), encoding="utf-8")
        run = [sys.executable, "-m", "retraining", "run", "--night", NIGHT]
        night = subprocess.Popen(
            run, cwd=CHECKOUT, env=service.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        wait_until(lambda: AMID in find_running(service) and cluster.is_busy(), f"a job of {AMID} is at work", 900)
        # As a machine that loses its power, and is there again: by whatever keeps task managers running.
        cluster.kill("worker-1")
        cluster.start_worker(1)
        output, _ = night.communicate(timeout=900)
        assert night.returncode == 0, output
        yield Nights(cluster, box, service)


def find_running(service: Service) -> list[str]:
    """The nodes whose attempt is at work."""
    return [
        str(node)
        for (node,) in query(
            service,
            f"""SELECT c.string_value FROM execution e
                JOIN executionproperty c ON c.execution_id = e.id AND c.name = 'component_id'
                WHERE e.last_known_state = {RUNNING}""",
        )
    ]


def find_output(root: Path, node: str, key: str) -> Path:
    """The folder that the newest attempt of a node wrote."""
    return max((root / node / key).iterdir(), key=lambda folder: int(folder.name))


def test_the_night_comes_to_its_verdict_though_a_worker_was_killed(nights: Nights) -> None:
    [night] = lineage.nights(nights.service.settings)
    assert night.state == "pushed", night
    attempts = Counter(node for (node,) in query(nights.service, ATTEMPTS))
    # Spark's and Flink's own restarts do without one of Airflow's.
    assert attempts[AMID] == 1


ATTEMPTS = "SELECT string_value FROM executionproperty WHERE name = 'component_id'"


def test_the_examples_are_equal_in_whatever_order_and_so_is_what_is_set_aside(nights: Nights) -> None:
    for split in ("train", "eval", "fresh"):
        here, there = (
            read_rows(find_output(root, "HeadlineExampleGen", "examples") / f"Split-{split}")
            for root in (nights.here, nights.there)
        )
        assert here
        assert there == here
    for name in ("quarantine.csv", "duplicates.csv"):
        here, there = (
            (find_output(root, "HeadlineExampleGen", "quarantine") / name).read_bytes()
            for root in (nights.here, nights.there)
        )
        assert there == here


def test_unlabelled_headlines_are_scored_by_the_cluster_as_the_served_model_answers(nights: Nights) -> None:
    settings = nights.service.settings
    [version] = nights.service.versions()
    place = settings.scores_dir / NIGHT / f"{version}.csv"
    wait_until(place.is_file, f"{place} is there", 600)
    with place.open(newline="", encoding="utf-8-sig") as file:
        scores = list(csv.DictReader(file))
    assert [row["title"] for row in scores] == UNLABELLED
    answer = predict(settings.serving_dir / version, UNLABELLED)
    assert [row["label"] for row in scores] == answer["label"]
    for row, probabilities in zip(scores, answer["probabilities"], strict=True):
        found = [float(row[f"probability_{label}"]) for label in LABELS]
        np.testing.assert_allclose(found, probabilities, atol=1e-4)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_statistics_are_equal_but_for_sketches(nights: Nights, split: str) -> None:
    here, there = (
        read_statistics(find_output(root, "StatisticsGen", "statistics") / f"Split-{split}")
        for root in (nights.here, nights.there)
    )
    assert here
    assert there == here


def read_statistics(folder: Path) -> dict[str, Any]:
    [dataset] = tfdv.load_stats_binary(str(folder / "FeatureStats.pb")).datasets
    features = {"".join(one.path.step): strip(MessageToDict(one)) for one in dataset.features}
    return {"rows": dataset.num_examples, "features": features}


def strip(value: Any) -> Any:
    """Without sketches, and with no more digits than an order of summation leaves alone."""
    if isinstance(value, dict):
        snake = {name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name) for name in value}
        return {name: strip(inner) for name, inner in value.items() if not SKETCHED & {snake[name], name.lower()}}
    if isinstance(value, list):
        return [strip(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


def test_the_vocabulary_is_equal_to_the_byte(nights: Nights) -> None:
    here, there = (
        {
            path.name: path.read_bytes()
            for path in (find_output(root, AMID, "transform_graph") / "transform_fn" / "assets").iterdir()
        }
        for root in (nights.here, nights.there)
    )
    assert here
    assert there == here


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_transformed_rows_are_equal_in_whatever_order(nights: Nights, split: str) -> None:
    here, there = (
        read_rows(find_output(root, AMID, "transformed_examples") / f"Split-{split}")
        for root in (nights.here, nights.there)
    )
    assert here
    assert there == here


def read_rows(folder: Path, digits: int = 4) -> Counter[str]:
    """The rows of a folder, each as text, with how often it is there."""
    files = sorted(map(str, folder.glob("*.gz")))
    rows: Counter[str] = Counter()
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        row = {
            name: [round(value, digits) for value in one.float_list.value]
            or [str(value) for value in (*one.bytes_list.value, *one.int64_list.value)]
            for name, one in features.items()
        }
        rows[json.dumps(row, sort_keys=True)] += 1
    return rows


@pytest.fixture(scope="module")
def answers(nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What the Evaluator and BulkInferrer make of one model and the same rows, on one box and on the cluster."""
    examples = find_output(nights.here, "HeadlineExampleGen", "examples")
    model = find_output(nights.here, "Trainer", "model")
    places = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    for place, variables in zip(places, ({"BEAM": "local"}, nights.cluster.variables), strict=True):
        script = place / "node.py"
        script.write_text(NODE)
        environment = os.environ | SMALL_TRAINING | {"PYTHONPATH": str(CHECKOUT), **variables}
        command = [sys.executable, "-W", "ignore", str(script), str(examples), str(model), str(place)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    return places


def test_the_evaluation_of_one_model_is_equal(answers: tuple[Path, Path]) -> None:
    here, there = (read_metrics(place / "evaluation") for place in answers)
    assert here
    assert there.keys() == here.keys()
    for name, value in here.items():
        np.testing.assert_allclose(there[name], value, rtol=1e-6, err_msg=name)
    here, there = (json.loads((place / "evaluation" / "verdict.json").read_text()) for place in answers)
    assert there == here


def read_metrics(folder: Path) -> dict[str, float]:
    """Each metric of each slice."""
    return {
        f"{slice_metrics.slice_key} {item.key.name}": item.value.double_value.value
        for slice_metrics in tfma.load_metrics(str(folder))
        for item in slice_metrics.metric_keys_and_values
        if not item.value.HasField("array_value")
    }


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_predictions_of_scoring_are_equal(answers: tuple[Path, Path], split: str) -> None:
    here, there = (read_rows(place / "scored" / f"Split-{split}") for place in answers)
    assert here
    assert there == here
