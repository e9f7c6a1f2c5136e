"""InfraCheck: an InfraValidator for one box, which asks a freshly loaded model before it may be served."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_component_specs import BLESSING_KEY, EXAMPLES_KEY, MODEL_KEY
from tfx.utils import path_utils

from headlines.names import BLESSED
from modules.features import REFERENCE_FILE
from tfx_components.artifacts import Artifacts

# The names that TFX's InfraValidator writes.
_FILES = ("INFRA_NOT_BLESSED", "INFRA_BLESSED")
REPORT_FILE = "report.jsonl"
_REASON_CHARACTERS = 500


class Executor(base_executor.BaseExecutor):
    """Asks the model in a child process and writes an InfraBlessing; a bad model fails the blessing, not the node."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Checks the model.

        Args:
          input_dict: `model`, in whose folder lies what it said in training, and `examples` with a split `eval` of
            raw examples.
          output_dict: `blessing` gains the custom properties `blessed` (1 or 0), `reason`, and if blessed `requests`,
            `latency_ms` (median of one title), `load_seconds` and `peak_memory_mb`; its folder the file InfraValidator
            writes and `report.jsonl`.
          exec_properties: `timeout_seconds` for everything, `sample_rows` of the newest night to send,
            `max_latency_ms` and `max_memory_mb`.
        """
        model = artifact_utils.get_single_instance(input_dict[MODEL_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        files = [
            str(file)
            for uri in artifact_utils.get_split_uris(input_dict[EXAMPLES_KEY], "eval")
            for file in sorted(Path(uri).iterdir())
        ]
        findings = ask(
            {
                "model_path": path_utils.serving_model_path(model.uri),
                "reference_file": str(Path(model.uri, REFERENCE_FILE)),
                "example_files": files,
                **{name: exec_properties[name] for name in ("sample_rows", "max_latency_ms", "max_memory_mb")},
                "report": str(Path(blessing.uri, REPORT_FILE)),
            },
            exec_properties["timeout_seconds"],
        )
        blessed = "reason" not in findings
        if blessed:
            findings["reason"] = f"blessed: {findings['requests']} requests answered as promised"
        for name, value in findings.items():
            # The database's driver takes no backslash in a string (no issue known); the report keeps the words as they
            # were.
            blessing.set_string_custom_property(name, value.replace("\\", "/")) if isinstance(value, str) else (
                blessing.set_float_custom_property(name, float(value))
            )
        blessing.set_int_custom_property(BLESSED, int(blessed))
        Path(blessing.uri, _FILES[blessed]).touch()
        logging.log(logging.INFO if blessed else logging.WARNING, "Infra check: %s", findings)


class InfraCheckSpec(ComponentSpec):
    """What InfraCheck takes and makes."""

    PARAMETERS = {  # noqa: RUF012
        "timeout_seconds": ExecutionParameter(type=int),
        "sample_rows": ExecutionParameter(type=int),
        "max_latency_ms": ExecutionParameter(type=int),
        "max_memory_mb": ExecutionParameter(type=int),
    }
    INPUTS = {  # noqa: RUF012
        MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {BLESSING_KEY: ChannelParameter(type=standard_artifacts.InfraBlessing)}  # noqa: RUF012


class InfraCheck(base_component.BaseComponent):
    """Loads the exported model in a fresh process and sends hard and real headlines through every signature."""

    SPEC_CLASS = InfraCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        timeout_seconds: int = 300,
        sample_rows: int = 50,
        max_latency_ms: int = 250,
        max_memory_mb: int = 2_048,
    ) -> None:
        """Places the component in a pipeline.

        Args:
          model: the candidate.
          examples: raw Examples, whose newest night's eval rows are sent too.
          timeout_seconds: a model that has not answered everything by then is not blessed. TensorFlow's import counts.
          sample_rows: how many of these rows.
          max_latency_ms: most that one title may take, at the median. A title takes a few; a budget near that would
            refuse good models on a busy machine.
          max_memory_mb: most that the process which serves may hold, TensorFlow's own half included.
        """
        super().__init__(
            InfraCheckSpec(
                model=model,
                examples=examples,
                timeout_seconds=timeout_seconds,
                sample_rows=sample_rows,
                max_latency_ms=max_latency_ms,
                max_memory_mb=max_memory_mb,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )


def ask(question: dict[str, Any], timeout_seconds: int) -> dict[str, Any]:
    """Runs the probe in a child process.

    Args:
      question: what the probe reads.
      timeout_seconds: after which the child is killed.

    Returns:
      The probe's findings; or `reason` alone, in one line, if a request failed, the child died or took too long.
    """
    # The child finds the same modules however this process found them, and computes as the model server does.
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        try:
            child = subprocess.run(
                [sys.executable, "-m", "tfx_components.serving_probe"],
                input=json.dumps(question),
                text=True,
                stdout=errors,
                stderr=errors,
                env=environment,
                timeout=timeout_seconds,
                check=False,
            )
            end = f"the process {_name_exit(child.returncode)}" if child.returncode else ""
        except subprocess.TimeoutExpired:
            end = f"no answer within {timeout_seconds} s"
        errors.seek(0)
        last_words = [line.strip() for line in errors if line.strip()][-1:]
    report = Path(question["report"])
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    if end:
        request = next((line["request"] for line in reversed(entries) if "request" in line), "start")
        return {"reason": ": ".join(["refused", request, end, *last_words])[:_REASON_CHARACTERS]}
    findings = entries[-1]
    if "reason" in findings:
        # The whole of it, an array for example, is in the report.
        return {"reason": f"refused: {findings['reason']}"[:_REASON_CHARACTERS]}
    return findings


def _name_exit(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
