"""Two nights and scores, with every place on object storage: each node launched as Airflow does."""

from pathlib import Path

import pytest
from launching import launch_all
from object_servers import VARIABLES, serve_objects

import lineage
from headlines.drops.samples import write_samples
from headlines.objects.addresses import upload
from headlines.objects.paths import ObjectPath
from headlines.pushes.versions import find_versions
from retraining.nights.unscored import find_pending
from retraining.pipelines.nightly import create_pipeline
from retraining.pipelines.scoring import create_scoring_pipeline
from retraining.settings import Settings
from retraining.web import documents

NIGHTS = ("2022-02-01", "2022-02-02")


@pytest.mark.long
def test_two_nights_and_scores_with_every_place_on_object_storage(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with serve_objects("s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        bucket = server.make_bucket()
        run_nights(settings, bucket, tmp_path)
    assert not list(tmp_path.rglob("s3:*"))


def run_nights(settings: Settings, bucket: ObjectPath, tmp_path: Path) -> None:
    places = {
        "pipeline_root": "pipelines",
        "serving_dir": "serving/headlines",
        "drops_dir": "drops",
        "scores_dir": "scores",
    }
    stored = settings.model_copy(
        update={name: bucket / folder for name, folder in places.items()}
        | {"hyperparameters": {"epochs": 1}, "drop_settle_seconds": 0.0, "expected_class_mix": {}, "min_headlines": 100}
    )
    write_samples(tmp_path / "samples", nights=2)
    upload(tmp_path / "samples", bucket / "drops")
    for night in NIGHTS:
        launch_all(stored, create_pipeline(stored, night), f"scheduled__{night}")
    first, second = sorted(lineage.nights(stored), key=lambda report: report.night)
    assert (first.night, second.night) == NIGHTS
    assert first.pushed_version and find_versions(stored.serving_dir)[0] == int(first.pushed_version)
    for report in (first, second):
        for (node, key), artifact in lineage.artifacts_of_run(stored, report.run_id).outputs.items():
            assert artifact.uri.startswith(f"{stored.pipeline_root}/"), (node, key)
        evaluation = lineage.artifacts_of_run(stored, report.run_id).outputs["Evaluator", "evaluation"]
        assert documents.verdict(evaluation)["checks"]
    (bucket / "drops" / NIGHTS[1] / "unlabelled.csv").write_text("title\nFoi bom\nFoi ruim\n")
    version = find_versions(stored.serving_dir)[-1]
    assert find_pending(stored, str(version)) == [NIGHTS[1]]
    launch_all(stored, create_scoring_pipeline(stored, NIGHTS[1], str(version)), "scores")
    scores = (bucket / "scores" / NIGHTS[1] / f"{version}.csv").read_text()
    assert len(scores.splitlines()) == 3
    assert find_pending(stored, str(version)) == []
