"""What lineage answers, as one value: so that an upgrade or a move of the databases is seen to change nothing."""

from typing import Any

import lineage
from headlines.names import NIGHTLY_DAG
from retraining.settings import Settings

Answers = dict[str, Any]


def ask(settings: Settings) -> Answers:
    """The answers that nothing but a night, a rollback or a person may change; none before the first run.

    Of nights those that came to a verdict: what was at work when the service was stopped ends some other way.

    Raises:
      LineageError: lineage cannot be read.
    """
    with lineage.open_lineage(settings) as reader:
        if not any(held.name == NIGHTLY_DAG for held in lineage.pipelines(reader)):
            return {}
        answers = {
            "serving": lineage.serving_now(reader),
            "pushed versions": lineage.pushed_versions(reader),
            "rollbacks": lineage.rollbacks(reader),
            "drops": lineage.drops(reader),
            "notes": lineage.notes(reader),
            "models": lineage.models(reader, limit=None),
            "nights": [night for night in lineage.nights(reader) if night.state in lineage.VERDICTS],
        }
        return {question: lineage.to_json(answer) for question, answer in answers.items()}


def find_changes(before: Answers, after: Answers) -> list[str]:
    """The questions that are answered otherwise."""
    return [question for question in before if before[question] != after.get(question)]
