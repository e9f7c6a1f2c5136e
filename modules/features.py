"""Names of the features, raw and transformed, of signatures, and of the labels in their class order.

Standard library only: pipelines, components and the command line import these names.
"""

TITLE = "title"
LABEL = "sentiment"
NIGHT = "night"
WEIGHT = "weight"

# Derived from the title by Transform.
TOKENS = "tokens"
TOKEN_COUNT = "token_count"
WORDS = "words"
NGRAMS = "ngrams"
TITLE_BUCKET = "title_bucket"

# The model's name, in the addresses of the model servers and in their config file.
MODEL_NAME = "headlines"

# The signatures of an exported model, and the output that three of them share.
DEFAULT_SIGNATURE = "serving_default"
TEXT_SIGNATURE = "predict_text"
SCORING_SIGNATURE = "score_examples"
TRANSFORM_SIGNATURE = "transform_features"
PROBABILITIES = "probabilities"

# The class order of every probability vector; an example's label id is an index into it.
LABELS = ("negative", "neutral", "positive")

# The transform graph maps a missing or unknown label to this id.
UNKNOWN_LABEL_ID = -1

# `TITLE_BUCKET` lies in [0, TITLE_BUCKETS): a percentile of the titles by stable hash.
TITLE_BUCKETS = 100

# Beside an exported model: some training titles with the probabilities that the model gave them before its export.
REFERENCE_FILE = "reference_answers.json"


def transformed_name(key: str) -> str:
    """The name that the feature `key` bears after Transform."""
    return key + "_xf"
