"""The headlines of drops, read as the service reads them: a night's newest version, whose bad rows stop nothing."""

from pathlib import Path

from headlines.drops.drops_folder import DropsFolder
from headlines.drops.quarantine import Headline, sift
from headlines.drops.rows import read_file
from retraining.settings import Settings


def read_headlines(drops_dir: Path, settings: Settings) -> list[Headline]:
    """Every row that has a title and a label, as delivered: the oldest night first, duplicates and all.

    Raises:
      DropError: the folder or the drop of a night cannot be read.
    """
    rules, drops = settings.drop_rules, DropsFolder(drops_dir)
    headlines: list[Headline] = []
    for night in drops.nights:
        # Nobody delivers while something is measured.
        version = drops.find_version(night, rules.require_success_marker, known_by=rules.known_by)
        rows = [row for file in version.files for row in read_file(file).rows]
        headlines += sift([(night, version.number, rows)], rules).readable
    return headlines
