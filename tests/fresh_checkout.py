"""A copy of this checkout as a clone would be, and a stand-in for uv, whose environments borrow this one's packages."""

import os
import shutil
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# What a clone would not have, and what no command needs: of the whole, and of every folder.
_LEFT_OUT = {".git", "var", "drops", ".env", "tests", "docs"}
_LEFT_OUT_ANYWHERE = shutil.ignore_patterns(".venv*", "__pycache__", ".*_cache", "*.egg-info")

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

    def leave_out(folder: str, names: list[str]) -> set[str]:
        return _LEFT_OUT_ANYWHERE(folder, names) | (_LEFT_OUT if Path(folder) == CHECKOUT else set())

    return Path(shutil.copytree(CHECKOUT, place, ignore=leave_out))


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
