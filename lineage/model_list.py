"""The list of models, by state and by text."""

from collections import Counter

from headlines import names
from headlines.display import fold
from lineage import reading
from lineage.champions import serving_version
from lineage.model_states import find_blessings, find_pushes, find_reasons, find_states
from lineage.models import find_ids, summarise
from lineage.reader import Reader, Source, open_lineage
from lineage.records import ListedModel, ModelList, ModelState, ModelSummary
from lineage.runs import read_floats


def list_models(
    source: Source, state: str | None = None, search: str = "", limit: int | None = 50, offset: int = 0
) -> ModelList:
    """Models of the pipeline with their verdicts, newest first.

    Args:
      source: of lineage.
      state: only those in it; None for all.
      search: only those with this text in night, version, id, state or reason, whatever its case and accents.
      limit: how many; None for all.
      offset: how many of the newest are passed over.
    """
    with open_lineage(source) as reader:
        ids = find_ids(reader)
        pushes = find_pushes(reader, ids)
        states = find_states(reader, ids, pushes, serving_version(reader))
        found = [model for model in ids if not state or states[model] == state]
        if sought := fold(search).strip():
            texts = _find_texts(reader, found)
            versions = {model: " ".join(map(str, pushes.get(model) or ())) for model in found}
            found = [
                model for model in found if sought in fold(f"{texts[model]} {versions[model]} #{model} {states[model]}")
            ]
        shown = found[offset:] if limit is None else found[offset : offset + limit]
        summaries = summarise(reader, shown)
        blessings = find_blessings(reader, shown)
        verdicts = reading.read_artifacts(reader, list(blessings.values()))
        properties = {model: verdicts[blessing].properties for model, blessing in blessings.items()}
        reasons = find_reasons(reader, shown)
        return ModelList(
            tuple(
                _list(summaries[model], states[model], properties.get(model, {}), reasons.get(model, ""))
                for model in shown
                if model in summaries
            ),
            len(found),
            dict(Counter(states.values()).most_common()),
        )


def _find_texts(reader: Reader, models: list[int]) -> dict[int, str]:
    """Of models their night and the reason of what became of them."""
    nights = reading.read_properties(reader, models, [reader.names.night])
    reasons = find_reasons(reader, models)
    return {model: " ".join([*nights.get(model, {}).values(), reasons.get(model, "")]) for model in models}


def _list(model: ModelSummary, state: ModelState, verdict: dict[str, str], reason: str) -> ListedModel:
    return ListedModel(
        model,
        state,
        verdict[names.BLESSED] == "1" if names.BLESSED in verdict else None,
        reason,
        read_floats(verdict, names.METRIC_PREFIX),
    )
