"""HeadlineExampleGen: the drops of a night's window as split, weighted examples, and the quarantine of its bad rows."""

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec, ExecutorClassSpec
from tfx.types import Channel, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from headlines.drops.rules import Rules
from headlines.names import PRECEDENTS
from tfx_components.headline_example_gen.beam_executor import BeamExecutor
from tfx_components.headline_example_gen.driver import Driver
from tfx_components.headline_example_gen.executor import Executor


class Quarantine(Artifact):
    """The rows of a window that are not used: `quarantine.csv`, and `duplicates.csv` for those folded into another.

    Custom properties: `rows` (int) in quarantine.csv, and `reason:<reason>` (int) of each; of the whole window.
    """

    TYPE_NAME = "Quarantine"


class HeadlineExampleGenSpec(ComponentSpec):
    """Parameters and outputs of HeadlineExampleGen."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "drops_dir": ExecutionParameter(type=str),
        "night": ExecutionParameter(type=str),
        "rules": ExecutionParameter(type=str),
        # Empty here; the driver sets them at run time.
        "fingerprint": ExecutionParameter(type=str),
        PRECEDENTS: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": ChannelParameter(type=Quarantine),
    }


class HeadlineExampleGen(BaseComponent):
    """Reads, judges, splits and weighs the headlines of a window.

    It succeeds however many rows are bad, so that the quarantine is never lost: DropGate is what stops a run. It fails
    when a drop of the window cannot be read as a whole, and when a row is unaccounted for. Drops of earlier nights that
    DropGate refused are left out until they are corrected or accepted.

    Outputs: `examples` with the splits `train` and `eval` of gzipped tf.Examples (title, sentiment, night, weight), and
    `fresh`, the part of `eval` that no earlier night of the window had in any version; and `quarantine`.
    """

    SPEC_CLASS = HeadlineExampleGenSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(self, drops_dir: str, night: str, rules: Rules, through_beam: bool = False) -> None:
        """Places the component in a pipeline.

        Args:
          drops_dir: folder that holds a folder per night.
          night: `YYYY-MM-DD`, or what is rendered to it before the run.
          rules: which rows of which drops are used, and how.
          through_beam: whether many workers read the window, with the pipeline's Beam arguments, or this process alone.
        """
        spec = HeadlineExampleGenSpec(
            drops_dir=drops_dir,
            night=night,
            rules=rules.to_json(),
            fingerprint="",
            precedents="",
            examples=Channel(type=standard_artifacts.Examples),
            quarantine=Channel(type=Quarantine),
        )
        super().__init__(spec=spec, custom_executor_spec=BeamExecutorSpec(BeamExecutor) if through_beam else None)
