"""Whether the packages here are those that the lock pins."""

import importlib.metadata
import re

from retraining.settings import CHECKOUT

LOCK = CHECKOUT / "requirements.lock"


def find_wrong_pins() -> list[str]:
    """The packages that are not as the lock pins them, each with both versions.

    Raises:
      FileNotFoundError: there is no lock, as beside an installed wheel.
    """
    wrong = []
    for name, pinned in re.findall(r"^([\w.-]+)==([^\s;\\]+)", LOCK.read_text(), re.MULTILINE):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "missing"
        if installed != pinned:
            wrong.append(f"{name} is {installed}, pinned {pinned}")
    return wrong


def tell(wrong: list[str]) -> str:
    """The wrong ones in a line: the first three by name."""
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"{'; '.join(wrong[:3])}{more}"
