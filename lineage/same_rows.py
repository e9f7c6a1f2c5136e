"""Two models on the same evaluation rows: by what was kept of each row, or by a verdict of one against the other."""

from typing import TYPE_CHECKING

from headlines.bar.checks import MCNEMAR, SUFFIXES
from headlines.objects.addresses import to_path
from lineage.models import name_model
from lineage.records import ArtifactRecord, ModelDetail, Paired, PairedMetric

if TYPE_CHECKING:
    from headlines.bar.tally import Answers, Integers

_CHANGE = SUFFIXES["champion"]
_ROWS = "example_count"
# Fewer rows have no interval.
_LEAST_ROWS = 2


def count_rows(model: ModelDetail) -> int | None:
    """How many evaluation rows a model's metrics are of; None where it is not on record."""
    return int(model.metrics[_ROWS]) if _ROWS in model.metrics else None


def pair_models(a: ModelDetail, b: ModelDetail, evaluator: str) -> Paired:
    """Compares two models on rows that both answered; what cannot be is said.

    Where one was champion when the other was judged, all rows of that verdict are answered by both.

    Args:
      a, b: the models.
      evaluator: the node that judges.
    """
    if a.model.id == b.model.id:
        return Paired(problem="it is one model")
    # Not at the top: only who compares needs numpy and statistics.
    from headlines.bar import answered

    kept_by = [
        answered.read(to_path(evaluation.uri)) if (evaluation := _find_evaluation(model, evaluator)) else None
        for model in (a, b)
    ]
    names = [name_model(model.model) for model in (a, b)]
    for place, (judged, champion) in enumerate(((a, b), (b, a))):
        if not _was_judged_against(judged, champion):
            continue
        which = f"all evaluation rows of {names[place]}, which was judged against {names[1 - place]}"
        kept = kept_by[place]
        if kept and answered.CHAMPION in kept.answers and len(kept.rows) >= _LEAST_ROWS:
            own, others = kept.answers[answered.CANDIDATE], kept.answers[answered.CHAMPION]
            return _pair(kept.actual, *((own, others) if judged is a else (others, own)), which=which)
        return _recall_verdict(judged, which, turned=judged is a)
    silent = [name for name, kept in zip(names, kept_by, strict=True) if kept is None]
    removed = [
        f"what {name} answered to each evaluation row was {evaluation.removal}"
        for name, model, kept in zip(names, (a, b), kept_by, strict=True)
        if kept is None and (evaluation := _find_evaluation(model, evaluator)) and evaluation.removal
    ]
    if removed:
        return Paired(problem="; ".join(removed))
    if kept_by[0] is None or kept_by[1] is None:
        return Paired(
            problem=f"what {' and '.join(silent)} answered to each evaluation row is not on record: judged before that "
            "was kept, not judged, or the files are gone"
        )
    actual, one, other = answered.join(kept_by[0], kept_by[1])
    if len(actual) < _LEAST_ROWS:
        return Paired(
            len(actual), problem=f"{len(actual) or 'none'} of their evaluation rows is one that both answered"
        )
    return _pair(actual, one, other, "the evaluation rows that both answered, by title and label")


def _pair(actual: "Integers", a: "Answers", b: "Answers", which: str) -> Paired:
    from headlines.bar.pairing import compare_errors, pair

    metrics = {name: PairedMetric(*values) for name, values in pair(actual, a, b).items()}
    return Paired(len(actual), which, metrics, compare_errors(actual, a, b))


def _recall_verdict(judged: ModelDetail, which: str, turned: bool) -> Paired:
    """What a verdict says of its candidate and its champion, on the same rows.

    Args:
      judged: the candidate.
      which: rows these are.
      turned: whether the candidate is `a`.
    """
    checks = {check.name: check for check in judged.report.checks}
    metrics = {}
    for name in sorted(judged.metrics.keys() & judged.champion_metrics.keys() - {_ROWS, "majority_accuracy"}):
        check = checks.get(f"{name}{_CHANGE}")
        ends = (check.low, check.high) if check and check.low is not None and check.high is not None else None
        values = judged.champion_metrics[name], judged.metrics[name]
        if turned:
            values = values[::-1]
            ends = (-ends[1], -ends[0]) if ends else None
        metrics[name] = PairedMetric(*values, *(ends or (None, None)))
    test = checks.get(f"{MCNEMAR}{_CHANGE}")
    return Paired(count_rows(judged), which, metrics, test.value if test else None)


def _was_judged_against(judged: ModelDetail, champion: ModelDetail) -> bool:
    return _is_of_run(judged) and judged.report.champion_version in map(str, champion.model.versions)


def _find_evaluation(model: ModelDetail, evaluator: str) -> ArtifactRecord | None:
    return model.artifacts.get((evaluator, "evaluation")) if _is_of_run(model) else None


def _is_of_run(model: ModelDetail) -> bool:
    """Whether its run went on with it, and with no later model."""
    return model.report.model_id == model.model.id
