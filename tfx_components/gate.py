"""DropGate: stops a run whose data are not fit to train on, and says all that is wrong with them.

It judges what HeadlineExampleGen and ExampleValidator recorded and changes nothing; downstream nodes wait for it.
"""

import io
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.dsl.io import fileio
from tfx.types import BaseChannel, artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from headlines.drops.alarms import Limits, find_alarms, tell_quarantined, tell_too_few
from headlines.drops.figures import Figures
from headlines.drops.quarantine import read_csv
from headlines.errors import HeadlinesError
from headlines.names import (
    ALARM_LIMITS,
    ANOMALIES_FILE,
    NIGHT,
    NIGHT_ROWS_IN,
    NIGHT_ROWS_QUARANTINED,
    NIGHTS,
    QUARANTINE_FILE,
    ROWS_USED,
)
from tfx_components.artifacts import Artifacts, read_properties
from tfx_components.headline_example_gen.component import Quarantine

log = logging.getLogger(__name__)

_BAD_ROWS_SHOWN = 5
_RAW_CHARACTERS_SHOWN = 120


class BadDropError(HeadlinesError):
    """The window's data are not fit to train on; the message lists every reason."""


class Executor(BaseExecutor):
    """Passes or raises."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Judges one night.

        Args:
          input_dict: `examples`, `quarantine` and `anomalies`.
          exec_properties: `max_quarantined_share`, `min_headlines` and `alarm_limits`, as the component takes them.

        Raises:
          BadDropError: the data are not fit to train on.
        """
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        quarantine = artifact_utils.get_single_instance(input_dict["quarantine"])
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        night = examples.get_string_custom_property(NIGHT)
        rows_used, nights = (examples.get_int_custom_property(name) for name in (ROWS_USED, NIGHTS))
        figures = read_figures(examples)
        max_share = float(exec_properties["max_quarantined_share"])
        problems = [
            *_find_anomalies(anomalies),
            *_judge_quarantine(examples, quarantine, max_share, figures.unknown_labels),
            *tell_too_few(rows_used, nights, int(exec_properties["min_headlines"])),
            *find_alarms(figures, Limits.from_json(exec_properties[ALARM_LIMITS])),
        ]
        if problems:
            raise BadDropError(
                f"the data of night {night} are not fit to train on; nothing was trained:\n"
                + "\n".join(f"- {problem}" for problem in problems)
            )
        log.info(
            "Night %s passes: %d headlines of %d nights, %d of the night's %d rows quarantined, no anomalies.",
            night,
            rows_used,
            nights,
            examples.get_int_custom_property(NIGHT_ROWS_QUARANTINED),
            examples.get_int_custom_property(NIGHT_ROWS_IN),
        )


class DropGateSpec(ComponentSpec):
    """Parameters and inputs of DropGate."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "max_quarantined_share": ExecutionParameter(type=float),
        "min_headlines": ExecutionParameter(type=int),
        ALARM_LIMITS: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": ChannelParameter(type=Quarantine),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {}


class DropGate(BaseComponent):
    """Fails on anomalies, on too large a share of bad rows in the night's drop, on too few headlines, and on alarms.

    It has no outputs: make what must not run on bad data wait for it with `add_upstream_node`.
    """

    SPEC_CLASS = DropGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: BaseChannel,
        quarantine: BaseChannel,
        anomalies: BaseChannel,
        max_quarantined_share: float,
        min_headlines: int,
        alarm_limits: Limits,
    ) -> None:
        """Places the component in a pipeline.

        Args:
          examples: from HeadlineExampleGen.
          quarantine: from HeadlineExampleGen.
          anomalies: from ExampleValidator, on all splits of `examples`.
          max_quarantined_share: of the rows of the night's own drop, in [0, 1].
          min_headlines: usable ones, in the whole window.
          alarm_limits: of the night's rows, labels, words and language.
        """
        spec = DropGateSpec(
            examples=examples,
            quarantine=quarantine,
            anomalies=anomalies,
            max_quarantined_share=float(max_quarantined_share),
            min_headlines=min_headlines,
            alarm_limits=alarm_limits.to_json(),
        )
        super().__init__(spec=spec)


def read_figures(examples: Artifact) -> Figures:
    """What HeadlineExampleGen recorded of the night's rows, labels, words and language."""
    return Figures.from_properties(read_properties(examples))


def _find_anomalies(anomalies: Artifact) -> Iterator[str]:
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        path = Path(artifact_utils.get_split_uri([anomalies], split)) / ANOMALIES_FILE
        record = anomalies_pb2.Anomalies()
        with fileio.open(str(path), "rb") as file:
            record.ParseFromString(file.read())
        for feature, info in sorted(record.anomaly_info.items()):
            yield _tell_anomaly(split, f"feature {feature}", info)
        if record.HasField("dataset_anomaly_info"):
            yield _tell_anomaly(split, "the whole split", record.dataset_anomaly_info)


def _tell_anomaly(split: str, place: str, info: anomalies_pb2.AnomalyInfo) -> str:
    reasons = [f"{reason.short_description}: {reason.description}" for reason in info.reason or [info]]
    return f"anomaly in split {split}, {place}: {'; '.join(reasons)}"


def _judge_quarantine(
    examples: Artifact, quarantine: Artifact, max_share: float, unknown_labels: Mapping[str, int]
) -> Iterator[str]:
    path = str(Path(quarantine.uri) / QUARANTINE_FILE)
    night = examples.get_string_custom_property(NIGHT)
    with fileio.open(path, "rb") as file:
        text = io.StringIO(file.read().decode("utf-8-sig"), newline="")
    rows = [row for row in read_csv(text) if row["night"] == night]
    for problem in tell_quarantined(
        examples.get_int_custom_property(NIGHT_ROWS_QUARANTINED),
        examples.get_int_custom_property(NIGHT_ROWS_IN),
        max_share,
        Counter(row["reason"] for row in rows),
        unknown_labels,
    ):
        lines = [f"{problem}. All of them are in {path}; correct them and deliver a corrected drop. The first:"]
        lines += [
            f"    {row['file']} line {row['line']}, {row['reason']}"
            f"{' (' + row['detail'] + ')' if row['detail'] else ''}: {_shorten(row['raw'])}"
            for row in rows[:_BAD_ROWS_SHOWN]
        ]
        yield "\n".join(lines)


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _RAW_CHARACTERS_SHOWN else f"{text[:_RAW_CHARACTERS_SHOWN]}..."
