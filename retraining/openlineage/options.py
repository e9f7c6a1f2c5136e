"""How Airflow's OpenLineage provider is set up by the settings; nothing of it, nor of its client, is needed here."""

import json
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from retraining.settings import Settings

_ENDPOINT = "api/v1/lineage"
_SILENCE_FILE = "openlineage.silent"
# Of one attempt to reach the endpoint, and of all that an event costs: lineage is asked, the event is sent.
_TIMEOUT_SECONDS = 3
_EVENT_SECONDS = 10


def airflow_options(settings: Settings) -> dict[str, object]:
    """Airflow's options of the section `openlineage`.

    Without OPENLINEAGE_URL the provider's plugin has no listener, and what it would import is not
    (airflow/providers/openlineage/plugins/openlineage.py).
    """
    if settings.openlineage_url is None:
        return {"disabled": True}
    return {
        "disabled": False,
        "namespace": settings.openlineage_namespace,
        "transport": json.dumps(make_transport(settings)),
        "extractors": "retraining.openlineage.extractor.NodeExtractor",
        "execution_timeout": _EVENT_SECONDS,
    }


def make_transport(settings: Settings) -> dict[str, Any]:
    """How `OpenLineageClient` reaches OPENLINEAGE_URL.

    Raises:
      SettingsError: it is not set.
    """
    parts = urlsplit(settings.secret("openlineage_url"))
    transport: dict[str, Any] = {
        "type": "retraining.openlineage.transport.SinkTransport",
        "url": urlunsplit((parts.scheme, parts.netloc, "", "", "")),
        "endpoint": _find_endpoint(parts.path.strip("/")),
        "timeout": _TIMEOUT_SECONDS,
        # The client's own five retries take nine seconds where nobody listens, and more where nobody answers, before
        # and after each task.
        "retry": {"total": 0, "status_forcelist": []},
        "timezone": settings.timezone,
        "silence": str(settings.state_dir / _SILENCE_FILE),
    }
    if settings.openlineage_api_key:
        transport["auth"] = {"type": "api_key", "apiKey": settings.secret("openlineage_api_key")}
    return transport


def _find_endpoint(path: str) -> str:
    """The path that events are posted to: OpenLineage's below that of the address, or one that names another itself."""
    # The client would drop the last part of an address with a path, as DataHub's; OpenMetadata's ends otherwise.
    return path if path.endswith("/lineage") else f"{path}/{_ENDPOINT}".lstrip("/")
