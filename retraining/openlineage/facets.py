"""The facets that OpenLineage has no word for; `facets.json` beside this file is their schema.

They are attrs classes and no dataclasses, since OpenLineage's client writes nothing else.
"""

from typing import Any

import attr
from openlineage.client.generated.base import DatasetFacet, RunFacet

PRODUCER = "urn:headline-retraining:openlineage"
"""Who says what a facet holds."""
SCHEMA = f"{PRODUCER}:facets-1-0-0.json"
"""The name of facets.json; the number changes with what it demands."""

DROPS, QUARANTINE, MODEL, VERDICT = "headlines_drops", "headlines_quarantine", "headlines_model", "headlines_verdict"
NIGHT, ROLLBACK = "headlines_night", "headlines_rollback"


@attr.define
class DropsDatasetFacet(DatasetFacet):
    """The versions of drops that a dataset holds, and those that its window left out."""

    drops: list[dict[str, Any]]
    leftOut: list[dict[str, Any]]

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/DropsDatasetFacet"


@attr.define
class QuarantineDatasetFacet(DatasetFacet):
    """How many rows are in the quarantine, for which reason."""

    rows: int
    reasons: dict[str, int]

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/QuarantineDatasetFacet"


@attr.define
class ModelDatasetFacet(DatasetFacet):
    """What a model was made of: hashes of code, settings and data, and the versions of libraries."""

    night: str
    code: str | None
    settings: str | None
    data: str | None
    libraries: dict[str, str]

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/ModelDatasetFacet"


@attr.define
class VerdictDatasetFacet(DatasetFacet):
    """What the quality bar said of a model, or the Pusher of what it pushed, and why."""

    accepted: bool
    reason: str
    metrics: dict[str, float]
    championVersion: str | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/VerdictDatasetFacet"


@attr.define
class NightRunFacet(RunFacet):
    """The night that a run is for, and the attempt in ML Metadata that it was."""

    night: str | None
    executionId: int
    attempt: int
    state: str

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/NightRunFacet"


@attr.define
class RollbackRunFacet(RunFacet):
    """Which version a person made serve instead of which, when and why."""

    fromVersion: int
    toVersion: int
    by: str
    reason: str
    at: str
    night: str
    withdrawn: list[int]

    @staticmethod
    def _get_schema() -> str:
        return f"{SCHEMA}#/$defs/RollbackRunFacet"
