"""A pipeline as somebody else would write it: no nights, no drops, TFX's own Pusher, inside `Cond(...)` or not.

No `from __future__ import annotations` here: TFX reads the annotations (no issue known).
"""

import contextlib
from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.experimental.conditionals.conditional import Cond
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing

NAME = "penguin"


@component
def ReadRows(examples: OutputArtifact[Examples]) -> None:
    # What another project means by a name of ours.
    examples.set_string_custom_property("drop:latest", "null")
    examples.set_string_custom_property("classes", "null")


@component
def Transformed(examples: InputArtifact[Examples], transformed_examples: OutputArtifact[Examples]) -> None:
    pass


@component
def Fit(examples: InputArtifact[Examples], model: OutputArtifact[Model], broken: Parameter[int]) -> None:
    if broken:
        raise OSError("no wifi on the ice")
    (Path(model.uri) / "Format-Serving").mkdir()
    (Path(model.uri) / "Format-Serving" / "saved_model.pb").touch()


@component
def Judged(
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    blessing: OutputArtifact[ModelBlessing],
    blessed: Parameter[int],
) -> None:
    blessing.set_int_custom_property("blessed", blessed)


def penguin(
    place: Path,
    name: str = NAME,
    *,
    blessed: bool = True,
    broken: bool = False,
    conditional: bool = True,
    unfounded: bool = False,
    pushes: bool = True,
    **config: object,
) -> Pipeline:
    """The pipeline.

    Args:
      place: where models are pushed to, and artifacts go.
      name: of the pipeline.
      blessed: whether the model is.
      broken: whether the Trainer fails.
      conditional: whether the Pusher is inside `Cond(...)`.
      unfounded: whether that asks for what the blessing does not say, so that LocalDagRunner fails.
      pushes: whether there is a Pusher.
      config: further arguments of `Pipeline`.
    """
    read = ReadRows().with_id("CsvExampleGen")
    transform = Transformed(examples=read.outputs["examples"]).with_id("Transform")
    fit = Fit(examples=transform.outputs["transformed_examples"], broken=int(broken)).with_id("PenguinTrainer")
    model = fit.outputs["model"]
    judge = Judged(examples=read.outputs["examples"], model=model, blessed=int(blessed)).with_id("Evaluator")
    nodes: list[BaseNode] = [read, transform, fit, judge]
    said = judge.outputs["blessing"].future()[5 if unfounded else 0].custom_property("blessed")
    if pushes:
        with Cond(said == 1) if conditional else contextlib.nullcontext():
            pusher = tfx.components.Pusher(
                model=model,
                # Without it Pusher pushes whatever comes: it is Cond that decides.
                **({} if conditional else {"model_blessing": judge.outputs["blessing"]}),
                push_destination=tfx.proto.PushDestination(
                    filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(place / "serving"))
                ),
            )
        nodes.append(pusher)
    return Pipeline(name, str(place / "pipelines"), components=nodes, **config)


def run_locally(place: Path, name: str = NAME, **how: bool) -> Path:
    """Runs it by LocalDagRunner, and returns the file of its lineage."""
    file = place / "metadata.db"
    config = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(file))
    pipeline = penguin(place, name, metadata_connection_config=config, **how)
    with contextlib.suppress(OSError):
        tfx.orchestration.LocalDagRunner().run(pipeline)
    return file
