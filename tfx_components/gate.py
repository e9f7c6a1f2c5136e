"""DropGate: stops a run whose data are not fit to train on, and says all that is wrong with them.

It judges what HeadlineExampleGen and ExampleValidator recorded and changes nothing; downstream nodes wait for it.
"""

import io
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import BaseChannel, artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from headlines.drops.alarms import Limits, Quarantined, find_alarms, tell_too_few
from headlines.drops.figures import Figures
from headlines.drops.quarantine import read_csv
from headlines.drops.rulings import Ruled, Ruling, find_counting, find_ruling
from headlines.errors import HeadlinesError
from headlines.names import (
    ACCEPTED,
    ALARM_LIMITS,
    ANOMALIES_FILE,
    DROP_PREFIX,
    GATE,
    LABEL_CODES,
    NIGHT,
    NIGHT_ROWS_IN,
    NIGHT_ROWS_QUARANTINED,
    NIGHTS,
    QUARANTINE_FILE,
    ROWS_USED,
)
from headlines.objects.addresses import to_path
from tfx_components.artifacts import Artifacts, read_properties
from tfx_components.drivers import EitherDriver
from tfx_components.headline_example_gen.component import Quarantine
from tfx_components.rulings import now, put_ruling, read_rulings

log = logging.getLogger(__name__)

_BAD_ROWS_SHOWN = 5
_RAW_CHARACTERS_SHOWN = 120


class BadDropError(HeadlinesError):
    """The window's data are not fit to train on; the message lists every reason."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong with a night's data, each problem with what to do.

    Attributes:
      of_drop: with the night's own drop, which is refused for it.
      of_window: with all that the run would train on, for which no single drop answers.
    """

    of_drop: tuple[str, ...]
    of_window: tuple[str, ...]


class Driver(EitherDriver):
    """Records what the gate makes of the night's drop, and sets the execution property `accepted`.

    It is recorded before the run is stopped, since LocalDagRunner keeps nothing of what an executor that failed was
    given (no issue known).
    """

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info: Any, component_info: Any
    ) -> dict[str, Any]:
        """Called by the launcher that runs under Airflow, before it knows the inputs."""
        return dict(exec_properties)

    def resolve_input_artifacts(
        self, input_dict: Any, exec_properties: dict[str, Any], driver_args: Any, pipeline_info: Any
    ) -> Artifacts:
        """Called by the same launcher, which registers `exec_properties` only after it."""
        inputs: Artifacts = super().resolve_input_artifacts(input_dict, exec_properties, driver_args, pipeline_info)
        artifact_utils.verify_artifacts(inputs)
        place = (pipeline_info.pipeline_name, pipeline_info.run_id)
        exec_properties[ACCEPTED] = self._rule(inputs, exec_properties, *place)
        return inputs

    def run(self, execution_info: ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Called by the launcher that runs under LocalDagRunner."""
        inputs = {key: list(artifacts) for key, artifacts in execution_info.input_dict.items()}
        place = (execution_info.pipeline_info.id, execution_info.pipeline_run_id)
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[ACCEPTED].string_value = self._rule(inputs, execution_info.exec_properties, *place)
        return output

    def _rule(self, inputs: Artifacts, exec_properties: dict[str, Any], pipeline: str, run_id: str) -> str:
        """Records a ruling where it changes how the drop stands, and tells who accepted it, if anybody did.

        A run as of an earlier moment is a trial: what it makes of a drop decides nothing for the nights to come.
        """
        examples = artifact_utils.get_single_instance(inputs["examples"])
        night = examples.get_string_custom_property(NIGHT)
        drop = json.loads(examples.get_string_custom_property(f"{DROP_PREFIX}{night}"))
        key = (night, drop["version"], drop["sha256"])
        problems = judge(inputs, exec_properties).of_drop
        with self._metadata_handle as metadata:
            counting = find_counting(read_rulings(metadata.store))
            before = find_ruling(counting, key)
            if before and before.ruled is Ruled.ACCEPTED:
                return f"{before.by} on {before.at:%Y-%m-%d %H:%M} UTC: {before.why}"
            ruled, why = (Ruled.REFUSED, "; ".join(problems)) if problems else (Ruled.PASSED, "")
            # What was never refused needs no word that it passes.
            stands = before.ruled if before else Ruled.PASSED
            if ruled is not stands and not exec_properties["as_known_on"]:
                by = f"{GATE} in run {run_id}"
                put_ruling(metadata.store, Ruling(0, *key, ruled, why, by, now()), pipeline)
        return ""


class Executor(BaseExecutor):
    """Passes or raises."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Judges one night.

        Args:
          input_dict: `examples`, `quarantine` and `anomalies`.
          exec_properties: `max_quarantined_share`, `min_headlines` and `alarm_limits`, as the component takes them; the
            driver's `accepted`.

        Raises:
          BadDropError: the data are not fit to train on.
        """
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        night = examples.get_string_custom_property(NIGHT)
        rows_used, nights = (examples.get_int_custom_property(name) for name in (ROWS_USED, NIGHTS))
        judgement = judge(input_dict, exec_properties)
        of_drop, accepted = judgement.of_drop, exec_properties.get(ACCEPTED)
        if of_drop and accepted:
            log.warning(
                "The drop of night %s was accepted as it is, by %s. It passes, though:\n%s",
                night,
                accepted,
                "\n".join(f"- {problem}" for problem in of_drop),
            )
            of_drop = ()
        if problems := [*judgement.of_window, *of_drop]:
            advice = (
                "\nThe drop stays out of the windows of later nights until it is corrected, with `retraining drop FILE "
                f"--night {night} --correct`, or accepted, with `retraining drop --accept {night} --reason TEXT`"
            )
            raise BadDropError(
                f"the data of night {night} are not fit to train on; nothing was trained:\n"
                + "\n".join(f"- {problem}" for problem in problems)
                + (advice if of_drop else "")
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
        "as_known_on": ExecutionParameter(type=str),
        # Empty here; the driver sets it at run time.
        ACCEPTED: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": ChannelParameter(type=Quarantine),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {}


class DropGate(BaseComponent):
    """Fails on anomalies, on too large a share of bad rows in the night's drop, on too few headlines, and on alarms.

    What is wrong with the night's own drop makes that refused: HeadlineExampleGen leaves it out of later windows. Of a
    drop that a person accepted the same is only logged.

    It has no outputs: make what must not run on bad data wait for it with `add_upstream_node`.
    """

    SPEC_CLASS = DropGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        examples: BaseChannel,
        quarantine: BaseChannel,
        anomalies: BaseChannel,
        max_quarantined_share: float,
        min_headlines: int,
        alarm_limits: Limits,
        as_known_on: str = "",
    ) -> None:
        """Places the component in a pipeline.

        Args:
          examples: from HeadlineExampleGen.
          quarantine: from HeadlineExampleGen.
          anomalies: from ExampleValidator, on all splits of `examples`.
          max_quarantined_share: of the rows of the night's own drop, in [0, 1].
          min_headlines: usable ones, in the whole window.
          alarm_limits: of the night's rows, labels, words and language.
          as_known_on: of the same rule of HeadlineExampleGen; unless it is empty no ruling is recorded.
        """
        spec = DropGateSpec(
            examples=examples,
            quarantine=quarantine,
            anomalies=anomalies,
            max_quarantined_share=float(max_quarantined_share),
            min_headlines=min_headlines,
            alarm_limits=alarm_limits.to_json(),
            as_known_on=as_known_on,
            accepted="",
        )
        super().__init__(spec=spec)


def judge(inputs: Artifacts, exec_properties: Mapping[str, Any]) -> Judgement:
    """What is wrong with a night's data, whoever accepted it.

    Args:
      inputs: `examples`, `quarantine` and `anomalies`.
      exec_properties: the limits, as the component takes them.
    """
    examples, quarantine, anomalies = (
        artifact_utils.get_single_instance(inputs[name]) for name in ("examples", "quarantine", "anomalies")
    )
    rows_used, nights = (examples.get_int_custom_property(name) for name in (ROWS_USED, NIGHTS))
    night = examples.get_string_custom_property(NIGHT)
    drop = json.loads(examples.get_string_custom_property(f"{DROP_PREFIX}{night}"))
    return Judgement(
        of_drop=tuple(
            find_alarms(
                read_figures(examples),
                Limits.from_json(exec_properties[ALARM_LIMITS]),
                _read_quarantine(examples, quarantine, float(exec_properties["max_quarantined_share"])),
                drop.get(LABEL_CODES),
            )
        ),
        of_window=(
            *_find_anomalies(anomalies),
            *tell_too_few(rows_used, nights, int(exec_properties["min_headlines"])),
        ),
    )


def read_figures(examples: Artifact) -> Figures:
    """What HeadlineExampleGen recorded of the night's rows, labels, words and language."""
    return Figures.from_properties(read_properties(examples))


def _find_anomalies(anomalies: Artifact) -> Iterator[str]:
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        path = to_path(artifact_utils.get_split_uri([anomalies], split)) / ANOMALIES_FILE
        record = anomalies_pb2.Anomalies()
        record.ParseFromString(path.read_bytes())
        for feature, info in sorted(record.anomaly_info.items()):
            yield _tell_anomaly(split, f"feature {feature}", info)
        if record.HasField("dataset_anomaly_info"):
            yield _tell_anomaly(split, "the whole split", record.dataset_anomaly_info)


def _tell_anomaly(split: str, place: str, info: anomalies_pb2.AnomalyInfo) -> str:
    reasons = [f"{reason.short_description}: {reason.description}" for reason in info.reason or [info]]
    return f"anomaly in split {split}, {place}: {'; '.join(reasons)}"


def _read_quarantine(examples: Artifact, quarantine: Artifact, max_share: float) -> Quarantined:
    path = to_path(quarantine.uri) / QUARANTINE_FILE
    night = examples.get_string_custom_property(NIGHT)
    text = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    rows = [row for row in read_csv(text) if row["night"] == night]
    lines = [f". All of them are in {path}. The first:"]
    lines += [
        f"    {row['file']} line {row['line']}, {row['reason']}"
        f"{' (' + row['detail'] + ')' if row['detail'] else ''}: {_shorten(row['raw'])}"
        for row in rows[:_BAD_ROWS_SHOWN]
    ]
    return Quarantined(
        bad=examples.get_int_custom_property(NIGHT_ROWS_QUARANTINED),
        delivered=examples.get_int_custom_property(NIGHT_ROWS_IN),
        max_share=max_share,
        reasons=Counter(row["reason"] for row in rows),
        shown="\n".join(lines),
    )


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _RAW_CHARACTERS_SHOWN else f"{text[:_RAW_CHARACTERS_SHOWN]}..."
