"""Tells TFX's cache what the window of a night holds, so that a corrected drop is never taken for the earlier one.

Nothing but that: a drop that cannot be read is the executor's to report.
"""

import hashlib
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as portable_driver
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import driver_output_pb2

from tfx_components.headline_example_gen.drop import DropError, find_version, parse_night
from tfx_components.headline_example_gen.rules import Rules
from tfx_components.headline_example_gen.window import choose_earlier_nights


class Driver(base_driver.BaseDriver, portable_driver.BaseDriver):
    """Sets the execution property `fingerprint`, under Airflow's launcher and under LocalDagRunner alike."""

    def __init__(self, metadata_handle: Any) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_driver.BaseDriver.__init__(self, metadata_handle)

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info: Any, component_info: Any
    ) -> dict[str, Any]:
        """Called by the launcher that runs under Airflow."""
        return {**exec_properties, "fingerprint": take_fingerprint(exec_properties)}

    def run(self, execution_info: ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Called by the launcher that runs under LocalDagRunner."""
        output = driver_output_pb2.DriverOutput()
        output.exec_properties["fingerprint"].string_value = take_fingerprint(execution_info.exec_properties)
        return output


def take_fingerprint(exec_properties: dict[str, Any]) -> str:
    """Hash of the names and bytes of all files in the window; empty when they cannot all be found and read."""
    drops_dir = Path(exec_properties["drops_dir"])
    rules = Rules.from_json(exec_properties["rules"])
    digest = hashlib.sha256()
    try:
        night = parse_night(exec_properties["night"])
        earlier, _ = choose_earlier_nights(drops_dir, night, rules)
        for other in [*earlier, night]:
            for path in find_version(drops_dir, other, rules.require_success_marker).files:
                digest.update(f"{path.relative_to(drops_dir)}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    except (DropError, OSError):
        return ""
    return digest.hexdigest()
