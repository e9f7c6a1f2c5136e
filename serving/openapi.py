"""The OpenAPI document, with the limits of this server."""

import json
from pathlib import Path

from serving.settings import Settings

_FILE = Path(__file__).with_name("openapi.json")


def write_openapi(settings: Settings) -> bytes:
    """The document; what depends on a setting is as this server has it."""
    document = json.loads(_FILE.read_bytes())
    document["components"]["schemas"]["Headline"]["maxLength"] = settings.max_title_characters
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
