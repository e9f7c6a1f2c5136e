"""Why a night that was run would not be the same today: drops of its window or its champion have changed since."""

import lineage
from headlines.drops.drops_folder import DropError, DropsFolder, parse_night
from headlines.drops.sources import find_versions, hash_versions
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
    rules = settings.drop_rules
    try:
        versions, _ = find_versions(DropsFolder(settings.drops_dir), parse_night(night), rules)
        contents = hash_versions(versions)
    except DropError as error:
        return [str(error)]
    precedents = lineage.find_precedents(
        settings, str(settings.drops_dir), [version.night.isoformat() for version in versions], rules.known_by
    )
    now = {
        version.night.isoformat(): _name(
            version.number,
            is_left_out=version.night.isoformat() != night and precedents.find_refusal(version, sha256) is not None,
        )
        for version, sha256 in contents
    }
    then = {other: _name(number) for other, number in before.drops.items()}
    then |= {one.night: _name(one.version, is_left_out=True) for one in before.left_out}
    changes = [
        f"the drop of night {other} was {then.get(other, 'missing')} then and is {now.get(other, 'missing')} now"
        for other in sorted(then.keys() | now.keys())
        if then.get(other) != now.get(other)
    ]
    reign = lineage.champion_as_of(settings, night)
    champion = str(reign.version) if reign else ""
    if champion != before.champion_version:
        changes.append(
            f"the champion as of the night was {before.champion_version or 'none'} then and is {champion or 'none'} now"
        )
    return changes


def _name(version: int, is_left_out: bool = False) -> str:
    return f"version {version}{', which was refused and is left out,' if is_left_out else ''}"
