"""A table that fits the terminal: nothing of it is ever cut off."""

from collections.abc import Collection, Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headlines import command
from headlines.display import harmless

# Behind each column a space of padding and, but for the last, one of the box.
_PADDING = (0, 1, 0, 0)
_GAP = 2
# A longer word, such as a path, may be broken.
_LONGEST_WORD = 32


class Fitting:
    """Columns where each has room for its words; where they do not fit, a block of lines for each row.

    psql's `\\x auto` does the same.
    """

    def __init__(self, *titles: str, right: Collection[str] = ()) -> None:
        """Takes the titles of the columns, and which of them hold figures, to be aligned right and never broken."""
        self._titles = [Text(title) for title in titles]
        self._right = [title in right for title in titles]
        self._rows: list[list[Text]] = []

    def __bool__(self) -> bool:
        """Whether it has a row."""
        return bool(self._rows)

    def add_row(self, *cells: str | Text) -> None:
        """Adds a row; a text is shown as it is, whatever it holds."""
        self._rows.append([show(cell if isinstance(cell, Text) else Text(harmless(cell))) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yields the table, or the blocks."""
        columns = list(zip(self._titles, *self._rows, strict=True))
        needed = [
            max(_whole(cell) if whole and cell is not column[0] else _longest_word(cell) for cell in column)
            for column, whole in zip(columns, self._right, strict=True)
        ]
        wanted = [max(map(_whole, column)) for column in columns]
        widths = _share(options.max_width - _GAP * len(columns) + 1, needed, wanted)
        yield Text()
        yield from self._blocks() if widths is None else [self._table(widths)]
        yield Text()

    def _table(self, widths: Sequence[int]) -> RenderableType:
        table = Table(box=box.SIMPLE_HEAD, padding=_PADDING, show_edge=False)
        for title, width, right in zip(self._titles, widths, self._right, strict=True):
            table.add_column(title, width=width, overflow="fold", justify="right" if right else "left")
        for row in self._rows:
            table.add_row(*row)
        return table

    def _blocks(self) -> Iterator[RenderableType]:
        label = max(map(_whole, self._titles[1:]), default=0)
        for row in self._rows:
            if row[0]:
                yield Text.assemble(self._titles[0], " " if self._titles[0] else "", row[0], style="bold")
            grid = Table.grid(padding=(0, 2, 0, 0))
            grid.add_column(width=label, overflow="fold")
            grid.add_column(overflow="fold")
            for title, cell in zip(self._titles[1:], row[1:], strict=True):
                if cell:
                    grid.add_row(title, cell)
            yield Padding(grid, (0, 0, 0, 2))


def show(text: Text) -> Text:
    """A text as it is shown: nothing in it steers the terminal, and the commands it names can be typed as they are."""
    shown = text.copy()
    shown.plain = harmless(text.plain)
    for place, typed in reversed(list(command.find_named(shown.plain))):
        before, named, after = shown.divide([place.start, place.stop])
        named.plain = typed
        whole = shown.blank_copy()
        for part in (before, named, after):
            whole.append_text(part)
        shown = whole
    return shown


def _whole(text: Text) -> int:
    return max(map(cell_len, text.plain.splitlines()), default=0)


def _longest_word(text: Text) -> int:
    return min(max(map(cell_len, text.plain.split()), default=0), _LONGEST_WORD)


def _share(room: int, needed: Sequence[int], wanted: Sequence[int]) -> list[int] | None:
    """The width of each column, those served first that want little; None without room for what is needed."""
    spare = room - sum(needed)
    if spare < 0:
        return None
    widths = list(needed)
    open_columns = sorted(range(len(needed)), key=lambda column: wanted[column] - needed[column])
    for served, column in enumerate(open_columns):
        more = min(wanted[column] - needed[column], spare // (len(open_columns) - served))
        widths[column] += more
        spare -= more
    return widths
