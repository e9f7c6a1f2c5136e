"""A notice as text, as Markdown and as HTML, whatever the data that it quotes hold."""

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headlines.display import harmless

_MOST_CHARACTERS = 2000
_MARKDOWN = re.compile(r"([\\`*_\[\]<>~|])")
# What begins a heading, a list or a quotation.
_MARKDOWN_START = re.compile(r"^(\s*)([#+-]|\d+[.)])(?=\s)", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """A part of a notice: lines under a heading, and where more of it is to be seen.

    Attributes:
      heading: empty for none.
      lines: one sentence each.
      link: an address; empty for none.
    """

    heading: str
    lines: tuple[str, ...]
    link: str = ""


def shorten(text: str) -> str:
    """A text that nobody need scroll through, and that steers no terminal: the whole is where the link leads."""
    text = harmless(text).strip()
    return (
        text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]} ... (cut: it has {len(text)} characters)"
    )


def as_text(parts: Iterable[Part]) -> str:
    """The parts as plain text."""
    return _join(parts, lambda heading: heading.upper(), str, str, "\n", "\n\n")


def as_markdown(parts: Iterable[Part]) -> str:
    """The parts as Markdown."""
    return _join(
        parts,
        lambda heading: f"**{_mark(heading)}**",
        lambda line: _mark(line),
        lambda link: f"<{link}>",
        "\n\n",
        "\n\n",
    )


def as_html(parts: Iterable[Part]) -> str:
    """The parts as HTML, of the few elements that mail and chats show."""

    def refer(link: str) -> str:
        shown = html.escape(link)
        return f'<p><a href="{shown}">{shown}</a></p>'

    return _join(
        parts,
        lambda heading: f"<h3>{html.escape(heading)}</h3>",
        lambda line: "<p>{}</p>".format(html.escape(line).replace("\n", "<br>")),
        refer,
        "\n",
        "\n",
    )


def _join(
    parts: Iterable[Part],
    head: Callable[[str], str],
    say: Callable[[str], str],
    refer: Callable[[str], str],
    between_lines: str,
    between_parts: str,
) -> str:
    return between_parts.join(
        between_lines.join(
            [
                *([head(part.heading)] if part.heading else []),
                *map(say, part.lines),
                *([refer(part.link)] if part.link else []),
            ]
        )
        for part in parts
    )


def _mark(text: str) -> str:
    return _MARKDOWN_START.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", text)).replace("\n", "  \n")
