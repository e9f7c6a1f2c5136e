"""What is read and written as datasets of OpenLineage: one name over all nights, a version for each.

Names follow https://openlineage.io/docs/spec/naming: of a file system the namespace is `file`, or `file://<host>` where
several machines tell one catalogue, and the name is the path. An artifact's path without its last part, which is the
execution's, is the same on every night; behind the pipeline root stands the pipeline that made it, since the pipelines
have nodes of the same names. Where a version itself is, its facet `dataSource` says.
"""

from collections.abc import Mapping
from typing import Any

from openlineage.client.generated.base import DatasetFacet, InputDataset, InputDatasetFacet, OutputDataset
from openlineage.client.generated.data_quality_assertions_dataset import Assertion, DataQualityAssertionsDatasetFacet
from openlineage.client.generated.data_quality_metrics_dataset import ColumnMetrics, DataQualityMetricsDatasetFacet
from openlineage.client.generated.dataset_type_dataset import DatasetTypeDatasetFacet
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
from openlineage.client.generated.datasource_dataset import DatasourceDatasetFacet
from openlineage.client.generated.documentation_dataset import DocumentationDatasetFacet
from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet
from openlineage.client.generated.lifecycle_state_change_dataset import (
    LifecycleStateChange,
    LifecycleStateChangeDatasetFacet,
)
from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet
from openlineage.client.generated.ownership_dataset import Owner, OwnershipDatasetFacet
from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields

from headlines import names
from headlines.bar.checks import Check
from headlines.drops.measures import Measure
from headlines.objects.addresses import is_object, to_path
from lineage import ArtifactRecord
from lineage.models import read_drops
from lineage.reading import read_object
from lineage.runs import read_floats
from modules.features import LABEL, LABELS, NIGHT, TITLE, WEIGHT
from retraining.openlineage import facets
from retraining.openlineage.facets import PRODUCER
from retraining.settings import Settings

OWNER = "team:headlines"
PUSHED_TYPE = "PushedModel"
_MODELS = {"Model", PUSHED_TYPE}
_DROPS_DOC = "The drops: one delivery of labelled headlines a night. A version is `<night>/<version>@sha256:<hash>`."
_SERVED_DOC = "What the model servers answer with. A version is the pushed one, `YYYYMMDDRR`."
_DOCS = {
    names.BASELINE_ANSWERS_TYPE: "What linear regression on n-grams answers to the evaluation rows of the night.",
    "Examples": "Headlines as examples.",
    "ExampleAnomalies": "How the examples differ from the reviewed schema.",
    "ExampleStatistics": "Statistics of the examples.",
    names.FRESH_SCORE_TYPE: "How production did on the rows that no earlier night had.",
    "HyperParameters": "The best hyperparameters that a search found.",
    "InfraBlessing": "Whether a model answers as it will be served.",
    "Model": "The candidate of each night.",
    "ModelBlessing": "What the quality bar said of each candidate.",
    "ModelEvaluation": "Metrics and slices of each candidate, beside the champion and the baseline.",
    "Quarantine": "The rows of the drops that cannot be used, each with its reason.",
    "Schema": "The reviewed schema of the examples.",
    names.SCORES_TYPE: "Unlabelled headlines with the label that the served model gives them.",
    names.TRAFFIC_REPORT_TYPE: "What the model servers were asked, beside what their models are taught.",
    "TransformGraph": "Text handling and vocabularies, the same in training and in serving.",
}
_COLUMNS = {
    TITLE: ("string", "The headline, as published."),
    LABEL: ("string", f"Its label: {', '.join(LABELS)}."),
    NIGHT: ("string", "The night whose drop it came with."),
    WEIGHT: ("float", "What it counts in training."),
}
_LISTS = {"rowsIn": names.ROWS_IN, "rowsUsed": names.ROWS_USED, "rowsQuarantined": names.ROWS_QUARANTINED} | {
    "duplicatesFolded": names.DUPLICATES_FOLDED
}


def read_drops_folder(
    settings: Settings, night: str | None, examples: ArtifactRecord | None, is_labelled: bool = True
) -> InputDataset:
    """The folder of the drops as an input, in the version of the run's own night.

    Args:
      settings: where the folder is.
      night: that the run is for.
      examples: what was made of the drops; None for an attempt that made nothing.
      is_labelled: whether drops with labels were read, or headlines to be scored.
    """
    columns = (TITLE, LABEL) if is_labelled else (TITLE,)
    own = _describe(_DROPS_DOC, "FILE", None) | {"schema": _schema(*columns)}
    statistics: dict[str, InputDatasetFacet] = {}
    drops = read_drops(examples, names.DROP_PREFIX, with_files=False) if examples else []
    for drop in drops:
        if drop.night == night:
            own["version"] = _version(f"{drop.night}/{drop.version}@sha256:{drop.sha256}")
    if examples and drops:
        own[facets.DROPS] = _list_drops(examples)
        own["dataQualityMetrics"] = _measure_drop(examples)
        rows = [drop.rows_in for drop in drops]
        statistics["inputStatistics"] = InputStatisticsInputDatasetFacet(
            rowCount=None if None in rows else sum(row for row in rows if row is not None),
            fileCount=None,
            producer=PRODUCER,
        )
    return InputDataset(*_name(settings, str(settings.drops_dir)), facets=own, inputFacets=statistics)


def read_artifact(settings: Settings, artifact: ArtifactRecord, pipeline: str) -> InputDataset | None:
    """An artifact that was read; None for the record of a push that pushed nothing."""
    place = _place(settings, artifact, pipeline)
    if place is None:
        return None
    return InputDataset(*_name(settings, place), facets=_tell(artifact))


def write_artifact(settings: Settings, artifact: ArtifactRecord, pipeline: str) -> OutputDataset | None:
    """An artifact that was written; None for the record of a push that pushed nothing."""
    place = _place(settings, artifact, pipeline)
    if place is None:
        return None
    own = _tell(artifact) | {"lifecycleStateChange": _replaced()}
    rows = _count_rows(artifact)
    statistics = (
        {}
        if rows is None
        else {"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows, producer=PRODUCER)}
    )
    return OutputDataset(*_name(settings, place), facets=own, outputFacets=dict(statistics))


def write_served(settings: Settings, version: int) -> OutputDataset:
    """The folder that is served from, when a rollback changed what it serves."""
    own = _describe(_SERVED_DOC, "MODEL", str(version)) | {"lifecycleStateChange": _replaced()}
    return OutputDataset(*_name(settings, str(settings.serving_dir)), facets=own)


def judge(checks: tuple[Check, ...]) -> DataQualityAssertionsDatasetFacet:
    """The checks of the quality bar, with their values."""
    return DataQualityAssertionsDatasetFacet(
        [
            Assertion(
                assertion=check.name,
                success=check.passed,
                severity="error",
                name=check.title,
                description=check.meaning or None,
                expected=check.rule,
                actual=None if check.value is None else f"{check.value:.6g}",
            )
            for check in checks
        ],
        producer=PRODUCER,
    )


def judge_drop(measures: tuple[Measure, ...]) -> DataQualityAssertionsDatasetFacet:
    """What DropGate held the data to; what has no limit, or no value, is no assertion."""
    return DataQualityAssertionsDatasetFacet(
        [
            Assertion(
                assertion=one.kind.name,
                success=one.passed,
                severity="error",
                name=one.kind.label,
                description=one.kind.meaning,
                expected=one.kind.tell_rule(one.limit),
                actual=one.kind.write(one.value),
            )
            for one in measures
            if one.passed is not None and one.value is not None
        ],
        producer=PRODUCER,
    )


def _name(settings: Settings, place: str) -> tuple[str, str]:
    """The namespace and the name of a dataset: https://openlineage.io/docs/spec/naming has those of object storage."""
    if not is_object(place):
        return settings.openlineage_dataset_namespace, place
    scheme, _, rest = place.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


def _place(settings: Settings, artifact: ArtifactRecord, pipeline: str) -> str | None:
    if artifact.type == PUSHED_TYPE:
        return str(settings.serving_dir) if artifact.properties.get(names.PUSHED) == "1" else None
    if artifact.type == names.SCORES_TYPE:
        return str(settings.scores_dir)
    folder = to_path(artifact.uri).parent
    if folder.is_relative_to(settings.pipeline_root):
        return str(settings.pipeline_root / pipeline / folder.relative_to(settings.pipeline_root))
    return str(folder)


def _tell(artifact: ArtifactRecord) -> dict[str, DatasetFacet]:
    own = artifact.properties
    is_served = artifact.type == PUSHED_TYPE
    description = _SERVED_DOC if is_served else _DOCS.get(artifact.type, f"{artifact.type}, a version a run.")
    version = own[names.PUSHED_VERSION] if is_served else str(artifact.id)
    told = _describe(description, "MODEL" if artifact.type in _MODELS else "FILE", version)
    uri = own.get(names.PUSHED_DESTINATION, artifact.uri) if is_served else artifact.uri
    told["dataSource"] = DatasourceDatasetFacet(artifact.type, to_path(uri).absolute().as_uri(), producer=PRODUCER)
    if artifact.type == "Examples" and any(name.startswith(names.DROP_PREFIX) for name in own):
        told |= {"schema": _schema(TITLE, LABEL, NIGHT, WEIGHT), facets.DROPS: _list_drops(artifact)}
        told["dataQualityMetrics"] = DataQualityMetricsDatasetFacet(
            {}, rowCount=_count_rows(artifact), producer=PRODUCER
        )
    elif artifact.type == "Quarantine":
        told[facets.QUARANTINE] = facets.QuarantineDatasetFacet(
            _count_rows(artifact) or 0, _counts(own, names.REASON_PREFIX), producer=PRODUCER
        )
    elif artifact.type == "Model":
        told[facets.MODEL] = facets.ModelDatasetFacet(
            own.get(names.NIGHT, ""),
            own.get(names.CODE),
            own.get(names.SETTINGS),
            own.get(names.DATA),
            {
                name.removeprefix(names.LIBRARY_PREFIX): value
                for name, value in sorted(own.items())
                if name.startswith(names.LIBRARY_PREFIX)
            },
            producer=PRODUCER,
        )
    elif names.BLESSED in own or is_served:
        told[facets.VERDICT] = facets.VerdictDatasetFacet(
            is_served or own[names.BLESSED] == "1",
            own.get(names.REASON, ""),
            read_floats(own, names.METRIC_PREFIX),
            own.get(names.CHAMPION_VERSION) or None,
            producer=PRODUCER,
        )
    return told


def _describe(description: str, kind: str, version: str | None) -> dict[str, DatasetFacet]:
    told: dict[str, DatasetFacet] = {
        "documentation": DocumentationDatasetFacet(description, producer=PRODUCER),
        "ownership": OwnershipDatasetFacet([Owner(OWNER, "MAINTAINER")], producer=PRODUCER),
        "datasetType": DatasetTypeDatasetFacet(kind, producer=PRODUCER),
    }
    return told if version is None else told | {"version": _version(version)}


def _version(version: str) -> DatasetVersionDatasetFacet:
    return DatasetVersionDatasetFacet(version, producer=PRODUCER)


def _replaced() -> LifecycleStateChangeDatasetFacet:
    # Each night's version takes the place of the one before under the same name.
    return LifecycleStateChangeDatasetFacet(LifecycleStateChange.OVERWRITE, producer=PRODUCER)


def _schema(*columns: str) -> SchemaDatasetFacet:
    fields = [SchemaDatasetFacetFields(name, *_COLUMNS[name]) for name in columns]
    return SchemaDatasetFacet(fields, producer=PRODUCER)


def _measure_drop(examples: ArtifactRecord) -> DataQualityMetricsDatasetFacet:
    """How many rows the night's own drop has, and how many headlines in it have a label that is one."""
    text = examples.properties.get(names.NIGHT_ROWS_IN)
    own = None if text is None else int(text)
    labels: Mapping[str, Any] = read_object(examples.properties.get(names.CLASSES))
    columns = {LABEL: ColumnMetrics(count=float(sum(labels.values())), distinctCount=len(labels))} if labels else {}
    return DataQualityMetricsDatasetFacet(columns, rowCount=own, producer=PRODUCER)


def _list_drops(examples: ArtifactRecord) -> facets.DropsDatasetFacet:
    drops = [
        {"night": drop.night, "version": drop.version, "sha256": drop.sha256}
        | {name: value for name, field in _LISTS.items() if (value := getattr(drop, field)) is not None}
        for drop in read_drops(examples, names.DROP_PREFIX, with_files=False)
    ]
    left_out = []
    for name, text in sorted(examples.properties.items()):
        if name.startswith(names.LEFT_OUT_PREFIX):
            version, _, why = text.partition(" ")
            left_out.append({"night": name.removeprefix(names.LEFT_OUT_PREFIX), "version": int(version), "reason": why})
    return facets.DropsDatasetFacet(drops, left_out, producer=PRODUCER)


def _count_rows(artifact: ArtifactRecord) -> int | None:
    own = artifact.properties
    if artifact.type == "Quarantine":
        return int(own["rows"]) if "rows" in own else None
    if names.ROWS_USED in own:
        return int(own[names.ROWS_USED])
    nights = _counts(own, names.ROWS_PREFIX)
    return sum(nights.values()) if nights else None


def _counts(own: Mapping[str, str], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): int(value) for name, value in sorted(own.items()) if name.startswith(prefix)}
