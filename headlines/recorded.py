"""Rules as an execution property keeps them: what is written there is what is read again, field by field."""

import json
from dataclasses import asdict, fields
from typing import Any, Self


class Recorded:
    """A dataclass of plain values that is recorded as JSON."""

    def to_json(self) -> str:
        """The fields as JSON, the same text for the same values."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Takes the fields from JSON.

        Raises:
          TypeError: one is missing or unknown.
          ValueError: one has a value that the rules do not take.
        """
        values: dict[str, Any] = json.loads(text)
        lists = {field.name for field in fields(cls) if field.type == tuple[str, ...]}  # type: ignore[arg-type]
        return cls(**{name: tuple(value) if name in lists else value for name, value in values.items()})
