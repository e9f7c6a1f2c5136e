"""Small TFX components and the way Airflow launches one, for the tests of the launcher and the store.

No `from __future__ import annotations` here: TFX reads the annotations (no issue known).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.data_types import DriverArgs, PipelineInfo
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import Examples, Model, PushedModel

from retraining.recording.launcher import HeadlineLauncher
from retraining.recording.store import connection_config
from retraining.settings import Settings

NAME = "tiny"

behaviour: dict[str, Callable[[Path], object]] = {}
"""What `Make` does beside writing its model; it is given the model's directory."""


@component
def Make(model: OutputArtifact[Model], flavour: Parameter[str] = "vanilla") -> None:
    (Path(model.uri) / "flavour").write_text(flavour)
    model.set_string_custom_property("flavour", flavour)
    if "make" in behaviour:
        behaviour["make"](Path(model.uri))


@component
def Use(model: InputArtifact[Model], pushed: OutputArtifact[PushedModel]) -> None:
    pushed.set_string_custom_property("used", model.uri)


@component
def Split(first: OutputArtifact[Examples], model: OutputArtifact[Model], second: OutputArtifact[Examples]) -> None:
    for artifact in (first, model, second):
        (Path(artifact.uri) / "data").touch()


def launch(settings: Settings, node: BaseNode, run: str = "run-1", *, cache: bool = False, **changes: Any) -> Any:
    """Launches a node as TFX's Airflow task does."""
    arguments = {
        "component": node,
        "pipeline_info": PipelineInfo(NAME, str(settings.pipeline_root), run),
        "driver_args": DriverArgs(enable_cache=cache),
        "metadata_connection": Metadata(connection_config(settings)),
        "beam_pipeline_args": [],
        "additional_pipeline_args": {},
        **changes,
    }
    return HeadlineLauncher.create(**arguments).launch()


def launch_all(settings: Settings, pipeline: Pipeline, run: str = "run-1") -> None:
    """Launches every node of a pipeline in its order, as a DAG run does."""
    for node in pipeline.components:
        launch(
            settings,
            node,
            pipeline_info=PipelineInfo(pipeline.pipeline_name, str(settings.pipeline_root), run),
            beam_pipeline_args=pipeline.beam_pipeline_args,
        )


def pipeline(settings: Settings, *nodes: BaseNode, **arguments: Any) -> Pipeline:
    return Pipeline(pipeline_name=NAME, pipeline_root=str(settings.pipeline_root), components=nodes, **arguments)
