"""A copy of this checkout as a clone would be, and a stand-in for uv, whose environments borrow this one's packages."""

import os
import shutil
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# What a clone would not have, and what no command needs.
_LEFT_OUT = (".git", ".venv*", "var", "drops", ".env", "__pycache__", ".*_cache", "*.egg-info", "tests", "docs")

_UV = """\
#!/bin/sh
[ "$1" != --version ] || exit 0
printf '%s\\n' "$*" >>"$UV_RECORD"
env >"$UV_RECORD.env"
while [ -e "$UV_RECORD.wait" ]; do sleep 0.1; done
[ "$1" != "${UV_FAILS_AT:-}" ] || exit 2
if [ "$1" = venv ]; then
    mkdir -p .venv/bin
    printf '#!/bin/sh\\nexec "%s" "$@"\\n' "$UV_PYTHON_TO_BORROW" >.venv/bin/python
    chmod +x .venv/bin/python
fi
"""


def copy_checkout(place: Path) -> Path:
    """Copies what a clone would hold to `place`, but for tests and documents."""
    return Path(shutil.copytree(CHECKOUT, place, ignore=shutil.ignore_patterns(*_LEFT_OUT)))


def write_uv(place: Path) -> dict[str, str]:
    """Writes a stand-in for uv to the folder `place`.

    Returns:
      The variables with which it is found before any other uv; its calls are then in the file `UV_RECORD`, the
      environment of the last beside it in `*.env`, and for as long as there is a `*.wait` it does not come back.
    """
    place.mkdir(parents=True, exist_ok=True)
    write_program(place / "uv", _UV)
    return {
        "PATH": f"{place}{os.pathsep}{os.environ['PATH']}",
        "UV_RECORD": str(place / "record"),
        "UV_PYTHON_TO_BORROW": sys.executable,
    }


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
