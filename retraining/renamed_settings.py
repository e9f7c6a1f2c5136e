"""Settings that have another name by now, or are gone: an old name goes on to work, and is told.

What is here stays here: somebody may upgrade from the first version. `retraining upgrade` rewrites `.env`; `status`,
`doctor` and `up` name what the environment or `.env` still calls by its old name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from headlines.durable import replace_file


def _as_it_is(value: str) -> str:
    return value


@dataclass(frozen=True)
class Renamed:
    """What became of a name.

    Attributes:
      name: of the setting now, in capitals.
      rewrite: gives its text, from that of the old one.
    """

    name: str
    rewrite: Callable[[str], str] = _as_it_is


RENAMED: dict[str, Renamed] = {"FAILURE_WEBHOOK_URL": Renamed("NOTIFY")}
"""By the old name, in capitals."""
GONE: dict[str, str] = {}
"""Settings that nothing took the place of, by name, each with what to do instead: a sentence without a full stop."""

_LINE = re.compile(r"^(?P<lead>\s*(?:export\s+)?)(?P<name>\w+)(?P<equals>\s*=\s*)(?P<value>.*)$")


def find_old_names(field: str) -> list[str]:
    """What a field of the settings was called, as fields are."""
    return [old.lower() for old, new in RENAMED.items() if new.name == field.upper()]


def find_problems(environment: Mapping[str, str], file: Mapping[str, str], place: Path) -> list[str]:
    """One sentence for each old name that is still used, with what to do.

    Args:
      environment: the variables of this process, by name in any case.
      file: those of `.env`.
      place: where `.env` is.
    """
    sentences = []
    names = {name.upper() for variables in (environment, file) for name, value in variables.items() if value}
    for where, variables in (("the environment", environment), (str(place), file)):
        given = {name.upper(): value for name, value in variables.items() if value}
        for old, new in RENAMED.items():
            if old not in given:
                continue
            if new.name in names:
                sentences.append(f"{old} in {where} is not read, since {new.name}, its name now, is set too; remove it")
            else:
                advice = "`retraining upgrade` renames it" if where == str(place) else "rename it there"
                sentences.append(f"{old} in {where} is called {new.name} now, and still works; {advice}")
        sentences += [f"{name} in {where} is no setting any more: {GONE[name]}" for name in GONE if name in given]
    return sentences


def rewrite(text: str) -> str:
    """The text of `.env` with the names of now; everything else in it stays as it is.

    A line of an old name whose new one is set in another is left alone: whoever wrote both decides.
    """
    lines = text.splitlines(keepends=True)
    given = {match["name"].upper() for line in lines if (match := _LINE.match(line.rstrip("\r\n")))}
    return "".join(_rewrite_line(line, given) for line in lines)


def needs_rewriting(path: Path) -> bool:
    """Whether `.env` has a line that `rewrite` changes."""
    return path.is_file() and rewrite(text := path.read_bytes().decode()) != text


def rewrite_file(path: Path, copy: Path) -> bool:
    """Rewrites `.env`, after a copy of it was made.

    Returns:
      Whether there was anything to rewrite; nothing was written otherwise.
    """
    if not needs_rewriting(path):
        return False
    before = path.read_bytes()
    # It may hold passwords.
    replace_file(copy, before, mode=0o600)
    replace_file(path, rewrite(before.decode()), mode=path.stat().st_mode & 0o777)
    return True


class RenamedSource(PydanticBaseSettingsSource):
    """What old names say, for fields that nothing says by their names of now."""

    def __init__(self, settings: type[BaseSettings], *variables: Mapping[str, str | None]) -> None:
        """Takes the variables of each place, by name in any case; the first that has a name wins."""
        super().__init__(settings)
        self._variables = variables

    def get_field_value(self, field: object, field_name: str) -> tuple[str | None, str, bool]:
        """The text of one field, as pydantic-settings asks for it."""
        for old in find_old_names(field_name):
            for variables in self._variables:
                value = next((text for name, text in variables.items() if name.lower() == old and text), None)
                if value:
                    return RENAMED[old.upper()].rewrite(value), field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, str]:
        """The texts by field."""
        found = {name: self.get_field_value(None, name)[0] for name in self.settings_cls.model_fields}
        return {name: text for name, text in found.items() if text is not None}


def _rewrite_line(line: str, given: set[str]) -> str:
    match = _LINE.match(line.rstrip("\r\n"))
    new = RENAMED.get(match["name"].upper()) if match else None
    if match is None or new is None or new.name in given:
        return line
    ending = line[len(line.rstrip("\r\n")) :]
    value = match["value"]
    quote = value[0] if value[:1] in ("'", '"') and value.endswith(value[0]) and len(value) > 1 else ""
    bare = value[1:-1] if quote else value
    return f"{match['lead']}{new.name}{match['equals']}{quote}{new.rewrite(bare) if bare else bare}{quote}{ending}"
