"""Tells TFX's cache what the window of a night holds, and stops a run whose drops were changed after they were used."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_metadata import ListOptions, OrderByField
from ml_metadata.proto.metadata_store_pb2 import Artifact
from tfx.dsl.components.base import base_driver
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable import base_driver as portable_driver
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import driver_output_pb2

from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion, hash_files, parse_night
from headlines.drops.rules import Rules
from headlines.drops.window import find_versions, fingerprint
from headlines.names import DROP_PREFIX, NIGHT

DROPS_DIR_PROPERTY = "drops_dir"
# Quotes do not survive MLMD's translation to SQL (no issue known).
_UNSAFE_IN_QUERY = re.compile(r"[^A-Za-z0-9_/.,:{} -]")

Contents = list[tuple[DropVersion, str]]


class ChangedDropError(DropError):
    """A version of a drop is not what it was when an earlier run used it."""


class Driver(base_driver.BaseDriver, portable_driver.BaseDriver):
    """Sets the execution property `fingerprint`, under Airflow's launcher and under LocalDagRunner alike."""

    def __init__(self, metadata_handle: Any) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_driver.BaseDriver.__init__(self, metadata_handle)

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info: Any, component_info: Any
    ) -> dict[str, Any]:
        """Called by the launcher that runs under Airflow."""
        return {**exec_properties, "fingerprint": self._look(exec_properties)}

    def run(self, execution_info: ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Called by the launcher that runs under LocalDagRunner."""
        output = driver_output_pb2.DriverOutput()
        output.exec_properties["fingerprint"].string_value = self._look(execution_info.exec_properties)
        return output

    def _look(self, exec_properties: dict[str, Any]) -> str:
        contents = hash_window(exec_properties)
        with self._metadata_handle as metadata:
            refuse_changed_drops(metadata, exec_properties["drops_dir"], contents)
        # Of nothing too: a window that can be read by the time the executor reads it was never checked.
        return fingerprint(contents)


def hash_window(exec_properties: dict[str, Any]) -> Contents:
    """The versions that a run reads and their content hashes; empty when they cannot all be found and read."""
    rules = Rules.from_json(exec_properties["rules"])
    try:
        drops = DropsFolder(Path(exec_properties["drops_dir"]))
        versions, _ = find_versions(drops, parse_night(exec_properties["night"]), rules)
        return [
            (version, hash_files((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in version.files))
            for version in versions
        ]
    except (DropError, OSError):
        return []


def refuse_changed_drops(metadata: Metadata, drops_dir: str, contents: Iterable[tuple[DropVersion, str]]) -> None:
    """Checks that every version is, byte for byte, what it was when it was first used from this drops folder.

    Raises:
      ChangedDropError: one or more are not.
    """
    problems = []
    for version, sha256 in contents:
        name = f"{DROP_PREFIX}{version.night}"
        examples = _find_first_use(metadata, drops_dir, name, version.number)
        if examples and (before := json.loads(examples.custom_properties[name].string_value)["sha256"]) != sha256:
            night = examples.custom_properties[NIGHT].string_value
            problems.append(
                f"version {version.number} of the drop of night {version.night} was changed after the run of night "
                f"{night} had used it: its SHA-256 was {before} and is {sha256} now. A version never changes: put its "
                "files back as they were, and deliver the correction as a version of its own with "
                f"`retraining drop FILE --night {version.night} --correct`"
            )
    if problems:
        raise ChangedDropError("; ".join(problems))


def _find_first_use(metadata: Metadata, drops_dir: str, name: str, number: int) -> Artifact | None:
    """The first examples that were made from a version of a drop as it lay in this drops folder."""
    as_recorded = json.dumps({"version": number}).removesuffix("}") + ","
    last_id = 0
    while True:
        uses = metadata.store.get_artifacts(
            list_options=ListOptions(
                filter_query=(
                    f"type = 'Examples' AND id > {last_id} "
                    f"AND custom_properties.`{name}`.string_value LIKE '{_pattern(as_recorded)}%' "
                    f"AND custom_properties.{DROPS_DIR_PROPERTY}.string_value {_equals(drops_dir)}"
                ),
                order_by=OrderByField.ID,
                is_asc=True,
                limit=1,
            )
        )
        # A store that takes no backslash holds another character in its place.
        if not uses or "\\" in drops_dir or uses[0].custom_properties[DROPS_DIR_PROPERTY].string_value == drops_dir:
            return uses[0] if uses else None
        last_id = uses[0].id


def _equals(text: str) -> str:
    """The condition of a query that is met by a text, and by others like it when it has what no query may have."""
    return f"LIKE '{_pattern(text)}'" if _UNSAFE_IN_QUERY.search(text) else f"= '{text}'"


def _pattern(text: str) -> str:
    """`_` stands for any one character."""
    return _UNSAFE_IN_QUERY.sub("_", text)
