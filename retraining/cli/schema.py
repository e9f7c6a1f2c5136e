"""Infers a schema from a drop, for a person to compare with modules/schema.pbtxt.

It loads TensorFlow, and only when there is a drop to infer one from.
"""

import dataclasses

from headlines.drops.drops_folder import DropsFolder, parse_night
from headlines.drops.window import read_window
from modules.features import LABEL, NIGHT, TITLE, WEIGHT
from retraining.settings import Settings


def propose(settings: Settings, night: str) -> str:
    """The schema that the good rows of one night's drop suggest, as text.

    Raises:
      DropError: the drop cannot be read.
    """
    rules = dataclasses.replace(settings.drop_rules, window_nights=1)
    window = read_window(DropsFolder(settings.drops_dir), parse_night(night), rules)
    import pandas as pd
    import tensorflow_data_validation as tfdv
    from google.protobuf import text_format

    rows = pd.DataFrame(
        {
            TITLE: [headline.title for headline in window.headlines],
            LABEL: [headline.label for headline in window.headlines],
            NIGHT: [headline.night.isoformat() for headline in window.headlines],
            WEIGHT: [1.0 for _ in window.headlines],
        }
    )
    statistics = tfdv.generate_statistics_from_dataframe(rows, n_jobs=1)
    schema = tfdv.infer_schema(statistics, infer_feature_shape=False)
    header = f"# Inferred from the {len(rows)} usable headlines of night {night}. A proposal: review it before use.\n"
    return f"{header}{text_format.MessageToString(schema)}"
