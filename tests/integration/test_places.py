"""A service that has moved: its lineage names the places of today, whole or not at all, and nothing of others."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from airflow.exceptions import AirflowFailException
from launching import Make, launch
from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact, ArtifactType, Execution, ExecutionType
from postgres_server import query

from headlines.pushes import rollbacks
from retraining.places.relocation import PlacesError, find_difference, relocate, settle_places
from retraining.recording.store import connection_config
from retraining.settings import Settings

FOREIGN = "/mnt/others/pipelines/Trainer/model/7"


def in_place(settings: Settings, place: Path) -> Settings:
    """The settings of a service whose state folder is `place`, with everything in it by default."""
    return settings.model_copy(
        update={
            "state_dir": place,
            "pipeline_root": place / "pipelines",
            "serving_dir": place / "serving" / "headlines",
            "scores_dir": place / "scores",
            "drops_dir": place.parent / "drops",
        }
    )


@pytest.fixture
def before(settings: Settings, tmp_path: Path) -> Settings:
    """A service in a folder whose name is a pattern to LIKE, with a night on record and a foreign model beside it."""
    service = in_place(settings, tmp_path / "100%_it")
    for folder in (service.pipeline_root, service.serving_dir, service.drops_dir):
        folder.mkdir(parents=True)
    rollbacks.write_policy(service.serving_dir, 2022020101)
    store = MetadataStore(connection_config(service))
    model = store.put_artifact_type(ArtifactType(name="Model"))
    push = store.put_artifact_type(ArtifactType(name="PushedModel"))
    made = Artifact(type_id=model, uri=f"{service.pipeline_root}/HeadlineExampleGen/examples/1")
    pushed = Artifact(type_id=push, uri=f"{service.pipeline_root}/Pusher/pushed_model/2")
    pushed.custom_properties["pushed_destination"].string_value = f"{service.serving_dir}/2022020101"
    pushed.custom_properties["reason"].string_value = f"not pushed, see {service.pipeline_root}/x"
    store.put_artifacts([made, pushed, Artifact(type_id=model, uri=FOREIGN)])
    execution = Execution(type_id=store.put_execution_type(ExecutionType(name="Pusher")))
    destination = json.dumps({"filesystem": {"base_directory": str(service.serving_dir)}})
    execution.custom_properties["push_destination"].string_value = destination
    execution.custom_properties["drops_dir"].string_value = str(service.drops_dir)
    store.put_executions([execution])
    return service


def move(service: Settings, place: Path) -> Settings:
    place.parent.mkdir(parents=True, exist_ok=True)
    service.state_dir.rename(place)
    return in_place(service, place).model_copy(update={"drops_dir": service.drops_dir})


def tell(settings: Settings) -> list[str]:
    """What a start reports of places."""
    sentences: list[str] = []
    settle_places(settings, sentences.append)
    return sentences


def everything(settings: Settings) -> set[str]:
    """Every URI and every text on record."""
    rows = query(
        settings,
        "SELECT uri FROM artifact UNION SELECT string_value FROM artifactproperty WHERE string_value IS NOT NULL "
        "UNION SELECT string_value FROM executionproperty WHERE string_value IS NOT NULL",
    )
    return {text for (text,) in rows}


def check_moved(service: Settings, then: Settings) -> None:
    assert everything(service) == {
        f"{service.pipeline_root}/HeadlineExampleGen/examples/1",
        f"{service.pipeline_root}/Pusher/pushed_model/2",
        f"{service.serving_dir}/2022020101",
        # What was said stays as it was said.
        f"not pushed, see {then.pipeline_root}/x",
        json.dumps({"filesystem": {"base_directory": str(service.serving_dir)}}),
        str(service.drops_dir),
        FOREIGN,
    }
    policy = (service.serving_dir.parent / "models.config").read_text()
    assert f'base_path: "{service.serving_dir}"' in policy
    assert "versions: 2022020101" in policy


def test_a_service_that_has_moved_is_put_right_at_its_start_and_says_so_once(before: Settings, tmp_path: Path) -> None:
    assert tell(before) == []
    # A folder inside its old self: what is rewritten twice would lead nowhere.
    after = move(move(before, tmp_path / "aside"), before.state_dir / "deeper")
    [sentence] = tell(after)
    assert f"{before.state_dir} to {after.state_dir}" in sentence
    check_moved(after, before)
    assert tell(after) == []
    check_moved(after, before)
    since = query(after, "SELECT setting, path FROM retraining_places ORDER BY setting, since")
    assert [path for setting, path in since if setting == "state_dir"] == [str(before.state_dir), str(after.state_dir)]


def test_a_setting_that_still_names_the_old_folder_is_told(before: Settings, tmp_path: Path) -> None:
    tell(before)
    file = before.state_dir / "best.json"
    after = move(before, tmp_path / "elsewhere").model_copy(update={"hyperparameters_file": file})
    _, hint = tell(after)
    assert hint.startswith(f"HYPERPARAMETERS_FILE={file} is not there any more")
    assert str(after.state_dir / "best.json") in hint


def test_a_service_that_never_recorded_its_places_is_put_right_by_its_records(before: Settings, tmp_path: Path) -> None:
    after = move(before, tmp_path / "elsewhere" / "state")
    [sentence] = tell(after)
    assert str(after.state_dir) in sentence
    check_moved(after, before)


def test_a_copy_beside_the_original_names_its_own_folders(before: Settings, tmp_path: Path) -> None:
    tell(before)
    after = move(before, tmp_path / "copy")
    before.pipeline_root.mkdir(parents=True)
    assert len(tell(after)) == 1
    check_moved(after, before)


def test_a_setting_that_names_another_folder_moves_nothing_where_the_old_one_is_still_there(
    before: Settings, tmp_path: Path
) -> None:
    tell(before)
    (tmp_path / "other drops").mkdir()
    other = before.model_copy(update={"drops_dir": tmp_path / "other drops"})
    assert tell(other) == []
    check_moved(before, before)
    assert find_difference(other) == ""


def test_drops_that_have_moved_are_still_known(before: Settings, tmp_path: Path) -> None:
    tell(before)
    before.drops_dir.rename(tmp_path / "delivered")
    after = before.model_copy(update={"drops_dir": tmp_path / "delivered"})
    [sentence] = tell(after)
    assert f"{before.drops_dir} to {after.drops_dir}" in sentence
    check_moved(after, before)


def test_a_folder_that_is_nowhere_is_told_at_every_start_until_it_is_back(before: Settings, tmp_path: Path) -> None:
    tell(before)
    before.drops_dir.rename(tmp_path / "lost")
    wrong = before.model_copy(update={"drops_dir": tmp_path / "typo"})
    for _ in range(2):
        [sentence] = tell(wrong)
        assert sentence.startswith(f"{before.drops_dir} is gone, and DROPS_DIR={wrong.drops_dir} is not there either")
    right = before.model_copy(update={"drops_dir": tmp_path / "lost"})
    assert len(tell(right)) == 1
    check_moved(right, before)


def test_on_a_postgres_of_ones_own_a_person_has_to_say_that_it_has_moved(before: Settings, tmp_path: Path) -> None:
    own = before.model_copy(update={"postgres_embedded": False})
    tell(own)
    after = move(own, tmp_path / "elsewhere")
    said = everything(after)
    with pytest.raises(PlacesError, match="`retraining relocate`"):
        tell(after)
    assert "`retraining relocate`" in find_difference(after)
    would = relocate(after, dry_run=True)
    assert would.paths == 4
    assert everything(after) == said
    assert relocate(after).paths == 4
    check_moved(after, before)
    assert find_difference(after) == ""
    assert not relocate(after).moves
    assert tell(after) == []


def test_a_person_may_name_the_folder_that_has_moved(before: Settings, tmp_path: Path) -> None:
    after = move(before, tmp_path / "elsewhere")
    assert relocate(after, before.state_dir).paths == 4
    check_moved(after, before)
    with pytest.raises(PlacesError, match="nothing can have moved to it"):
        relocate(after, Path("/mnt/others"), tmp_path / "nowhere")


def test_what_cannot_be_rewritten_leaves_lineage_as_it_was(before: Settings, tmp_path: Path) -> None:
    tell(before)
    store = MetadataStore(connection_config(before))
    [kind] = [one.id for one in store.get_artifact_types() if one.name == "Model"]
    # An entry of the index that MLMD has of URIs holds 2,704 bytes, packed.
    long = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(38))
    store.put_artifacts([Artifact(type_id=kind, uri=f"{before.pipeline_root}/{long}")])
    said = everything(before)
    after = move(before, tmp_path / "/".join([str(number) * 200 for number in range(8)]))
    with pytest.raises(PlacesError, match="could not be read or rewritten, and is as it was"):
        tell(after)
    assert everything(after) == said


def test_what_was_run_beside_the_service_moves_with_it(before: Settings, tmp_path: Path) -> None:
    tell(before)
    file = before.state_dir / "local" / "mlmd.sqlite"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as local, local:
        for table, key in (
            ("Artifact", "id"),
            *((f"{kind}Property", f"{kind}_id") for kind in ("Artifact", "Execution", "Context")),
        ):
            local.execute(f"CREATE TABLE {table} ({key}, name, is_custom_property, uri, string_value)")
        local.execute("INSERT INTO Artifact VALUES (1, '', 0, ?, '')", [f"{before.state_dir}/local/pipelines/x"])
    after = move(before, tmp_path / "elsewhere")
    tell(after)
    with closing(sqlite3.connect(after.state_dir / "local" / "mlmd.sqlite")) as local:
        assert local.execute("SELECT uri FROM Artifact").fetchall() == [(f"{after.state_dir}/local/pipelines/x",)]


def test_a_night_says_at_its_first_node_that_the_service_has_moved(before: Settings, tmp_path: Path) -> None:
    tell(before)
    after = move(before, tmp_path / "elsewhere")
    with pytest.raises(AirflowFailException, match=f"PIPELINE_ROOT={after.pipeline_root}.*`retraining relocate`"):
        launch(after, Make())
    tell(after)
    launch(after, Make())
