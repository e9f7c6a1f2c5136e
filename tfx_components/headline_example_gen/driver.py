"""Tells what a window holds and what was decided of it, and stops a run whose drops were changed after their use."""

import json
import re
from collections.abc import Iterable
from typing import Any

from ml_metadata import ListOptions, OrderByField
from ml_metadata.proto.metadata_store_pb2 import Artifact
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import driver_output_pb2

from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion, parse_night
from headlines.drops.rules import Rules
from headlines.drops.rulings import DROPS_DIR_PROPERTY, Codes, Precedents, find_refused, tell_codes
from headlines.drops.sources import find_versions, fingerprint, hash_versions, list_replaced
from headlines.names import DROP_PREFIX, LABEL_CODES, NIGHT, PRECEDENTS, SUCCESS_MARKER
from headlines.objects.addresses import to_path
from tfx_components.drivers import EitherDriver
from tfx_components.rulings import read_rulings

# Quotes do not survive MLMD's translation to SQL (no issue known).
_UNSAFE_IN_QUERY = re.compile(r"[^A-Za-z0-9_/.,:{} -]")

Contents = list[tuple[DropVersion, str]]


class ChangedDropError(DropError):
    """A version of a drop is not what it was when an earlier run used it."""


class Driver(EitherDriver):
    """Sets `fingerprint` and `precedents` of an execution, under Airflow's launcher and under LocalDagRunner alike."""

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info: Any, component_info: Any
    ) -> dict[str, Any]:
        """Called by the launcher that runs under Airflow."""
        return exec_properties | self._look(exec_properties)

    def run(self, execution_info: ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Called by the launcher that runs under LocalDagRunner."""
        output = driver_output_pb2.DriverOutput()
        for name, value in self._look(execution_info.exec_properties).items():
            output.exec_properties[name].string_value = value
        return output

    def _look(self, exec_properties: dict[str, Any]) -> dict[str, str]:
        contents, drops_dir = hash_window(exec_properties), exec_properties["drops_dir"]
        rules = Rules.from_json(exec_properties["rules"])
        with self._metadata_handle as metadata:
            codes = check_unchanged(metadata, drops_dir, contents)
            drops = DropsFolder(to_path(drops_dir))
            for one in (one for version, _ in contents for one in list_replaced(drops, version, rules)):
                if used := read_first_codes(metadata, drops_dir, one):
                    codes[one.night.isoformat(), one.number] = used
            nights = {version.night.isoformat() for version, _ in contents}
            refused = find_refused(read_rulings(metadata.store), rules.known_by)
        precedents = Precedents(
            tuple(ruling for ruling in refused if ruling.night in nights),
            # Those that are as the setting says need no saying.
            {key: one for key, one in codes.items() if one != rules.label_codes},
        )
        # Of nothing too: a window that can be read by the time the executor reads it was never checked.
        return {"fingerprint": fingerprint(contents, precedents), PRECEDENTS: precedents.to_json()}


def hash_window(exec_properties: dict[str, Any]) -> Contents:
    """The versions that a run reads and their content hashes; empty when they cannot all be found and read."""
    rules = Rules.from_json(exec_properties["rules"])
    try:
        drops = DropsFolder(to_path(exec_properties["drops_dir"]))
        versions, _ = find_versions(drops, parse_night(exec_properties["night"]), rules)
        return hash_versions(versions)
    except (DropError, OSError):
        return []


def check_unchanged(
    metadata: Metadata, drops_dir: str, contents: Iterable[tuple[DropVersion, str]]
) -> dict[tuple[str, int], Codes]:
    """Checks that every version is, byte for byte, what it was when it was first used from this drops folder.

    Returns:
      By night and version, the label codes that it was first read with; those that had none are left out.

    Raises:
      ChangedDropError: one or more are not, or say other label codes than they were read with.
    """
    problems, codes = [], {}
    for version, sha256 in contents:
        name = f"{DROP_PREFIX}{version.night}"
        examples = _find_first_use(metadata, drops_dir, name, version.number)
        if not examples:
            continue
        drop, night = (examples.custom_properties[key].string_value for key in (name, NIGHT))
        before = json.loads(drop)
        was_changed = (
            f"version {version.number} of the drop of night {version.night} was changed after the run of night {night} "
            "had used it"
        )
        correct = (
            "and deliver the correction as a version of its own with "
            f"`retraining drop FILE --night {version.night} --correct`"
        )
        if before["sha256"] != sha256:
            problems.append(
                f"{was_changed}: its SHA-256 was {before['sha256']} and is {sha256} now. A version never changes: put "
                f"its files back as they were, {correct}"
            )
        if used := _read_codes(metadata, drops_dir, name, version.number, before):
            codes[version.night.isoformat(), version.number] = used
            if version.label_codes not in (None, used):
                problems.append(
                    f"{was_changed}: it was read with the label codes {tell_codes(used)}, and its {SUCCESS_MARKER} "
                    f"file says {tell_codes(version.label_codes or {})} now. A version never changes: put the file "
                    f"back as it was, {correct} and --label-codes"
                )
    if problems:
        raise ChangedDropError("; ".join(problems))
    return codes


def read_first_codes(metadata: Metadata, drops_dir: str, version: DropVersion) -> Codes | None:
    """The label codes that a version was first read with; None where it was never read, or has names alone."""
    name = f"{DROP_PREFIX}{version.night}"
    examples = _find_first_use(metadata, drops_dir, name, version.number)
    if not examples:
        return None
    described = json.loads(examples.custom_properties[name].string_value)
    return _read_codes(metadata, drops_dir, name, version.number, described)


def _read_codes(metadata: Metadata, drops_dir: str, name: str, number: int, described: dict[str, Any]) -> Codes | None:
    """The label codes that a version was first read with.

    Args:
      metadata: of the store.
      drops_dir: of the drops.
      name: of the property that describes the drop.
      number: of the version.
      described: by its first use. From before codes were kept it says nothing of them: then the first that does counts.
    """
    if LABEL_CODES not in described:
        examples = _find_first_use(metadata, drops_dir, name, number, LABEL_CODES)
        if not examples:
            return None
        described = json.loads(examples.custom_properties[name].string_value)
    codes: Codes = described[LABEL_CODES]
    return codes


def _find_first_use(metadata: Metadata, drops_dir: str, name: str, number: int, that_says: str = "") -> Artifact | None:
    """The first examples that were made from a version of a drop as it lay in this drops folder.

    Args:
      metadata: of the store.
      drops_dir: of the drops.
      name: of the property that describes the drop.
      number: of the version.
      that_says: what the description has to hold; empty for any.
    """
    as_recorded = _pattern(json.dumps({"version": number}).removesuffix("}") + ",") + "%"
    if that_says:
        as_recorded += _pattern(json.dumps(that_says)) + "%"
    last_id = 0
    while True:
        uses = metadata.store.get_artifacts(
            list_options=ListOptions(
                filter_query=(
                    f"type = 'Examples' AND id > {last_id} "
                    f"AND custom_properties.`{name}`.string_value LIKE '{as_recorded}' "
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
