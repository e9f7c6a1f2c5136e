"""What `retraining doctor` finds of places on object storage."""

from retraining.cli.finding import Finding
from retraining.local.object_places import find_places, find_problems
from retraining.settings import Settings


def examine_objects(settings: Settings) -> Finding:
    """Whether each place on object storage can be used as it must be."""
    if problems := find_problems(settings):
        return Finding("object storage", "fail", "; ".join(problems))
    places = (f"{name.upper()}={getattr(settings, name)}" for name in find_places(settings))
    return Finding("object storage", "ok", ", ".join(places))
