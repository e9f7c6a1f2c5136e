"""Accepting a drop that DropGate refused, where lineage is: MLMD remembers who did it, when and why.

From then on DropGate passes that version, and later windows take it in.
"""

from headlines.drops.drops_folder import DropsFolder, parse_night
from headlines.drops.rulings import MOST_CHARACTERS, Ruled, Ruling, find_counting, find_ruling
from headlines.drops.sources import hash_versions
from headlines.errors import HeadlinesError
from headlines.names import NIGHTLY_DAG
from headlines.notes import NoteError, check_name, check_text
from retraining.recording.advisory_locks import TYPES_LOCK, lock
from retraining.recording.store import connection_config, open_store
from retraining.settings import Settings
from tfx_components.rulings import now, put_ruling, read_rulings


class AcceptanceError(HeadlinesError):
    """The drop is not accepted; the message says why and what to do."""


def accept_drop(
    settings: Settings, night: str, reason: str, by: str, pipeline: str = NIGHTLY_DAG, seen: int | None = None
) -> Ruling:
    """Accepts the newest version of a night's drop as it lies in its folder.

    Args:
      settings: where drops and MLMD are.
      night: `YYYY-MM-DD`.
      reason: why; never empty.
      by: the person.
      pipeline: in which it is recorded.
      seen: the version that the person was shown; None where none was.

    Returns:
      What is on record from now on.

    Raises:
      AcceptanceError: the reason or the name cannot be kept, or the drop was not refused, or was accepted before, or
        is not the one that was seen.
      DropError: the night is no date, or has no complete drop, or one that cannot be read.
      StoreError: MLMD does not answer.
    """
    reason, by = _check(reason, by)
    rules = settings.drop_rules
    version = DropsFolder(settings.drops_dir).find_version(
        parse_night(night), rules.require_success_marker, rules.drop_settle_seconds
    )
    if seen not in (None, version.number):
        raise AcceptanceError(
            f"version {version.number} of the drop of night {night} is there now, and you were shown version {seen}; "
            "look at it before you accept it"
        )
    [(_, sha256)] = hash_versions([version])
    config = connection_config(settings)
    store = open_store(config)
    # So that of two at once one accepts and the other is told so.
    with lock(config, TYPES_LOCK):
        key = (version.night.isoformat(), version.number, sha256)
        counting = find_counting(read_rulings(store))
        before = find_ruling(counting, key)
        named = f"version {version.number} of the drop of night {night}"
        if before is None or before.ruled is Ruled.PASSED:
            refused = [one.version for one in counting if one.night == night and one.ruled is Ruled.REFUSED]
            if before:
                hint = f"{before.by} passed it on {before.at:%Y-%m-%d}"
            elif version.number in refused:
                hint = "it was refused with other files: put those back, or deliver these as a correction"
            elif refused:
                hint = f"version {', '.join(map(str, refused))} was"
            else:
                hint = f"run it first: `retraining run --night {night}`"
            raise AcceptanceError(f"{named} was not refused, so there is nothing to accept; {hint}")
        if before.ruled is Ruled.ACCEPTED:
            raise AcceptanceError(f"{named} was accepted before, by {before.by} on {before.at:%Y-%m-%d}: {before.why}")
        ruling = Ruling(0, *key, Ruled.ACCEPTED, reason, by, now())
        put_ruling(store, ruling, pipeline)
    return ruling


def _check(reason: str, by: str) -> tuple[str, str]:
    if not reason.strip():
        raise AcceptanceError("to accept a drop takes a reason, for those who will ask why it was trained on")
    # As it is kept: a browser sends two characters for each line end, and counts one.
    line = " ".join(reason.split())
    if len(line) > MOST_CHARACTERS:
        raise AcceptanceError(
            f"the reason has {len(line)} characters and may have {MOST_CHARACTERS}; shorten it, and write the rest "
            "into a note"
        )
    try:
        return check_text(line), check_name(by)
    except NoteError as error:
        raise AcceptanceError(str(error)) from None
