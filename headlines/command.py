"""How the commands that messages name are typed here: `retraining up` is shown as what works where it is read.

What is recorded, sent or answered as JSON says `retraining`, since it is read elsewhere and later; README.md says how
to have that on the PATH. A message has a command in backticks; other words are prose, or somebody's own.
"""

import html
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
_NAMED = r"(?P<name>retraining|tensorboard|make)(?= [a-z-])"
_IN_TEXT = re.compile(f"(?<=`){_NAMED}")
# What is before it is looked at afterwards: sought by that, every place of a page would be tried.
_ON_A_PAGE = re.compile(_NAMED)
_BEFORE_IT = ("`", "<code>", "<pre>")


def how_to_type(name: str, anywhere: bool = False) -> str:
    """A command as a shell finds it.

    Args:
      name: `retraining`, another script of this environment, or `make`.
      anywhere: whatever the reader's folder and PATH may be; else those of this process.
    """
    if name == "make":
        if (not anywhere and Path.cwd() == _CHECKOUT) or not (_CHECKOUT / "Makefile").is_file():
            return name
        return f"make -C {shlex.quote(str(_CHECKOUT))}"
    script = Path(sys.executable).with_name(name)
    if not script.is_file():
        return name
    if not anywhere:
        found = shutil.which(name)
        if found and Path(found).resolve() == script.resolve():
            return name
        here = Path.cwd()
        if script.is_relative_to(here) and here != Path(here.root):
            # With a slash in it, or the PATH alone counts.
            below = script.relative_to(here)
            return shlex.quote(str(below) if len(below.parts) > 1 else f"./{below}")
    return shlex.quote(str(script))


def find_named(text: str) -> Iterator[tuple[slice, str]]:
    """Where a text names a command, and how it is typed from here."""
    for match in _IN_TEXT.finditer(text):
        yield slice(*match.span()), how_to_type(match["name"])


def show_on_page(page: str) -> str:
    """A page of HTML in which every command can be copied into any shell on this machine."""

    def show(match: re.Match[str]) -> str:
        if not page.endswith(_BEFORE_IT, 0, match.start()):
            return match[0]
        return html.escape(how_to_type(match["name"], anywhere=True), quote=False)

    return _ON_A_PAGE.sub(show, page)
