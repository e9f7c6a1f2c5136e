"""What TFX hands to an executor and a resolver, and what is noted on it."""

from typing import Any

from tfx.types.artifact import Artifact

Artifacts = dict[str, list[Artifact]]
"""Of each input or output its artifacts, by key."""


def read_properties(artifact: Artifact) -> dict[str, Any]:
    """The custom properties of an artifact, by name."""
    properties = artifact.mlmd_artifact.custom_properties
    return {name: getattr(value, str(value.WhichOneof("value"))) for name, value in properties.items()}
