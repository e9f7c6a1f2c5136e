"""What can be wrong with a drop, and what looks as if it were: as data, each with what catches it.

`make bench-drops` tries all of it on every night of a folder, tests/unit/test_drop_faults.py on one.
"""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.spoiling import (
    Make,
    after,
    after_first_word,
    another_label,
    as_mojibake,
    beside,
    compress,
    contradict,
    correct,
    correct_to_right,
    cut_in_half,
    decompose,
    deliver,
    first,
    in_a_row,
    in_latin_1,
    in_parts,
    insert,
    keep_sundays,
    of_bytes,
    of_labels,
    of_language,
    of_rows,
    of_some_titles,
    of_titles,
    permute_weeks,
    put_into_word,
    quote,
    relabel,
    relabel_some,
    repeat_yesterday,
    replace_accented,
    sample,
    shuffle,
    to_csv,
    to_tabs,
    without,
    write,
    zip_up,
)
from headlines.drops import measures
from headlines.drops.measures import (
    CLASS_MIX_SHIFT,
    NOT_PORTUGUESE_SHARE,
    QUARANTINED_SHARE,
    RELABELLED_SHARE,
    SWAP_EVIDENCE,
    UNSEEN_WORD_EXCESS,
)
from headlines.drops.quarantine import Reason
from headlines.names import HEADLINES_FILE
from modules.features import LABELS

REFUSED = "the file is refused"
NAMED = "named as not read"

_VOLUME, _REPEATED, _GONE = measures.ROW_COUNT_SURPRISAL, measures.REPEATED_SURPRISAL, measures.LOST_SHARE
_CLASSES, _LONG_RUN = measures.CLASS_SURPRISAL, measures.EXPECTED_CLASS_SURPRISAL
_UNKNOWN_LABELS = measures.UNKNOWN_LABEL_SURPRISAL
_BROKEN, _UNBALANCED = Reason.BROKEN_TEXT, Reason.UNBALANCED_QUOTES

_SPANISH = (
    "El gobierno|La alcaldesa|El equipo|Una empresa|La policía|El juez|La universidad|Un vecino",
    "anuncia nuevas medidas|rechaza el acuerdo|celebra la victoria|investiga el incendio|abre sus puertas|"
    "pide más tiempo|presenta su proyecto|cierra la carretera",
    "en la capital|después de la tormenta|para los jóvenes|antes del invierno|en el sur del país|según los vecinos",
)
_ENGLISH = (
    "The government|The mayor|The team|A company|The police|The judge|The university|A neighbour",
    "announces new measures|rejects the agreement|celebrates the victory|investigates the fire|opens its doors|"
    "asks for more time|presents its project|closes the road",
    "in the capital|after the storm|for young people|before the winter|in the south|according to neighbours",
)
_SWAPS = {f"{one} and {other} exchanged": {one: other, other: one} for one, other in itertools.combinations(LABELS, 2)}
_ROTATIONS = {
    "labels rotated": {"negative": "neutral", "neutral": "positive", "positive": "negative"},
    "labels rotated the other way": {"neutral": "negative", "positive": "neutral", "negative": "positive"},
}
_GOOD = of_rows(lambda rows, random: rows)
_SWAPPED = of_labels(_SWAPS["negative and neutral exchanged"])


@dataclass(frozen=True, slots=True)
class Fault:
    """What may become of a night's delivery.

    Attributes:
      name: in short, for a test.
      description: for a person.
      make: what lies in the folders then.
      caught_by: measures, reasons of the quarantine, `REFUSED` or `NAMED`, of which one must catch it; none of an
        honest night, which nothing may catch.
      rows: how many rows must be quarantined for those reasons, and no others, while the night goes on; 0 when it must
        not go on.
      says: what the message must have in it.
      used: of an honest night, the share of its good rows that must be used at least; corrected labels may contradict
        those of earlier nights.
      from_night: the first night of a folder on which it can be told.
      judged: how many nights are judged, one after the other; the last is what counts, and which of those before it are
        refused is left out of what it is compared with.
      draws: how often chance has it befall each night.
    """

    name: str
    description: str
    make: Make
    caught_by: frozenset[str] = frozenset()
    rows: int = 0
    says: str = ""
    used: float = 1.0
    from_night: int = 1
    judged: int = 1
    draws: int = 1

    @property
    def is_honest(self) -> bool:
        """Whether there is nothing to catch."""
        return not self.caught_by


def _fault(
    name: str,
    description: str,
    make: Make,
    *caught_by: str,
    rows: int = 0,
    says: str = "",
    from_night: int = 1,
    judged: int = 1,
) -> Fault:
    return Fault(
        name=name,
        description=description,
        make=make,
        caught_by=frozenset(caught_by),
        rows=rows,
        says=says,
        from_night=from_night,
        judged=judged,
    )


_VOLUME_FAULTS = (
    _fault("one-row", "one row", of_rows(first(1)), _VOLUME, from_night=3),
    _fault("five-rows", "5 rows", of_rows(first(5)), _VOLUME, from_night=3),
    _fault("ninety-nine-rows", "99 rows", of_rows(first(99)), _VOLUME, from_night=3),
    _fault("cut", "half a file, cut within a row", of_bytes(cut_in_half), _VOLUME, REFUSED, from_night=3),
    _fault("three-times", "three nights in one", deliver(lambda case: {
        HEADLINES_FILE: to_csv([row for night in case.nights[case.index - 2 : case.index + 1] for row in night.rows])
    }), _VOLUME, _REPEATED, from_night=3),
    _fault("yesterday-again", "yesterday's file again", deliver(lambda case: case.yesterday.files), _REPEATED,
           from_night=2),
    _fault("twice-in-one", "the file twice in one", of_rows(lambda rows, random: rows * 2), _REPEATED, _VOLUME),
    _fault("half-of-yesterday", "half of it yesterday's rows", repeat_yesterday(150), _REPEATED, from_night=2),
    _fault("one-row-correction", "a correction of one row", correct(first(1)), _GONE, _VOLUME),
    _fault("half-a-correction", "half a correction", correct(sample(0.5)), _GONE, _VOLUME),
)  # fmt: skip

_LABEL_FAULTS = (
    *(
        _fault(description.replace(" ", "-"), description, of_labels(change), SWAP_EVIDENCE, CLASS_MIX_SHIFT)
        for description, change in (_SWAPS | _ROTATIONS).items()
    ),
    *(
        _fault(f"swapped-{nights}-nights", f"negative and neutral exchanged, night {nights} in a row",
               in_a_row(_SWAPPED, nights), SWAP_EVIDENCE, CLASS_MIX_SHIFT, judged=nights, from_night=nights)
        for nights in (2, 3, 4)
    ),
    _fault("wrong-window", "right, beside nights with negative and neutral exchanged that were let pass",
           after(lambda case: in_a_row(_SWAPPED, case.index + 1)(case), _GOOD), SWAP_EVIDENCE, CLASS_MIX_SHIFT,
           from_night=2, says="it is the window that disagrees"),
    _fault("relabelled", "60 of yesterday's titles, with other labels",
           repeat_yesterday(60, another_label), RELABELLED_SHARE, from_night=2),
    _fault("correction-swapped", "a correction that exchanges negative and neutral",
           correct(relabel(_SWAPS["negative and neutral exchanged"])), RELABELLED_SHARE, SWAP_EVIDENCE),
    _fault("codes-from-minus-one", "codes from -1 to 1 in place of 0 to 2",
           of_labels({"negative": "-1", "neutral": "0", "positive": "1"}), _UNKNOWN_LABELS, QUARANTINED_SHARE,
           says="'-1'"),
    _fault("codes-as-floats", "codes as `1.0`",
           of_labels({"negative": "0.0", "neutral": "1.0", "positive": "2.0"}), _UNKNOWN_LABELS, QUARANTINED_SHARE,
           says="'1.0'"),
    _fault("positives-as-3", "positives as `3`", of_labels({"positive": "3"}),
           _UNKNOWN_LABELS, _LONG_RUN, QUARANTINED_SHARE, says="'3' ("),
    _fault("positives-translated", "positives as `POSITIVO`", of_labels({"positive": "POSITIVO"}),
           _UNKNOWN_LABELS, _LONG_RUN, QUARANTINED_SHARE, says="'POSITIVO'"),
    _fault("negatives-translated", "negatives as `negativo`", of_labels({"negative": "negativo"}),
           _UNKNOWN_LABELS, QUARANTINED_SHARE, says="'negativo'"),
    _fault("positives-neutral", "positives all neutral", of_labels({"positive": "neutral"}), _CLASSES, _LONG_RUN),
    _fault("negatives-neutral", "negatives all neutral", of_labels({"negative": "neutral"}), _CLASSES, _LONG_RUN,
           CLASS_MIX_SHIFT),
    _fault("no-positives", "no positives", of_rows(without("positive")), _CLASSES, _LONG_RUN),
    _fault("no-negatives", "no negatives", of_rows(without("negative")), _CLASSES, _LONG_RUN, CLASS_MIX_SHIFT),
    _fault("no-neutrals", "no neutrals", of_rows(without("neutral")), _CLASSES, _LONG_RUN, CLASS_MIX_SHIFT),
    _fault("unknown-labels", "three labels with a slip of the pen", of_labels({"neutral": "netural"}, only=3),
           Reason.UNKNOWN_LABEL, rows=3),
)  # fmt: skip

_TEXT_FAULTS = (
    _fault("question-marks", "every accent as `?`", of_titles(replace_accented("?")), _BROKEN, QUARANTINED_SHARE),
    _fault("replacement-characters", "every accent as U+FFFD", of_titles(replace_accented("\ufffd")),
           QUARANTINED_SHARE),
    _fault("mojibake", "all titles UTF-8 read as Latin-1", of_titles(as_mojibake), QUARANTINED_SHARE,
           UNSEEN_WORD_EXCESS),
    _fault("half-mojibake", "half of the titles UTF-8 read as Latin-1", of_titles(as_mojibake, 0.5),
           QUARANTINED_SHARE),
    _fault("mojibake-twice", "all titles UTF-8 read as Latin-1, twice",
           of_titles(lambda title: as_mojibake(as_mojibake(title))), QUARANTINED_SHARE),
    _fault("some-mojibake", "three titles UTF-8 read as Latin-1", of_some_titles(as_mojibake, 3), _BROKEN, rows=3),
    _fault("some-replacement-characters", "three titles with U+FFFD",
           of_some_titles(replace_accented("\ufffd"), 3), _BROKEN, rows=3),
    _fault("null-characters", "three titles with a null character", of_some_titles(put_into_word("\0"), 3),
           _BROKEN, rows=3),
    _fault("control-characters", "three titles with control characters",
           of_some_titles(put_into_word("\x1b[31m"), 3), _BROKEN, rows=3),
    _fault("blank-titles", "three blank titles", of_some_titles(write(" "), 3), Reason.BLANK_TITLE, rows=3),
    *(
        _fault(f"title-{name}", f"three titles `{text}`", of_some_titles(write(text), 3), Reason.BLANK_TITLE, rows=3)
        for name, text in (("nan", "nan"), ("name-error", "#NAME?"), ("n-a", "N/A"), ("null", "NULL"), ("dash", "-"))
    ),
    _fault("some-spanish", "a sixth of the titles in Spanish", of_language(_SPANISH, 1 / 6), NOT_PORTUGUESE_SHARE),
    _fault("spanish", "all titles in Spanish", of_language(_SPANISH, 1), NOT_PORTUGUESE_SHARE),
    _fault("some-english", "a sixth of the titles in English", of_language(_ENGLISH, 1 / 6), NOT_PORTUGUESE_SHARE),
)  # fmt: skip

_IDENTITY_FAULTS = tuple(
    _fault(name, f"four titles again with another label, {form}", contradict(*forms), Reason.CONFLICT, rows=8)
    for name, form, *forms in (
        ("same-title", "as they are", str.strip, str.upper),
        ("decomposed", "accents decomposed", decompose),
        ("zero-width", "with a zero-width space", put_into_word("\u200b")),
        ("soft-hyphen", "with a soft hyphen", put_into_word("\u00ad")),
        ("byte-order-mark", "with a byte order mark", lambda title: f"\ufeff{title}"),
        ("curly-quotes", "curly quotes for straight ones", quote("“", "”"), quote('"', '"')),
        ("comma", "with a comma", after_first_word(",")),
        ("full-stop", "with a full stop", lambda title: title.rstrip(".") + "."),
    )
)

_FILE_FAULTS = (
    _fault("empty", "an empty file", of_bytes(lambda data: b""), REFUSED),
    _fault("header-only", "a header and no rows", of_rows(first(0)), REFUSED),
    _fault("no-header", "no header", of_bytes(lambda data: data.split(b"\n", 1)[1]), REFUSED),
    _fault("other-columns", "other names of columns",
           of_bytes(lambda data: data.replace(b"title,sentiment", b"headline,label", 1)), REFUSED),
    _fault("utf-16", "UTF-16", of_bytes(lambda data: data.decode().encode("utf-16")), REFUSED),
    _fault("latin-1", "Latin-1", of_bytes(lambda data: data.decode().encode("cp1252", "replace")), REFUSED),
    _fault("some-latin-1", "three rows in Latin-1", in_latin_1(3), Reason.UNDECODABLE, rows=3),
    _fault("gzip-as-csv", "gzip under a name in .csv", of_bytes(compress), REFUSED, says="gzip"),
    _fault("spreadsheet-as-csv", "a spreadsheet (.xlsx) under a name in .csv", of_bytes(zip_up), REFUSED,
           says="xlsx"),
    _fault("open-quote", "one quote left open", insert('"Prefeito abre escola,neutral'), REFUSED),
    _fault("open-quotes", "three quotes left open", insert(*['"Prefeito abre escola,neutral'] * 3), REFUSED),
    _fault("merged-rows", "two rows made one by a stray pair of quotes",
           insert('"Prefeito abre escola,neutral\nChuva fecha estrada",neutral'), _UNBALANCED, rows=2),
    _fault("wrong-fields", "three rows with a cell too many", insert(*["Escola abre, afinal,neutral"] * 3),
           Reason.WRONG_FIELDS, rows=3),
    _fault("long-title", "one title of 603 characters", insert(f"{'Manchete ' * 67},neutral"),
           Reason.LONG_TITLE, rows=1),
    _fault("long-field", "one field of 140,000 characters", insert(f"{'Manchete ' * 15556},neutral"),
           REFUSED, Reason.LONG_TITLE),
    _fault("long-row", "one row of 200,000 characters in three cells",
           insert(f"{'Manchete ' * 11112},{'manchete ' * 11112},neutral"), REFUSED),
    _fault("name-not-utf-8", "a file name that is not UTF-8", of_bytes(bytes, os.fsdecode(b"manchetes-\xe7.csv")),
           REFUSED),
    _fault("dangling-link", "a link to a file that is not there", beside("rest.csv", Path("absent.csv")),
           REFUSED, NAMED),
    *(
        _fault(name, f"half of the rows in {place}", in_parts(place, pack), NAMED, REFUSED)
        for name, place, pack in (
            ("text-part", "rest.txt", bytes),
            ("spreadsheet-part", "rest.xlsx", zip_up),
            ("sub-folder", "rest/headlines.csv", bytes),
            ("capital-version", "V2/headlines.csv", bytes),
            ("padded-version", "v02/headlines.csv", bytes),
        )
    ),
)  # fmt: skip

_HONEST_NIGHTS = (
    Fault("as-delivered", "as they are", lambda case: [*case.past, case.night.files], used=0.0),
    Fault("permuted", "in another order within each seven", permute_weeks, used=0.0, draws=10),
    Fault("good-rows", "their good rows alone", _GOOD),
    Fault("shuffled", "rows in another order", of_rows(shuffle)),
    Fault("four-fifths", "80 % of the rows", of_rows(sample(0.8)), used=0.79, draws=3),
    Fault("short-sunday", "60 % of the rows, as seven nights before", keep_sundays(0.6), used=0.59, from_night=8),
    Fault("right-after-refused", "right, after two nights with negative and neutral exchanged",
          after(in_a_row(_SWAPPED, 2), _GOOD), from_night=3, judged=3),
    Fault("corrected-first", "a correction of them on the second of two such nights",
          after(in_a_row(_SWAPPED, 1), correct_to_right(_SWAPPED)), from_night=2, judged=2),
    Fault("three-again", "three of yesterday's rows among them", repeat_yesterday(3), from_night=2),
    Fault("five-corrected", "a correction of 5 labels", correct(relabel_some(5)), used=0.98),
    Fault("ten-removed", "a correction without 10 rows", correct(lambda rows, random: rows[10:]), used=0.96),
    Fault("labels-corrected", "a correction of negative and neutral exchanged", correct_to_right(_SWAPPED)),
    Fault("codes", "labels as codes", of_labels({"negative": "0", "neutral": "1", "positive": "2"})),
    Fault("capitals", "labels in capitals", of_labels({label: label.upper() for label in LABELS})),
    Fault("quoted-newline", "one quoted line break in a title",
          of_some_titles(lambda title: title.replace(" ", "\n", 1), 1)),
    Fault("semicolons", "semicolons", deliver(lambda case: {HEADLINES_FILE: to_csv(case.rows, ";")})),
    Fault("marked", "a byte order mark", of_bytes(lambda data: b"\xef\xbb\xbf" + data)),
    Fault("line-ends", "line ends of Windows", of_bytes(lambda data: data.replace(b"\n", b"\r\n"))),
    Fault("two-files", "two files", in_parts("rest.csv")),
    Fault("compressed-part", "half of the rows in rest.csv.gz", in_parts("rest.csv.gz", compress)),
    Fault("tab-part", "half of the rows in rest.tsv", in_parts("rest.tsv", to_tabs)),
    Fault("empty-part", "an empty file beside a full one", beside("rest.csv", b"")),
    Fault("to-be-scored", "headlines to be scored beside it",
          beside("unlabelled.csv", b"title\nPrefeito abre escola\n")),
)  # fmt: skip

CATALOGUE = {
    fault.name: fault
    for fault in (
        *_VOLUME_FAULTS, *_LABEL_FAULTS, *_TEXT_FAULTS, *_IDENTITY_FAULTS, *_FILE_FAULTS, *_HONEST_NIGHTS
    )
}  # fmt: skip
"""Every fault and every honest night by its name, faults first."""
