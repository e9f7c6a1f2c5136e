"""What a property says, whoever wrote it."""

import json
from pathlib import Path

import pytest

from lineage import ArtifactRecord
from lineage.models import read_drops
from lineage.reading import read_drop, read_error, read_object

CHAIN = """Traceback (most recent call last):

  File "utils.py", line 9, in resolve
    raise ValueError(

ValueError: nothing at index 5 of
the blessing

The above exception was the direct cause of the following exception:

Traceback (most recent call last):

  File "launcher.py", line 7, in prepare
    raise exceptions.InputResolutionError(
          ^^^^^^^^

tfx.orchestration.exceptions.InputResolutionError: Error while resolving inputs for Pusher
"""


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"error": "the disk is full", "__execution_result__": '{"resultMessage": "other"}'}, "the disk is full"),
        ({"__execution_result__": json.dumps({"resultMessage": "no such table\n", "code": 5})}, "no such table"),
        (
            {"__execution_result__": json.dumps({"resultMessage": CHAIN})},
            "Error while resolving inputs for Pusher: nothing at index 5 of the blessing",
        ),
        ({"__execution_result__": '{\n  "code": 13\n}'}, "it ended with code 13"),
        # Cut off where a database takes no longer text.
        ({"__execution_result__": '{"resultMessage": "half a'}, '{"resultMessage": "half a'),
        ({"__execution_result__": "{}"}, None),
        ({}, None),
    ],
)
def test_the_reason_of_a_failure_is_one_line_without_class_names(
    properties: dict[str, str], reason: str | None
) -> None:
    assert read_error(properties) == reason


def test_a_property_that_is_no_json_object_is_an_empty_one() -> None:
    assert read_object('{"a": 1}') == {"a": 1}
    assert [read_object(text) for text in (None, "", "null", "[1]", "newest", '"x"')] == [{}] * 6


def test_a_drop_without_a_version_is_none() -> None:
    assert read_drop('{"version": 2}') == {"version": 2}
    assert [read_drop(text) for text in ("null", "{}", '{"version": "new"}', "2022-02-01")] == [None] * 4


@pytest.mark.parametrize(("kept", "passed_over"), [({"passed_over": ["V2/", "a.txt"]}, ("V2/", "a.txt")), ({}, ())])
def test_what_was_passed_over_beside_a_drop_is_read_also_where_it_was_never_kept(
    tmp_path: Path, kept: dict[str, object], passed_over: tuple[str, ...]
) -> None:
    (tmp_path / "drops.json").write_text(json.dumps({"2022-02-01": {"version": 1, "files": [], **kept}}))
    [drop] = read_drops(ArtifactRecord(1, str(tmp_path), {"drop:2022-02-01": '{"version": 1}'}), "drop:")
    assert drop.passed_over == passed_over
