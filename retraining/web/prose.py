"""Markdown as HTML in which nothing is run, loaded or followed, whatever data the text quotes."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

# Without raw HTML, which is shown as the text that it is.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_LOWEST_HEADING = 6


def render(text: str, below: int, prefix: str = "") -> Markup:
    """Renders a text for a page.

    Links and pictures are left out, and their words stay: a model card quotes data that anyone may have delivered, and
    what a document of ours leads to is not among the pages.

    Args:
      text: in Markdown, with tables.
      below: the level of the heading under which it stands; its own begin one level lower.
      prefix: of the ids that its headings get.
    """
    tokens = _MARKDOWN.parse(text)
    for place, token in enumerate(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + below, _LOWEST_HEADING)}"
        if token.type == "heading_open":
            token.attrSet("id", prefix + slug(tokens[place + 1].content))
        elif token.type == "table_open":
            token.attrSet("class", "table hl-table")
        elif token.type == "th_open":
            if tokens[place + 1].content:
                token.attrSet("scope", "col")
            else:
                # A heading of nothing is none.
                token.tag = tokens[place + 2].tag = "td"
        elif token.type == "inline":
            token.children = [_quieten(child) for child in token.children or () if not child.type.startswith("link_")]
    html = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    scrolling = '<div class="hl-scroll" tabindex="0" role="group" aria-label="Table"><table'
    html = html.replace("<table", scrolling).replace("</table>", "</table></div>")
    return Markup(html)


def slug(heading: str) -> str:
    """A heading as an address names it."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def _quieten(token: Token) -> Token:
    return Token("text", "", 0, content=token.content) if token.type == "image" else token
