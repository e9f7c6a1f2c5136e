"""How a drop is made of a night's good rows, sound or spoilt: what `drop_faults` is written in."""

import csv
import gzip
import io
import itertools
import re
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from random import Random

from headlines.names import HEADLINES_FILE
from modules.features import LABEL, TITLE

Row = tuple[str, str]
"""A title, and a label by name."""
Files = dict[str, bytes | Path]
"""What lies in a night's folder: by its path there, what it holds, or as a `Path` where it links to."""
CORRECTION = f"v2/{HEADLINES_FILE}"


@dataclass(frozen=True, slots=True)
class Night:
    """A night of a folder of drops: what was delivered, and the rows of it that are used."""

    date: date
    files: Files
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Case:
    """A night that is delivered after those before it.

    Attributes:
      nights: of the whole folder, oldest first.
      index: which of them it is.
      random: where chance comes from.
    """

    nights: Sequence[Night]
    index: int
    random: Random

    @property
    def rows(self) -> list[Row]:
        """The good rows of the night."""
        return list(self.night.rows)

    @property
    def night(self) -> Night:
        """Which night it is."""
        return self.nights[self.index]

    @property
    def yesterday(self) -> Night:
        """The night before it."""
        return self.nights[self.index - 1]

    @property
    def past(self) -> list[Files]:
        """The nights before it, as they were delivered."""
        return [night.files for night in self.nights[: self.index]]


ChangeRows = Callable[[list[Row], Random], list[Row]]
Make = Callable[[Case], list[Files]]
"""What lies in the folders of all nights up to the one of a case."""


def to_csv(rows: Sequence[Row], delimiter: str = ",", line_end: str = "\n") -> bytes:
    """A file with a header and these rows."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=line_end).writerows([(TITLE, LABEL), *rows])
    return text.getvalue().encode()


def deliver(make: Callable[[Case], Files]) -> Make:
    """The nights before as they were, and what is made of the case as the last."""
    return lambda case: [*case.past, make(case)]


def of_rows(change: ChangeRows) -> Make:
    """One file of changed rows."""
    return deliver(lambda case: {HEADLINES_FILE: to_csv(change(case.rows, case.random))})


def of_labels(change: dict[str, str], only: int | None = None) -> Make:
    """One file in which labels are written otherwise, all of them or so many."""

    def spoil(rows: list[Row], random: Random) -> list[Row]:
        if only is None:
            return relabel(change)(rows, random)
        chosen = random.sample([number for number, row in enumerate(rows) if row[1] in change], only)
        return [(row[0], change[row[1]]) if number in chosen else row for number, row in enumerate(rows)]

    return of_rows(spoil)


def of_titles(change: Callable[[str], str], share: float = 1.0) -> Make:
    """One file in which a share of the titles, at random, is changed."""
    return of_rows(
        lambda rows, random: [(change(title) if random.random() < share else title, label) for title, label in rows]
    )


def of_some_titles(change: Callable[[str], str], count: int) -> Make:
    """One file in which so many titles are changed, of those that the change makes a difference to."""

    def spoil(rows: list[Row], random: Random) -> list[Row]:
        chosen = random.sample([number for number, row in enumerate(rows) if change(row[0]) != row[0]], count)
        return [(change(row[0]) if number in chosen else row[0], row[1]) for number, row in enumerate(rows)]

    return of_rows(spoil)


def of_bytes(change: Callable[[bytes], bytes], name: str = HEADLINES_FILE) -> Make:
    """One file of the good rows whose bytes are changed."""
    return deliver(lambda case: {name: change(to_csv(case.rows))})


def of_lines(change: Callable[[list[bytes], Random], list[bytes]]) -> Make:
    """One file of the good rows, header first, in which lines are changed or put in, whatever a CSV writer would do."""

    def spoil(case: Case) -> Files:
        header, *lines = to_csv(case.rows).splitlines(keepends=True)
        return {HEADLINES_FILE: header + b"".join(change(lines, case.random))}

    return deliver(spoil)


def insert(*lines: str) -> Make:
    """One file of the good rows with these lines among them, each somewhere."""

    def put_in(delivered: list[bytes], random: Random) -> list[bytes]:
        # At least in the third line of the file: what is first may be taken for a fault of all of it.
        for line in lines:
            delivered.insert(random.randrange(1, len(delivered)), f"{line}\n".encode())
        return delivered

    return of_lines(put_in)


def in_parts(name: str, pack: Callable[[bytes], bytes] = bytes) -> Make:
    """Two files: half of the rows in a plain one, the other half, packed, in one of another name."""

    def split(case: Case) -> Files:
        half = len(case.rows) // 2
        return {HEADLINES_FILE: to_csv(case.rows[:half]), name: pack(to_csv(case.rows[half:]))}

    return deliver(split)


def beside(name: str, content: bytes | Path) -> Make:
    """The good rows in one file, and another file beside it."""
    return deliver(lambda case: {HEADLINES_FILE: to_csv(case.rows), name: content})


def correct(change: ChangeRows) -> Make:
    """The good rows, and a correction of them."""
    return deliver(lambda case: {HEADLINES_FILE: to_csv(case.rows), CORRECTION: to_csv(change(case.rows, case.random))})


def correct_to_right(make: Make) -> Make:
    """What is made of the case, and the good rows as its correction."""
    return deliver(lambda case: make(case)[-1] | {CORRECTION: to_csv(case.rows)})


def in_a_row(make: Make, nights: int) -> Make:
    """The same on so many nights, one after the other."""

    def repeat(case: Case) -> list[Files]:
        spoilt = [make(replace(case, index=case.index - back))[-1] for back in reversed(range(nights))]
        return [*case.past[: case.index - nights + 1], *spoilt]

    return repeat


def after(before: Make, make: Make) -> Make:
    """What is made of the case, after what is made of the nights before."""
    return lambda case: [*before(replace(case, index=case.index - 1)), make(case)[-1]]


def contradict(change: Callable[[str], str], original: Callable[[str], str] = str, count: int = 4) -> Make:
    """Adds so many titles once more, in another form and with another label; may change the form of the first, too."""

    def add(rows: list[Row], random: Random) -> list[Row]:
        differing = [number for number, (title, _) in enumerate(rows) if change(title) != original(title)]
        chosen = random.sample(differing, count)
        copies = [(change(rows[number][0]), another_label(rows[number][1])) for number in chosen]
        return [(original(row[0]) if number in chosen else row[0], row[1]) for number, row in enumerate(rows)] + copies

    return of_rows(add)


def another_label(label: str) -> str:
    """A label that is not this one."""
    return "negative" if label == "neutral" else "neutral"


def of_language(words: tuple[str, str, str], share: float) -> Make:
    """One file in which a share of the titles, at random, is in another language.

    Args:
      words: beginnings, middles and ends of headlines, each divided by `|`; all combinations are headlines.
      share: of the titles.
    """
    titles = [" ".join(parts) for parts in itertools.product(*(part.split("|") for part in words))]

    def translate(rows: list[Row], random: Random) -> list[Row]:
        foreign = iter(random.sample(titles, len(titles)))
        return [(next(foreign, title) if random.random() < share else title, label) for title, label in rows]

    return of_rows(translate)


def in_latin_1(count: int) -> Make:
    """One file of the good rows, of which so many lines are in Latin-1."""

    def spoil(lines: list[bytes], random: Random) -> list[bytes]:
        chosen = random.sample([number for number, line in enumerate(lines) if not line.isascii()], count)
        return [
            line.decode().encode("cp1252", "replace") if number in chosen else line for number, line in enumerate(lines)
        ]

    return of_lines(spoil)


def repeat_yesterday(count: int, change: Callable[[str], str] = str) -> Make:
    """One file in which so many rows are yesterday's, their labels changed."""

    def take(case: Case) -> Files:
        old = case.random.sample(list(case.yesterday.rows), count)
        return {HEADLINES_FILE: to_csv([*((title, change(label)) for title, label in old), *case.rows[count:]])}

    return deliver(take)


def permute_weeks(case: Case) -> list[Files]:
    """The nights as they were delivered, their order changed within each seven."""
    files: list[Files] = []
    for start in range(0, len(case.nights), 7):
        week = case.nights[start : start + 7]
        files += [night.files for night in case.random.sample(week, len(week))]
    return files[: case.index + 1]


def keep_sundays(share: float) -> Make:
    """A share of the rows, of the night seven nights before and of this one."""

    def shorten(case: Case) -> list[Files]:
        nights = case.past
        nights[case.index - 7] = few(list(case.nights[case.index - 7].rows))
        return [*nights, few(case.rows)]

    def few(rows: list[Row]) -> Files:
        return {HEADLINES_FILE: to_csv(rows[: round(share * len(rows))])}

    return shorten


def relabel(change: dict[str, str]) -> ChangeRows:
    """The rows with labels written otherwise."""
    return lambda rows, random: [(title, change.get(label, label)) for title, label in rows]


def relabel_some(count: int) -> ChangeRows:
    """The rows, of which so many have another label."""

    def change(rows: list[Row], random: Random) -> list[Row]:
        chosen = random.sample(range(len(rows)), count)
        return [(row[0], another_label(row[1])) if number in chosen else row for number, row in enumerate(rows)]

    return change


def first(count: int) -> ChangeRows:
    """The first rows."""
    return lambda rows, random: rows[:count]


def sample(share: float) -> ChangeRows:
    """A share of the rows at random, in their order."""

    def choose(rows: list[Row], random: Random) -> list[Row]:
        chosen = set(random.sample(range(len(rows)), round(share * len(rows))))
        return [row for number, row in enumerate(rows) if number in chosen]

    return choose


def shuffle(rows: list[Row], random: Random) -> list[Row]:
    """The rows in another order."""
    return random.sample(rows, len(rows))


def without(label: str) -> ChangeRows:
    """The rows that do not have a label."""
    return lambda rows, random: [row for row in rows if row[1] != label]


def cut_in_half(data: bytes) -> bytes:
    """The first half of a file, up to the middle of a title."""
    end = len(data) // 2
    # Neither at the end of a row nor within a letter.
    while not data[end - 1 : end + 2].isalpha():
        end += 1
    return data[:end]


def as_mojibake(title: str) -> str:
    """UTF-8 read as Latin-1."""
    return title.encode().decode("latin-1")


def replace_accented(by: str) -> Callable[[str], str]:
    """Writes something for every character that ASCII lacks."""
    return lambda title: "".join(letter if letter.isascii() else by for letter in title)


def put_into_word(character: str) -> Callable[[str], str]:
    """Puts a character into the middle of the longest word."""

    def put(title: str) -> str:
        word = max(re.findall(r"\w+", title), key=len)
        middle = title.index(word) + len(word) // 2
        return title[:middle] + character + title[middle:]

    return put


def after_first_word(character: str) -> Callable[[str], str]:
    """Puts a character behind the first word."""
    return lambda title: re.sub(r"^(\W*\w+)", rf"\1{character}", title)


def quote(opening: str, closing: str) -> Callable[[str], str]:
    """Puts the first word into quotation marks."""
    return lambda title: re.sub(r"(\w+)", rf"{opening}\1{closing}", title, count=1)


def decompose(title: str) -> str:
    """Every accent as a character of its own."""
    return unicodedata.normalize("NFD", title)


def write(text: str) -> Callable[[str], str]:
    """Writes the same in place of every title."""
    return lambda title: text


def to_tabs(data: bytes) -> bytes:
    """A file of commas as one of tabs."""
    return to_csv([(title, label) for title, label in csv.reader(io.StringIO(data.decode())) if label != LABEL], "\t")


def zip_up(data: bytes) -> bytes:
    """A ZIP archive, as which a spreadsheet is saved."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", data)
    return packed.getvalue()


def compress(data: bytes) -> bytes:
    """Compressed by gzip."""
    return gzip.compress(data, mtime=0)
