"""What made a model besides its data: the code and the settings, as short hashes that lineage records."""

import hashlib
import json
from dataclasses import asdict

from retraining.settings import CHECKOUT, Settings

_CODE = ("modules", "headlines", "tfx_components")
# Where the service runs and how it is reached changes no model.
_MODEL_SETTINGS = ("max_quarantined_share", "min_headlines", "seed")


def hash_code() -> str:
    """The first 16 hex digits of the SHA-256 of every file that decides what a model is.

    Dotted paths keep TFX from seeing a change of user code (tensorflow/tfx#2247); this hash, an execution property,
    shows it.
    """
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((CHECKOUT / folder).rglob("*")):
            if path.suffix in (".py", ".pbtxt"):
                digest.update(path.relative_to(CHECKOUT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def hash_settings(settings: Settings) -> str:
    """The first 16 hex digits of the SHA-256 of the settings that decide what a model is."""
    chosen = (
        asdict(settings.drop_rules)
        | asdict(settings.alarm_limits)
        | asdict(settings.bar_limits)
        | settings.model_dump(include=set(_MODEL_SETTINGS))
        | {"hyperparameters": settings.given_hyperparameters}
    )
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]
