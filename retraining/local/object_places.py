"""Whether the places on object storage can be used: asked before the service starts, and by `retraining doctor`."""

import secrets
from pathlib import Path

from headlines.objects.addresses import is_object
from headlines.objects.paths import ObjectPath
from retraining.local.preparation import PreparationError
from retraining.settings import Settings

_READ = ("drops_dir",)
_WRITTEN = ("pipeline_root", "serving_dir", "scores_dir")
_PROBE = ".headlines-probe-"


def find_places(settings: Settings) -> list[str]:
    """The settings that are places on object storage."""
    return [name for name in (*_READ, *_WRITTEN) if is_object(getattr(settings, name))]


def find_problems(settings: Settings) -> list[str]:
    """One sentence for each place on object storage that cannot be used as it must be, with what to do."""
    problems = []
    for name in find_places(settings):
        place = getattr(settings, name)
        try:
            place.exists()
            if name in _WRITTEN:
                probe = place / f"{_PROBE}{secrets.token_hex(4)}"
                problems += _try_condition(name, probe)
        except OSError as error:
            problems.append(settings.explain(error) or f"{name.upper()}={place}: {error}")
    return problems


def _try_condition(name: str, probe: Path) -> list[str]:
    """Makes an object twice that must be new; pushes and deliveries rest upon that the second is refused."""
    assert isinstance(probe, ObjectPath)
    probe.touch()
    try:
        probe.touch(exist_ok=False)
    except FileExistsError:
        return []
    finally:
        probe.unlink()
    return [
        f"{name.upper()}={probe.parent}: the store replaces an object that must be new (it passes over If-None-Match); "
        "use one that keeps conditions"
    ]


def check(settings: Settings) -> None:
    """Refuses to start what could not read or write where the settings say.

    Raises:
      PreparationError: a place cannot be used; one line for each.
    """
    if problems := find_problems(settings):
        raise PreparationError("\n".join(problems))
