"""What one attempt of a node read and wrote, as ML Metadata has it once the attempt has ended."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from openlineage.client.generated.base import InputDataset, OutputDataset, RunFacet
from openlineage.client.generated.data_quality_assertions_dataset import DataQualityAssertionsDatasetFacet
from openlineage.client.generated.error_message_run import ErrorMessageRunFacet

import lineage
from headlines import names
from lineage.drift import read_gate
from lineage.paths import find_makers
from lineage.reading import RESOLVER, find_executions, read_executions, read_links, read_places
from lineage.runs import read_checks
from retraining.openlineage import facets
from retraining.openlineage.datasets import judge, judge_drop, read_artifact, read_drops_folder, write_artifact
from retraining.openlineage.facets import PRODUCER
from retraining.settings import Settings

_UNLABELLED = "UnlabelledExampleGen"


@dataclass(frozen=True)
class Told:
    """What an event is given beside what Airflow knows."""

    inputs: list[InputDataset] = field(default_factory=list)
    outputs: list[OutputDataset] = field(default_factory=list)
    run_facets: dict[str, RunFacet] = field(default_factory=dict)


def tell_attempt(settings: Settings, pipeline: str, run_id: str, node: str, since: datetime | None) -> Told:
    """What the attempt of a node that began last did.

    Args:
      settings: where lineage and the datasets are.
      pipeline: the DAG.
      run_id: Airflow's.
      node: the task.
      since: when Airflow's attempt began. Where none was recorded since then it failed before the launcher was reached,
        and nothing is told. None to take the newest whenever it began.

    Raises:
      LineageError: lineage cannot be read.
    """
    our_names = lineage.OURS if pipeline == lineage.OURS.pipeline else lineage.Names(pipeline=pipeline, sensor=None)
    with lineage.open_lineage(settings, our_names) as reader:
        attempts = list(read_executions(reader, find_executions(reader, run_id)).values())
        own = [attempt for attempt in attempts if attempt.node == node and not (since and attempt.started_at < since)]
        if not own:
            return Told()
        attempt = own[-1]
        detail = lineage.execution_detail(reader, attempt.id)
        night = lineage.find_night_of_execution(reader, attempt.id)
        report = read_gate(reader, attempts) if node == reader.names.gate else None
        made_by = _find_pipelines(reader, [artifact.id for _, artifact in (*detail.inputs, *detail.outputs)])
    made = [artifact for _, artifact in detail.outputs if artifact.state == "live"]
    read = list(detail.inputs)
    if attempt.type == RESOLVER:
        # What it resolved is written as its outputs (AirflowDagRunner); nothing was made.
        read, made = [("", artifact) for artifact in made], []
    by_key = [
        (key, dataset)
        for key, artifact in read
        if (dataset := read_artifact(settings, artifact, made_by.get(artifact.id, pipeline)))
    ]
    inputs: dict[str, InputDataset] = {}
    # An event has room for one version of a dataset: the candidate stands for the models that the Evaluator read. Its
    # champion is there as what serves.
    for _, dataset in sorted(by_key, key=lambda one: one[0] == names.BASELINE_MODEL):
        inputs.setdefault(dataset.name, dataset)
    if node in (names.EXAMPLE_GEN, _UNLABELLED):
        examples = next((artifact for artifact in made if artifact.type == "Examples"), None)
        drops = read_drops_folder(settings, night, examples, is_labelled=node == names.EXAMPLE_GEN)
        inputs[drops.name] = drops
    run_facets: dict[str, RunFacet] = {
        facets.NIGHT: facets.NightRunFacet(night, attempt.id, attempt.attempt, attempt.state, producer=PRODUCER)
    }
    if attempt.error:
        run_facets["errorMessage"] = ErrorMessageRunFacet(attempt.error, "python", producer=PRODUCER)
    if report:
        _assert(by_key, "examples", judge_drop(report.measures))
    for artifact in made:
        properties = artifact.properties
        if checks := read_checks(properties):
            _assert(by_key, "model", judge(checks))
        if "0" in (properties.get(names.BLESSED), properties.get(names.PUSHED)):
            # A night that is refused fails no task: this is where its reason is.
            reason = properties.get(names.REASON) or f"{node} did not accept the model, and says no reason"
            run_facets["errorMessage"] = ErrorMessageRunFacet(reason, "python", producer=PRODUCER)
    outputs = [output for artifact in made if (output := write_artifact(settings, artifact, pipeline))]
    return Told(list(inputs.values()), outputs, run_facets)


def _find_pipelines(reader: lineage.Reader, artifacts: Collection[int]) -> dict[int, str]:
    """By artifact the pipeline that made it, which of what a resolver found is another run's or pipeline's."""
    makers = find_makers(reader, artifacts)
    places = read_places(reader, makers)
    links = read_links(reader, executions=makers) if makers else []
    return {link.artifact_id: places[link.execution_id][0] for link in links if link.is_output}


def _assert(
    read: Iterable[tuple[str, InputDataset]], wanted: str, assertions: DataQualityAssertionsDatasetFacet
) -> None:
    """Puts what was asked of an input beside it."""
    for key, dataset in read:
        if key == wanted:
            dataset.inputFacets = {"dataQualityAssertions": assertions}
