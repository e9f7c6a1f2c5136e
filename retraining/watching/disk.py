"""Room on the disk: that there is little left is told before a night fails of it."""

import shutil
from pathlib import Path

from retraining.notices.telling import tell, tell_end
from retraining.settings import Settings

MIN_FREE_BYTES = 2 * 2**30
"""With less free the service is not started, and people are told."""

_ROOM_BYTES = MIN_FREE_BYTES + 2**30
"""It is over only with so much free: at the limit itself it would come and go."""


def find_place(settings: Settings) -> Path:
    """The state folder, or what there is of the way to it."""
    place = settings.state_dir
    while not place.exists():
        place = place.parent
    return place


def look(settings: Settings) -> None:
    """Looks once, and tells what is new: the disk is nearly full, or has room again."""
    for place in {settings.state_dir, settings.serving_dir, settings.pipeline_root}:
        if not place.exists():
            continue
        free = shutil.disk_usage(place).free
        text = f"{free / 2**30:.1f} GB free at {place}"
        if free < MIN_FREE_BYTES:
            advice = "free some: a night that finds no space fails"
            tell(settings, "disk low", f"{text}; {advice}", fact=str(place), place=str(place))
        elif free >= _ROOM_BYTES:
            tell_end(settings, "disk low", text, fact=str(place), place=str(place))
