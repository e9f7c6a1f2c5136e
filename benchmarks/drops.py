"""The drops that benchmarks take headlines from, read as the service reads them: bad rows stop nothing."""

from pathlib import Path

from headlines.drops.drops_folder import find_version, list_nights
from headlines.drops.quarantine import Headline, sift
from headlines.drops.rows import read_file
from headlines.drops.rules import Rules
from headlines.drops.samples import write_samples
from retraining.settings import Settings


def find_drops(settings: Settings, scratch: Path) -> Path:
    """The folder of drops of the settings if it has any, else `scratch`, to which samples are written."""
    if settings.drops_dir.is_dir() and list_nights(settings.drops_dir):
        return settings.drops_dir
    write_samples(scratch)
    return scratch


def read_headlines(drops_dir: Path, settings: Settings) -> list[Headline]:
    """Every row of each night's newest version that has a title and a label, as delivered, duplicates and all.

    Returns:
      The rows, those of the oldest night first.

    Raises:
      DropError: the folder or the drop of a night cannot be read.
    """
    rules = Rules(**settings.drop_rules)
    headlines: list[Headline] = []
    for night in list_nights(drops_dir):
        # Nobody delivers while something is measured.
        version = find_version(drops_dir, night, rules.require_success_marker, known_by=rules.known_by)
        rows = [row for file in version.files for row in read_file(file).rows]
        headlines += sift([(night, version.number, rows)], rules).readable
    return headlines
