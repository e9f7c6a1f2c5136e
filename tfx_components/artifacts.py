"""What TFX hands to an executor and a resolver."""

from tfx.types.artifact import Artifact

Artifacts = dict[str, list[Artifact]]
"""Of each input or output its artifacts, by key."""
