"""The answers as JSON, for scripts and pages: one documented shape with a version (docs/lineage.md)."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

VERSION = 1
"""Counts up when a field goes away or changes its meaning; a new field does not change it."""


def to_json(answer: Any) -> Any:
    """An answer as what `json.dumps` takes.

    A record becomes an object with its fields and its properties, a moment an ISO string in UTC, and a key of several
    parts `part/part`.
    """
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        names = [field.name for field in dataclasses.fields(answer)]
        names += [name for name, value in vars(type(answer)).items() if isinstance(value, property)]
        return {name: to_json(getattr(answer, name)) for name in names}
    if isinstance(answer, Mapping):
        return {"/".join(key) if isinstance(key, tuple) else str(key): to_json(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [to_json(item) for item in answer]
    return answer.isoformat() if isinstance(answer, datetime) else answer
