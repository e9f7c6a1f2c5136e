"""Asks which pinned packages have known vulnerabilities, and holds the answer to what was accepted, and why.

`make audit`. pip-audit asks PyPI; security/accepted.toml says which findings are known, what of each can be reached
from outside, and until when that holds. Exits with 1 for a finding that nobody accepted, for an accepted one that no
longer occurs and for one whose time is over; with 2 where the question was not answered, which is no good news.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
LOCKS = (
    "requirements.lock", "requirements-celery.lock", "requirements-dev.lock", "serving/requirements.lock",
    "serving/requirements-store.lock",
)  # fmt: skip
ACCEPTED = CHECKOUT / "security" / "accepted.toml"
_MOST_NAMED = 3


@dataclass(frozen=True)
class Accepted:
    """A finding that somebody looked at.

    Attributes:
      package: its name.
      id: of the vulnerability; any of its names.
      reach: what of it can be reached from outside.
      until: the day after which it is to be looked at again.
    """

    package: str
    id: str
    reach: str
    until: date


def read_accepted(path: Path = ACCEPTED) -> list[Accepted]:
    """The findings of the file.

    Raises:
      ValueError: the file lacks something of one, or has something else.
    """
    try:
        return [Accepted(**finding) for finding in tomllib.loads(path.read_text(encoding="utf-8"))["finding"]]
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}; each [[finding]] has package, id, reach and until") from None


def judge(answers: Mapping[str, Any], accepted: Sequence[Accepted], today: date) -> tuple[list[str], int]:
    """Holds pip-audit's answers to what was accepted.

    Args:
      answers: of each lock, what pip-audit wrote as JSON; None where it wrote nothing.
      accepted: see `read_accepted`.
      today: for what was accepted until a day.

    Returns:
      What to say, a line each, and what to exit with.
    """
    problems, unasked, seen = [], [], set()
    for lock, answer in answers.items():
        packages = answer["dependencies"] if answer else []
        skipped = [package for package in packages if "skip_reason" in package]
        if not packages or skipped:
            # pip-audit itself says 'No known vulnerabilities found' to this.
            named = ", ".join(package["name"] for package in skipped[:_MOST_NAMED]) or "all"
            unasked.append(
                f"{lock}: not answered for {len(skipped) or 'any'} of {len(packages)} packages ({named} ...)"
            )
        for package in packages:
            for found in package.get("vulns", ()):
                names = {found["id"], *found.get("aliases", ())}
                matching = [one for one in accepted if one.package == package["name"] and one.id in names]
                seen.update(matching)
                if not matching:
                    fix = ", ".join(found.get("fix_versions", ())) or "no version yet"
                    problems.append(f"{lock}: {package['name']} {package['version']} has {found['id']}, fixed in {fix}")
    problems += [
        f"{one.package} {one.id}: accepted until {one.until}, look at it again" for one in accepted if one.until < today
    ]
    if unasked:
        lines = ["could not ask about everything, so nothing is known of the rest:", *sorted(set(unasked)), *problems]
        return lines, 1 if problems else 2
    problems += [
        f"{one.package} {one.id}: no longer found, take it out of {ACCEPTED.relative_to(CHECKOUT)}"
        for one in accepted
        if one not in seen
    ]
    return problems or [f"nothing but what {ACCEPTED.relative_to(CHECKOUT)} accepts ({len(accepted)})"], bool(
        problems
    ) + 0


def ask(locks: Iterable[str] = LOCKS) -> dict[str, Any]:
    """pip-audit's answer about each lock."""
    answers = {}
    for lock in locks:
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "pip_audit", "--vulnerability-service", "pypi", "--format", "json"),
                *("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--requirement", lock),
            ],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            answers[lock] = json.loads(finished.stdout)
        except ValueError:
            answers[lock] = None
            print(f"{lock}: {finished.stderr.strip().splitlines()[-1:] or ['pip-audit ended without a word']}")
    return answers


def main() -> None:
    """Asks, says what came of it, and exits with how it is."""
    lines, code = judge(ask(), read_accepted(), datetime.now(UTC).date())
    print("\n".join(lines))
    sys.exit(code)


if __name__ == "__main__":
    main()
