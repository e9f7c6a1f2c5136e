"""A search in one pipeline, its result used in another: on real Postgres, each node launched as Airflow does."""

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
from launching import launch_all
from ml_metadata import MetadataStore
from tfx.types.standard_artifacts import HyperParameters

import lineage
from retraining.nights.replay import MODEL, replay
from retraining.pipelines.as_of import HyperparametersAsOf
from retraining.pipelines.nightly import create_pipeline
from retraining.pipelines.tuning import create_tuning_pipeline
from retraining.recording.store import connection_config
from retraining.settings import Settings
from retraining.web import documents

NIGHTS = ("2022-02-01", "2022-02-02")


@pytest.fixture
def service(settings: Settings, twelve_nights: Path, drops_dir: Path) -> Settings:
    """Settings under which a night and a search are quick, with the drops of two nights."""
    for night in NIGHTS:
        shutil.copytree(twelve_nights / night, drops_dir / night)
    return settings.model_copy(
        update={
            "drops_dir": drops_dir,
            "drop_settle_seconds": 0.0,
            "hyperparameters": {"epochs": 1, "min_steps": 20},
            "min_accuracy": 0.1,
            "min_macro_f1": 0.05,
            "max_accuracy_drop": 1.0,
            "max_macro_f1_drop": 1.0,
            "max_quarantined_share": 0.5,
            "tuning_trials": 2,
        }
    )


@pytest.mark.long
def test_what_a_search_found_is_used_by_the_nights_after_its_own_and_by_their_replay(
    service: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="modules.tuning"):
        launch_all(service, create_tuning_pipeline(service, NIGHTS[0]), "tuning")
    told = [record.message for record in caplog.records if record.name == "modules.tuning"]
    assert [message[:20] for message in told if re.match(r"Trial \d of at most 2: log_loss", message)] == [
        "Trial 1 of at most 2",
        "Trial 2 of at most 2",
    ]
    table = told[-1].splitlines()[1:]
    assert table[0].split()[:3] == ["trial", "log_loss", "seconds"]
    assert sorted(row.split()[0] for row in table[1:]) == ["1", "2"]

    store = MetadataStore(connection_config(service))
    [found] = store.get_artifacts_by_type(HyperParameters.TYPE_NAME)
    properties = found.custom_properties
    assert properties["night"].string_value == NIGHTS[0]
    assert properties["trials"].int_value == 2
    assert properties["objective"].string_value == "log_loss"
    scores = [float(row.split()[1]) for row in table[1:]]
    assert properties["score"].double_value == pytest.approx(min(scores), abs=1e-4)
    values = json.loads(properties["hyperparameters"].string_value)
    assert values.keys() >= {"dropout", "learning_rate"}
    assert not values.keys() & service.hyperparameters.keys()
    assert HyperparametersAsOf(NIGHTS[0]).resolve_artifacts(store, {}) == {"hyperparameters": []}

    launch_all(service, create_pipeline(service, NIGHTS[1]), f"scheduled__{NIGHTS[1]}")
    artifacts = lineage.artifacts_of_run(service, f"scheduled__{NIGHTS[1]}")
    assert artifacts.inputs["Trainer", "hyperparameters"].id == found.id
    model = artifacts.outputs[MODEL].properties
    [search] = lineage.searches(service)
    assert (search.id, search.night, search.trials, search.used_by) == (found.id, NIGHTS[0], 2, (NIGHTS[1],))
    assert search.hyperparameters == values
    assert len(documents.trials(search.results_uri) or ()) == 2
    used, source = json.loads(model["hyperparameters"]), json.loads(model["hyperparameters_source"])
    assert used == used | values | service.hyperparameters
    assert source == dict.fromkeys(values, f"tuned on night {NIGHTS[0]}") | dict.fromkeys(
        service.hyperparameters, "HYPERPARAMETERS"
    )

    replayed = replay(service, NIGHTS[1])
    assert replayed.is_identical, replayed.comparisons
