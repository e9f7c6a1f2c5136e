"""The settings that were called otherwise: under the old name each is still read."""

RENAMED = {"FAILURE_WEBHOOK_URL": "NOTIFY"}
"""The name now, by the old one; where both are set, the one of now counts."""


def find_old_names(name: str) -> list[str]:
    """What the field `name` of the settings was called, as a field."""
    return [old.lower() for old, new in RENAMED.items() if new == name.upper()]
