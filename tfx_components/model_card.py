"""ModelCard: all that is known of a night's model on one page, as Markdown for people and as JSON for programs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from headlines import names
from headlines.bar.checks import Check
from headlines.bar.verdict import show_figure
from modules.features import LABELS
from tfx_components.artifacts import Artifacts, read_properties
from tfx_components.baseline import FreshScore
from tfx_components.predictions import Rows, read_rows

JSON_FILE = "card.json"
# Fewer held-out rows of a class leave its precision and recall to chance.
_FEW_ROWS = 50
_POOR_RECALL = 0.5
_POOR_CALIBRATION = 0.03
_WORST_SLICES_SHOWN = 3
_ALWAYS_WEAK = (
    "It was taught by Portuguese headlines of one source; other languages, longer texts and other outlets are outside "
    "of what was measured.",
    "A label is the opinion of whoever labelled the headline; the feeling of the persons in the news is not meant.",
    "It judges a title by its words and knows nothing of irony, of quoted opinion, or of what happened since its last "
    "night.",
)


class ModelCard(types.Artifact):
    """`card.md` and `card.json`. Custom properties: `night`, `blessed` (1 or 0), `reason`."""

    TYPE_NAME = names.MODEL_CARD


class Executor(base_executor.BaseExecutor):
    """Writes the card."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Gathers and writes.

        Args:
          input_dict: raw `examples`, the `model`, its `evaluation` with `verdict.json`, and `fresh_score`.
          output_dict: `card`.
        """
        examples, model, evaluation, score = (
            artifact_utils.get_single_instance(input_dict[key])
            for key in ("examples", "model", "evaluation", "fresh_score")
        )
        verdict = json.loads(Path(evaluation.uri, names.VERDICT_FILE).read_text(encoding="utf-8"))
        rows = {split: read_rows(examples, split) for split in ("train", "eval")}
        card = describe(read_properties(examples), read_properties(model), read_properties(score), rows, verdict)
        artifact = artifact_utils.get_single_instance(output_dict["card"])
        folder = Path(artifact.uri)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(card, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / JSON_FILE).write_text(text + "\n", encoding="utf-8")
        (folder / names.CARD_FILE).write_text(render(card), encoding="utf-8")
        artifact.set_string_custom_property(names.NIGHT, card["night"])
        artifact.set_string_custom_property(names.REASON, verdict["reason"])
        artifact.set_int_custom_property(names.BLESSED, int(verdict["blessed"]))


class ModelCardSpec(ComponentSpec):
    """What the component takes and makes."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {}
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "fresh_score": ChannelParameter(type=FreshScore),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {"card": ChannelParameter(type=ModelCard)}


class ModelCardWriter(base_component.BaseComponent):
    """Writes the model card of a run."""

    SPEC_CLASS = ModelCardSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        evaluation: types.BaseChannel,
        fresh_score: types.BaseChannel,
    ) -> None:
        """Places the component in a pipeline.

        Args:
          examples: raw Examples with the splits `train` and `eval`.
          model: the candidate, with its origin as the Trainer recorded it.
          evaluation: the Evaluator's.
          fresh_score: Baseline's.
        """
        super().__init__(
            ModelCardSpec(
                examples=examples,
                model=model,
                evaluation=evaluation,
                fresh_score=fresh_score,
                card=types.Channel(type=ModelCard),
            )
        )


def describe(
    examples: dict[str, Any],
    model: dict[str, Any],
    fresh_score: dict[str, Any],
    rows: dict[str, Rows],
    verdict: dict[str, Any],
) -> dict[str, Any]:
    """The card as plain data.

    Args:
      examples: custom properties of the Examples.
      model: those of the Model: `night`, `code`, `data`, `settings`, `library:<name>`.
      fresh_score: those of the FreshScore.
      rows: of the splits `train` and `eval`.
      verdict: as `verdict.json` has it.
    """
    return {
        "night": model["night"],
        "blessed": verdict["blessed"],
        "reason": verdict["reason"],
        "data": {
            "drops": {
                name.removeprefix(names.DROP_PREFIX): json.loads(value)
                for name, value in sorted(examples.items())
                if name.startswith(names.DROP_PREFIX)
            },
            "rows": {split: len(split_rows.titles) for split, split_rows in rows.items()},
            names.ROWS_QUARANTINED: examples[names.ROWS_QUARANTINED],
            "classes": {split: _count_classes(split_rows) for split, split_rows in rows.items()},
        },
        "metrics": {
            who: verdict[f"{prefix}metrics"]
            for who, prefix in (("candidate", ""), ("champion", "champion_"), ("lr", "lr_"), ("majority", "majority_"))
        },
        names.CHAMPION_VERSION: verdict[names.CHAMPION_VERSION],
        "intervals": verdict["intervals"],
        "checks": verdict["checks"],
        "slices": verdict["slices"],
        "fresh": fresh_score,
        "limits": verdict["limits"],
        "origin": {name: model[name] for name in ("code", "data", "settings")},
        "libraries": {
            name.removeprefix(names.LIBRARY_PREFIX): value
            for name, value in model.items()
            if name.startswith(names.LIBRARY_PREFIX)
        },
        "weaknesses": find_weaknesses(verdict),
    }


def find_weaknesses(verdict: dict[str, Any]) -> list[str]:
    """What the figures show the model to be bad at, and what no figure here can show."""
    metrics = verdict["metrics"]
    weaknesses = []
    for row, label in enumerate(LABELS):
        count, recall = sum(metrics["confusion"][row]), metrics[f"recall_{label}"]
        if count < _FEW_ROWS:
            weaknesses.append(f"Only {count} held-out headlines are {label}: what is said of that class is uncertain.")
        if count and recall is not None and recall < _POOR_RECALL:
            mistaken = max(
                (other for other in range(len(LABELS)) if other != row), key=lambda at: metrics["confusion"][row][at]
            )
            weaknesses.append(
                f"It finds {recall:.0%} of the {label} headlines; those it misses it mostly calls {LABELS[mistaken]}."
            )
    if metrics["calibration_error"] is not None and metrics["calibration_error"] > _POOR_CALIBRATION:
        weaknesses.append(
            f"Its probabilities are off by {metrics['calibration_error']:.3f} on average (expected calibration error)."
        )
    slices = {
        name: values
        for name, values in verdict["slices"].items()
        if values["example_count"] >= verdict["limits"]["min_slice_rows"]
        and values["accuracy"] is not None
        and values["accuracy"] < metrics["accuracy"]
    }
    for name in sorted(slices, key=lambda name: slices[name]["accuracy"])[:_WORST_SLICES_SHOWN]:
        weaknesses.append(
            f"On the slice {name} ({slices[name]['example_count']:.0f} rows) its accuracy is "
            f"{slices[name]['accuracy']:.3f}, overall {metrics['accuracy']:.3f}."
        )
    return [*weaknesses, *_ALWAYS_WEAK]


def render(card: dict[str, Any]) -> str:
    """The card in Markdown."""
    data, metrics, intervals = card["data"], card["metrics"], card["intervals"]
    champion = f"champion {card[names.CHAMPION_VERSION] or '(none)'}"
    fresh = [
        (name, value if isinstance(value, str) else show_figure(value)) for name, value in sorted(card["fresh"].items())
    ]
    lines = [
        f"# Model of night {card['night']}",
        "",
        f"Sentiment of Portuguese news headlines: {', '.join(LABELS)}.",
        "",
        f"**{card['reason']}**",
        "",
        "## Data",
        "",
        f"{data['rows']['train']} headlines to train on and {data['rows']['eval']} held out, of "
        f"{len(data['drops'])} nights; {data[names.ROWS_QUARANTINED]} rows in quarantine.",
        "",
        *_table(["split", *LABELS], [[split, *counts.values()] for split, counts in data["classes"].items()]),
        *_table(
            ["night", "version of its drop", "rows in", "rows used"],
            [
                [night, f"v{drop['version']}", drop[names.ROWS_IN], drop[names.ROWS_USED]]
                for night, drop in data["drops"].items()
            ],
        ),
        "## Metrics on the held-out rows",
        "",
        *_table(
            ["metric", "candidate", "95 % interval", champion, "LR", "majority"],
            [
                [
                    name,
                    show_figure(value),
                    _show_interval(intervals.get(name)),
                    *(show_figure(metrics[who].get(name)) for who in ("champion", "lr", "majority")),
                ]
                for name, value in metrics["candidate"].items()
                if name != "confusion"
            ],
        ),
        *_table(
            ["actual, predicted as", *LABELS],
            [[label, *counts] for label, counts in zip(LABELS, metrics["candidate"]["confusion"], strict=True)],
        ),
        "## Checks of the quality bar",
        "",
        *_table(
            ["check", "value", "95 % interval", "must be", "passed"],
            [
                [
                    f"{check.title} (`{check.name}`)",
                    show_figure(check.value),
                    _show_interval((check.low, check.high)),
                    check.rule,
                    ("yes" if check.passed else "**no**") + (f", {check.note}" if check.note else ""),
                ]
                for check in (Check(**recorded) for recorded in card["checks"])
            ],
        ),
        "## Slices",
        "",
        *_table(
            ["slice", "rows", "accuracy", "macro-F1", "log-loss"],
            [
                [name, *(show_figure(values[key]) for key in ("example_count", "accuracy", "macro_f1", "log_loss"))]
                for name, values in card["slices"].items()
            ],
        ),
        "## Production on the night's fresh rows",
        "",
        *_table(["", "value"], fresh),
        "## Limits",
        "",
        *_table(["limit", "value"], [[name, f"`{value}`"] for name, value in card["limits"].items()]),
        "## Made by",
        "",
        *_table(["", ""], [*card["origin"].items(), *card["libraries"].items()]),
        "## Known weaknesses",
        "",
        *(f"- {weakness}" for weakness in card["weaknesses"]),
    ]
    return "\n".join(lines) + "\n"


def _table(header: list[str], rows: list[Any]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [*("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def _show_interval(interval: Any) -> str:
    return "-" if not interval or interval[0] is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _count_classes(rows: Rows) -> dict[str, int]:
    counts = Counter(rows.actual.tolist())
    return {label: counts[index] for index, label in enumerate(LABELS)}
