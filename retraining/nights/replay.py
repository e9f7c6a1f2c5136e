"""A past night run again, apart from the service, with the drops and the champion it had: is it the same once more?"""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Event
from tfx import v1 as tfx
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import HyperParameters, Model, PushedModel

import lineage
from headlines import names
from headlines.drops.drops_folder import DropsFolder
from headlines.drops.rulings import Ruled
from headlines.objects.addresses import download, fetch, is_object, to_path
from headlines.pushes.model_hash import hash_model
from lineage import ArtifactRecord, RunArtifacts
from retraining.nights.in_process import LOCK, run_in_place, settings_in, sqlite_in
from retraining.nights.past import EXAMPLES, Artifacts, drops_of, find_champion, find_past_run, stage_drops
from retraining.settings import Settings
from tfx_components.rulings import put_ruling

MODEL = (names.TRAINER, "model")
# In the order of `_CONTENTS`.
STEPS = (EXAMPLES, ("Transform", "transform_graph"), MODEL, (names.EVALUATOR, "evaluation"))
# What the Trainer notes on a model, beside the versions of libraries.
_ORIGIN = (names.CODE, names.DATA, names.SETTINGS)


@dataclass(frozen=True)
class Comparison:
    """One thing that the run and its replay made."""

    name: str
    identical: bool
    detail: str


@dataclass(frozen=True)
class Replay:
    """A night and its replay.

    Attributes:
      night: `YYYY-MM-DD`.
      run_id: the run that was replayed.
      comparisons: examples, vocabulary, weights, verdict.
      causes: what was different this time, in one line each: code, data, settings, libraries.
      place: where the replay left what it made.
    """

    night: str
    run_id: str
    comparisons: tuple[Comparison, ...]
    causes: tuple[str, ...]
    place: Path

    @property
    def is_identical(self) -> bool:
        """Whether everything is the same."""
        return all(comparison.identical for comparison in self.comparisons)


def replay(settings: Settings, night: str) -> Replay:
    """Runs a night again as its newest finished run ran it, and compares the two.

    Args:
      settings: of today; the replay tells where those of the run were others.
      night: `YYYY-MM-DD`.

    Raises:
      NightError: the night may not be run, nor was it.
      ReplayError: the night has no finished run, or a drop, the champion or the hyperparameters it used are gone.
      TakenError: the night is being trained or replayed.
    """
    past = find_past_run(settings, night)
    before = past.artifacts
    place = settings.state_dir / "replay" / night
    replaying = settings.model_copy(update={"drops_dir": place / "drops"})

    def prepare() -> None:
        for entry in place.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK:
                entry.unlink()
        stage_window(settings, place, night, before.outputs[EXAMPLES], replaying.drops_dir)
        _place_champion(replaying, place, before)
        _place_hyperparameters(replaying, place, before)

    run_in_place(replaying, night, place, prepare)
    after = {step: _find_output(place, *step) for step in STEPS}
    return Replay(
        night, past.run_id, tuple(compare(before.outputs, after)), tuple(explain(before.outputs, after)), place
    )


def compare(before: Artifacts, after: Artifacts) -> Iterator[Comparison]:
    """Compares, by content, what a run and its replay made.

    Args:
      before: the run's artifacts; at least those of `STEPS`.
      after: the replay's.
    """
    for (name, describe), step in zip(_CONTENTS.items(), STEPS, strict=True):
        with fetch(to_path(before[step].uri)) as folder:
            was, now = describe(folder), describe(Path(after[step].uri))
        detail = was if was == now else f"{was} then, {now} now"
        yield Comparison(name, was == now, detail)


def explain(before: Artifacts, after: Artifacts) -> Iterator[str]:
    """What could make a difference and was another one, from the notes that both runs left on model and examples."""
    was, now = before[MODEL].properties, after[MODEL].properties
    for name in sorted(was.keys() | now.keys()):
        if (name in _ORIGIN or name.startswith(names.LIBRARY_PREFIX)) and was.get(name) != now.get(name):
            yield f"{name}: {was.get(name, 'not recorded')} then, {now.get(name, 'not recorded')} now"
    drops, drops_now = drops_of(before[EXAMPLES]), drops_of(after[EXAMPLES])
    for night in sorted(drops.keys() | drops_now.keys()):
        if drops.get(night) != drops_now.get(night):
            yield f"drop of night {night}: {drops.get(night)} then, {drops_now.get(night)} now"


def stage_window(settings: Settings, place: Path, night: str, examples: ArtifactRecord, target: Path) -> None:
    """Copies the drops of a window, with what had been decided of them.

    Args:
      settings: where the drops and lineage are.
      place: in whose lineage is made known which drops stood refused then, and who accepted the night's own.
      night: of the window.
      examples: that were made of it.
      target: the drops folder to make.

    Raises:
      ReplayError: a version is not there any more.
    """
    delivered = [one.isoformat() for one in DropsFolder(settings.drops_dir).nights]
    precedents = lineage.find_precedents(settings, str(settings.drops_dir), delivered)
    stage_drops(settings.drops_dir, examples, target, precedents)
    place.mkdir(parents=True, exist_ok=True)
    store = MetadataStore(sqlite_in(place))
    for ruling in reversed(lineage.rulings(settings, last=night)):
        was_known = examples.created_at is None or ruling.at <= examples.created_at
        if ruling.ruled is Ruled.ACCEPTED if ruling.night == night else was_known:
            put_ruling(store, ruling, names.NIGHTLY_DAG)


def _place_champion(settings: Settings, place: Path, before: RunArtifacts) -> None:
    """Makes the champion that the run was compared with known in `place`, as the Trainer's and the Pusher's."""
    model = before.inputs.get((names.EVALUATOR, names.BASELINE_MODEL))
    push = before.inputs.get((names.EVALUATOR, names.BASELINE_PUSH))
    if model is None or push is None:
        return
    found = find_champion(model, push)
    assert found is not None, "looked for before anything was loaded"
    # Of the Trainer's folder or of the serving folder; a replay changes neither.
    copied = place / "champion"
    with fetch(found) as folder:
        shutil.copytree(folder, copied / names.SERVING_FORMAT)
    _import(settings, place, names.TRAINER, "model", Model, str(copied))
    texts = {name: push.properties[name] for name in (names.NIGHT, names.PUSHED_VERSION)}
    model_id = _find_output(place, names.TRAINER, "model").id
    properties: dict[str, int | str] = {names.PUSHED: 1, names.MODEL_ID: model_id, **texts}
    _import(settings, place, names.PUSHER, "pushed_model", PushedModel, push.uri, **properties)


def _place_hyperparameters(settings: Settings, place: Path, before: RunArtifacts) -> None:
    """Makes the tuned hyperparameters that the run used, and no others, known in `place`."""
    tuned = before.inputs.get((names.TRAINER, "hyperparameters"))
    if tuned is None:
        return
    texts = {name: tuned.properties[name] for name in (names.NIGHT, names.HYPERPARAMETERS)}
    uri = tuned.uri
    if is_object(uri):
        uri = str(download(to_path(uri), place / "hyperparameters"))
    _import(settings, place, names.TUNER, "best_hyperparameters", HyperParameters, uri, **texts)


def _import(
    settings: Settings, place: Path, node: str, key: str, kind: type, uri: str, **properties: int | str
) -> None:
    importer = tfx.dsl.Importer(uri, artifact_type=kind, custom_properties=properties, output_key=key).with_id(node)
    pipeline_root = str(settings_in(settings, place).pipeline_root)
    tfx.orchestration.LocalDagRunner().run(
        Pipeline(names.NIGHTLY_DAG, pipeline_root, components=[importer], metadata_connection_config=sqlite_in(place))
    )


def _find_output(place: Path, node: str, key: str) -> ArtifactRecord:
    """The artifact that the newest execution of a node made in `place`."""
    store = MetadataStore(sqlite_in(place))
    context = store.get_context_by_type_and_name("node", f"{names.NIGHTLY_DAG}.{node}")
    newest = max(execution.id for execution in store.get_executions_by_context(context.id))
    ids = [
        event.artifact_id
        for event in store.get_events_by_execution_ids([newest])
        if event.type == Event.OUTPUT and event.path.steps[0].key == key
    ]
    [artifact] = store.get_artifacts_by_id(ids)
    properties = {
        name: str(getattr(value, value.WhichOneof("value"))) for name, value in artifact.custom_properties.items()
    }
    return ArtifactRecord(artifact.id, artifact.uri, properties)


def _hash_examples(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("Split-*/*.gz")):
        # A gzip header may hold the time.
        digest.update(file.parent.name.encode() + b"\0" + gzip.decompress(file.read_bytes()))
    return digest.hexdigest()[:16]


def _hash_vocabulary(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted((folder / "transform_fn" / "assets").iterdir()):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _hash_weights(folder: Path) -> str:
    return hash_model(folder / names.SERVING_FORMAT)[:16]


def _tell_verdict(folder: Path) -> str:
    verdict = json.loads((folder / names.VERDICT_FILE).read_text())
    digest = hashlib.sha256(json.dumps(verdict, sort_keys=True).encode()).hexdigest()[:16]
    passed = [check["passed"] for check in verdict["checks"]]
    return f"{sum(passed)} of {len(passed)} checks passed, {digest}"


_CONTENTS: dict[str, Callable[[Path], str]] = {
    "examples": _hash_examples,
    "vocabulary": _hash_vocabulary,
    "weights": _hash_weights,
    "verdict": _tell_verdict,
}
