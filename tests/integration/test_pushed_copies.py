"""A champion whose Trainer's folder is gone is taken from the serving folder."""

import shutil
from pathlib import Path

import pytest
from airflow.exceptions import AirflowFailException
from launching import launch_all, pipeline
from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact
from tiny_pipeline import nodes

from retraining.engines.arguments import list_arguments
from retraining.recording.store import connection_config
from retraining.settings import Settings


@pytest.fixture
def judged(settings: Settings) -> Settings:
    return settings.model_copy(update={"min_accuracy": 0.6, "min_macro_f1": 0.4})


def run(settings: Settings, night: str) -> None:
    arguments = {"beam_pipeline_args": list_arguments(settings)}
    launch_all(settings, pipeline(settings, *nodes(settings, night), **arguments), night)


def newest(store: MetadataStore, kind: str) -> Artifact:
    return max(store.get_artifacts_by_type(kind), key=lambda one: one.id)


def test_a_candidate_is_judged_against_a_champion_of_which_only_the_pushed_copy_is_left(judged: Settings) -> None:
    run(judged, "2022-02-01")
    store = MetadataStore(connection_config(judged))
    model, push = newest(store, "Model"), newest(store, "PushedModel")
    # As retention leaves them.
    for record in (model, push):
        shutil.rmtree(record.uri)
    model.state = Artifact.DELETED
    store.put_artifacts([model])

    run(judged, "2022-02-02")
    blessing = newest(store, "ModelBlessing")
    assert blessing.custom_properties["champion_version"].string_value == "2022020101"
    assert blessing.custom_properties["champion_metric:accuracy"].double_value == 1.0
    [recorded] = store.get_artifacts_by_id([model.id])
    assert (recorded.uri, recorded.state) == (model.uri, Artifact.DELETED), "the record of the champion stays as it was"
    assert not Path(model.uri).exists()
    evaluation = Path(newest(store, "ModelEvaluation").uri)
    assert not list(evaluation.glob(".*")), "the copy is gone with the attempt"


def test_a_champion_that_is_nowhere_is_named_with_what_to_do(judged: Settings) -> None:
    run(judged, "2022-02-01")
    store = MetadataStore(connection_config(judged))
    model, push = newest(store, "Model"), newest(store, "PushedModel")
    destination = push.custom_properties["pushed_destination"].string_value
    for gone in (model.uri, destination):
        shutil.rmtree(gone)
    with pytest.raises(AirflowFailException) as failure:
        run(judged, "2022-02-02")
    text = str(failure.value)
    assert text.startswith(f"Model {model.id} is not at {model.uri}, nor what was pushed of it at {destination}: ")
    assert "`retraining relocate`" in text
