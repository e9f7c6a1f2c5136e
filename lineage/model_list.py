"""The list of models, by state and by text."""

from collections import Counter

from headlines import names
from lineage import reading
from lineage.champions import versions_of_models
from lineage.model_states import find_blessings, find_states
from lineage.models import find_ids, summarise
from lineage.reader import Source, open_lineage
from lineage.records import ListedModel, ModelList
from lineage.runs import read_floats


def list_models(
    source: Source, state: str | None = None, search: str = "", limit: int | None = 50, offset: int = 0
) -> ModelList:
    """Models of the pipeline with their verdicts, newest first.

    Args:
      source: of lineage.
      state: only those in it; None for all.
      search: only those with this text in night, version, id, state or reason, whatever its case.
      limit: how many; None for all.
      offset: how many of the newest are passed over.
    """
    with open_lineage(source) as reader:
        ids = find_ids(reader)
        nights = reading.read_properties(reader, ids, [reader.names.night])
        versions = versions_of_models(reader, ids)
        states = find_states(reader, ids)
        blessings = find_blessings(reader, ids)
        told = reading.read_properties(reader, list(blessings.values()), [names.BLESSED, names.REASON])
        verdicts = {model: told.get(blessing, {}) for model, blessing in blessings.items()}
        sought = search.casefold().strip()

        def has_text(model: int) -> bool:
            texts = (
                nights.get(model, {}).get(reader.names.night, ""),
                f"#{model}",
                states[model],
                verdicts.get(model, {}).get(names.REASON, ""),
                *map(str, versions.get(model, ())),
            )
            return any(sought in text.casefold() for text in texts)

        found = [model for model in ids if (not state or states[model] == state) and (not sought or has_text(model))]
        shown = found[offset:] if limit is None else found[offset : offset + limit]
        summaries = summarise(reader, shown)
        scores = reading.read_artifacts(reader, [blessings[model] for model in shown if model in blessings])
        return ModelList(
            tuple(
                ListedModel(
                    summaries[model],
                    states[model],
                    verdicts[model][names.BLESSED] == "1" if names.BLESSED in verdicts.get(model, {}) else None,
                    verdicts.get(model, {}).get(names.REASON, ""),
                    read_floats(scores[blessings[model]].properties, names.METRIC_PREFIX) if model in blessings else {},
                )
                for model in shown
                if model in summaries
            ),
            len(found),
            dict(Counter(states.values()).most_common()),
        )
