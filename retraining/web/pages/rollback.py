"""The form of a rollback."""

import lineage
from headlines.names import SAVED_MODEL_FILE
from lineage import Reader, UnknownError
from retraining.settings import Settings
from retraining.web.page import Page


def rollback_choices(reader: Reader, settings: Settings, to: int | None) -> Page:
    """What serves, and the pushed versions that one can go back to, as the command would choose.

    Args:
      reader: of lineage.
      settings: where the pushed models are.
      to: preselected if it is one of them; None for the version before.
    """
    serving = lineage.serving_version(reader)
    if serving is None:
        raise UnknownError("nothing has been pushed yet, so there is nothing to roll back")
    folder = settings.serving_dir
    pushed = lineage.pushed_versions(reader)
    versions = [
        version
        for version in pushed
        if version != serving.version and (folder / str(version) / SAVED_MODEL_FILE).is_file()
    ]
    before = next((version for version in versions if version < serving.version and not pushed[version]), None)
    chosen = to or before
    problem = None if chosen is None or chosen in versions else f"there is no pushed model {chosen} to go back to"
    return {"serving": serving, "versions": versions, "to": None if problem else chosen, "problem": problem}
