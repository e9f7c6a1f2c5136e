"""The types of artifacts, executions and contexts that nodes record as."""

from collections.abc import Iterable

from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver

from retraining.recording.advisory_locks import TYPES_LOCK, lock
from retraining.recording.attempts import AttemptMetadata
from tfx_components.rulings import register_ruling_types

_CONTEXT_TYPES = {
    "pipeline": {"pipeline_name": ""},
    "run": {"pipeline_name": "", "run_id": ""},
    "component_run": {"pipeline_name": "", "run_id": "", "component_id": ""},
}


def register_types(metadata: AttemptMetadata, nodes: Iterable[BaseNode]) -> None:
    """Creates the types that nodes of every kind and rulings need in the open store, one process at a time."""
    with lock(metadata.connection_config, TYPES_LOCK):
        for name, properties in _CONTEXT_TYPES.items():
            metadata._prepare_context(name, name, properties)
        for node in nodes:
            inputs = node.raw_inputs if isinstance(node, Resolver) else node.inputs
            for channel in [*inputs.values(), *node.outputs.values()]:
                metadata._prepare_artifact_type(channel.type().artifact_type)
            metadata._prepare_execution_type(node.type, node.exec_properties)
        # DropGate's driver makes them, which holds no lock.
        register_ruling_types(metadata.store)
