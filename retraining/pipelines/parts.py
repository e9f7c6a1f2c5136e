"""What the pipelines share by code: the data part of those that train, and how nodes become a pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.types import BaseChannel

from retraining.engines.accounting import hold_to_rows
from retraining.engines.arguments import list_arguments
from retraining.pipelines.provenance import hash_code
from retraining.recording.store import connection_config
from retraining.settings import CHECKOUT, Settings
from tfx_components.gate import DropGate
from tfx_components.headline_example_gen.component import HeadlineExampleGen


class DataNodes(NamedTuple):
    """From the drops of a window to transformed examples, in data order."""

    example_gen: BaseNode
    statistics_gen: BaseNode
    schema_gen: BaseNode
    example_validator: BaseNode
    gate: BaseNode
    transform: BaseNode

    @property
    def examples(self) -> BaseChannel:
        """The examples before Transform."""
        return self.example_gen.outputs["examples"]


def create_data_nodes(settings: Settings, night: str) -> DataNodes:
    """Wires the data part.

    Args:
      night: the night whose window is read, `YYYY-MM-DD`, or a template that Airflow renders to it at run time.
    """
    # The drops of the window become split, weighted examples; bad rows go to the quarantine.
    example_gen = HeadlineExampleGen(
        drops_dir=str(settings.drops_dir),
        night=night,
        rules=settings.drop_rules,
        # One process reads a window faster than Beam does in one.
        through_beam=settings.beam != "local",
    )
    examples = example_gen.outputs["examples"]
    # Statistics against the reviewed schema show anomalies; the gate is what stops a run on them.
    statistics_gen = tfx.components.StatisticsGen(examples=examples, exclude_splits=["fresh"])
    schema_gen = tfx.components.ImportSchemaGen(schema_file=str(CHECKOUT / "modules" / "schema.pbtxt"))
    schema = schema_gen.outputs["schema"]
    example_validator = tfx.components.ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    gate = DropGate(
        examples=examples,
        quarantine=example_gen.outputs["quarantine"],
        anomalies=example_validator.outputs["anomalies"],
        max_quarantined_share=settings.max_quarantined_share,
        min_headlines=settings.min_headlines,
        alarm_limits=settings.alarm_limits,
        as_known_on=settings.drop_rules.as_known_on,
    )
    # Everything that touches text is one graph, used in training and in serving.
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="modules.preprocessing.preprocessing_fn",
        splits_config=tfx.proto.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        custom_config={"text": settings.text_rules, "code": hash_code()},
    )
    transform.add_upstream_node(gate)
    return DataNodes(example_gen, statistics_gen, schema_gen, example_validator, gate, transform)


def assemble(name: str, nodes: Sequence[BaseNode], settings: Settings, overrides: Mapping[str, Any]) -> Pipeline:
    """Makes a pipeline of nodes that are listed after what they take from.

    Args:
      name: of the pipeline, which is its DAG's id.
      nodes: all of them.
      settings: where artifacts and lineage go, and with what nodes run.
      overrides: arguments of `Pipeline` that win.
    """
    for node in nodes:
        hold_to_rows(node)
    return Pipeline(
        **{
            "pipeline_name": name,
            "pipeline_root": str(settings.pipeline_root),
            "components": list(nodes),
            "enable_cache": settings.enable_cache,
            # Not even asked for when given: a local run needs no password of the service's.
            "metadata_connection_config": overrides.get("metadata_connection_config") or connection_config(settings),
            "beam_pipeline_args": list_arguments(settings),
            **overrides,
        }
    )
