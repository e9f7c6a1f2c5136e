"""The drops that benchmarks take headlines from, read as the service reads them: bad rows stop nothing."""

from pathlib import Path

from headlines.drops.drops_folder import DropsFolder
from headlines.drops.quarantine import Headline, sift
from headlines.drops.rows import read_files
from headlines.drops.samples import write_samples
from retraining.settings import Settings


def find_drops(settings: Settings, scratch: Path) -> Path:
    """The folder of drops of the settings if it has any, else `scratch`, to which samples are written."""
    if settings.drops_dir.is_dir() and DropsFolder(settings.drops_dir).nights:
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
    rules = settings.drop_rules
    headlines: list[Headline] = []
    for night in DropsFolder(drops_dir).nights:
        # Nobody delivers while something is measured.
        version = DropsFolder(drops_dir).find_version(night, rules.require_success_marker, known_by=rules.known_by)
        rows = [row for file in read_files(version.files, rules.unbalanced_quotes) for row in file.rows]
        codes = {(night, version.number): version.label_codes or rules.label_codes}
        headlines += sift([(night, version.number, rows)], rules, codes).readable
    return headlines
