"""Makes the project's own sample drops: nights of invented Portuguese headlines that behave like a news feed.

The words are in samples.toml; nothing here is copied from a newspaper, and no row is about a real person.
"""

import csv
import io
import re
import shutil
import tomllib
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from headlines.names import HEADLINES_FILE, SUCCESS_MARKER
from modules.text import TextSettings, normalise

HEADLINES = range(338, 352)
"""How many good headlines a night has."""
NIGHTS_OF_DRIFT = 12
"""Over how many nights topics, words and labels move from their first to their last mix."""

# As meant, from the first night to the last; careless labels turn these into 36 % and 14 % negative, 6 % positive.
_NEGATIVE_SHARE = (0.36, 0.09)
_POSITIVE_SHARE = 0.05
# Of headlines whose text does not tell their label, and of labels that a careless person got wrong.
_AMBIGUOUS_SHARE = 0.25
_MISLABELLED_SHARE = 0.07
_SLOT = re.compile(r"\{(\w+)\}")

Row = tuple[str, ...]


def write_samples(
    drops_dir: Path, nights: int = 12, first_night: date = date(2022, 2, 1), seed: int = 20220201
) -> list[Path]:
    """Writes sample drops, `<drops_dir>/<night>/headlines.csv`; each appears whole or not at all.

    A night that has a folder is left as it is. The same seed gives the same bytes, and more nights do not change the
    earlier ones.

    Args:
      drops_dir: made when it is not there.
      nights: how many, one after the other.
      first_night: the date of the first.
      seed: another one gives other headlines.

    Returns:
      The files, one per night.
    """
    drops_dir.mkdir(parents=True, exist_ok=True)
    files = []
    for index, rows in zip(range(nights), _make_nights(seed), strict=False):
        folder = drops_dir / (first_night + timedelta(days=index)).isoformat()
        files.append(folder / HEADLINES_FILE)
        if folder.exists():
            continue
        incomplete = drops_dir / f".{folder.name}.tmp"
        shutil.rmtree(incomplete, ignore_errors=True)
        incomplete.mkdir()
        (incomplete / HEADLINES_FILE).write_bytes(_to_csv(rows))
        # It saves the wait for the files to settle.
        (incomplete / SUCCESS_MARKER).touch()
        incomplete.rename(folder)
    return files


def _make_nights(seed: int) -> Iterator[list[Row]]:
    """Rows of night after night, the bad ones among them."""
    random = Random(seed)
    language: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    titles: set[str] = set()
    night = 0
    while True:
        progress = min(night / (NIGHTS_OF_DRIFT - 1), 1.0)
        rows: list[Row] = []
        size = random.choice(HEADLINES)
        while len(rows) < size:
            title, label = _make_headline(random, language, progress)
            key = normalise(title, TextSettings())
            if key not in titles:
                titles.add(key)
                rows.append((title, label))
        rows += _make_duplicates(random, rows) + _make_bad_rows(random, rows)
        random.shuffle(rows)
        yield rows
        night += 1


def _make_headline(random: Random, language: dict[str, Any], progress: float) -> tuple[str, str]:
    """A title, and its label as delivered.

    Args:
      random: where chance comes from.
      language: samples.toml.
      progress: 0 on the first night, 1 when drift has ended.
    """
    topics = list(language["topics"].values())
    [topic] = random.choices(topics, [_between(topic["share"], progress) for topic in topics])
    negative = _between(_NEGATIVE_SHARE, progress)
    labels = ["negative", "positive", "neutral"]
    [label] = random.choices(labels, [negative, _POSITIVE_SHARE, 1 - negative - _POSITIVE_SHARE])
    templates = topic["labels"]["any" if random.random() < _AMBIGUOUS_SHARE else label]
    slots = language["slots"] | topic["slots"]

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name in language["numbers"]:
            return str(random.randint(*language["numbers"][name]))
        return _SLOT.sub(fill, _choose_drifting(random, slots[name], progress))

    title = _SLOT.sub(fill, _choose_drifting(random, templates, progress))
    title = random.choice(language["openings"]) + title[0].upper() + title[1:]
    if random.random() < _MISLABELLED_SHARE:
        # People err mostly about whether a headline says anything good or bad at all.
        label = random.choice(["negative"] * 4 + ["positive"]) if label == "neutral" else "neutral"
    return title, label


def _make_duplicates(random: Random, rows: list[Row]) -> list[Row]:
    """Some rows once more, and on some nights one with another label."""
    copies = random.sample(rows, random.randint(1, 3))
    if random.random() < 0.4:
        title, label = random.choice(rows)
        copies.append((title, "negative" if label == "neutral" else "neutral"))
    return copies


def _make_bad_rows(random: Random, rows: list[Row]) -> list[Row]:
    """What goes wrong in deliveries: no title, an unknown label, one cell too many, a whole text, other encodings."""
    title, label = random.choice([row for row in rows if not row[0].isascii()])
    kinds: list[Row] = [
        ("", label),
        (title, "neutra"),
        (title, "geral", label),
        (" ".join(title for title, *_ in random.sample(rows, 12)), label),
        (title.encode("latin-1").decode("utf-8", "surrogateescape"), label),
        (title.encode().decode("latin-1"), label),
    ]
    return random.sample(kinds, random.randint(1, 3))


def _to_csv(rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("title", "sentiment"), *rows])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _choose_drifting(random: Random, choices: list[str], progress: float) -> str:
    """One of the choices: rather an early one on early nights, rather a late one on late nights."""
    while True:
        position = random.gauss(progress, 0.5)
        if 0 <= position < 1:
            return choices[int(position * len(choices))]


def _between(ends: tuple[float, float], progress: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * progress
