"""Why a night that was run would not be the same today: drops of its window or its champion have changed since."""

import lineage
from headlines.drops.drops_folder import DropError, DropsFolder, parse_night
from headlines.drops.window import find_versions
from retraining.settings import Settings


def find_changes(settings: Settings, night: str) -> list[str]:
    """What the newest finished run of a night was run on that is something else now, one line each.

    Code and settings are not looked at: a change of theirs is for the nights to come.

    Returns:
      Nothing when all is the same, and when the night has no finished run.

    Raises:
      LineageError: the database cannot be read.
    """
    before = lineage.find_finished(settings, night)
    if before is None:
        return []
    try:
        versions, _ = find_versions(DropsFolder(settings.drops_dir), parse_night(night), settings.drop_rules)
    except DropError as error:
        return [str(error)]
    drops = {version.night.isoformat(): version.number for version in versions}
    changes = [
        f"the drop of night {other} was {_name(before.drops.get(other))} then and is {_name(drops.get(other))} now"
        for other in sorted(before.drops.keys() | drops.keys())
        if before.drops.get(other) != drops.get(other)
    ]
    reign = lineage.champion_as_of(settings, night)
    champion = str(reign.version) if reign else ""
    if champion != before.champion_version:
        changes.append(
            f"the champion as of the night was {before.champion_version or 'none'} then and is {champion or 'none'} now"
        )
    return changes


def _name(version: int | None) -> str:
    return "missing" if version is None else f"version {version}"
