"""What a text in lineage says once folders have moved; reads and writes nothing."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Move:
    """A folder that lay at `old` and lies at `new`; both absolute, without a slash at the end."""

    old: str
    new: str


class Moves:
    """Several moves at once: a path is rewritten by the innermost folder that holds it, and only once.

    So two folders may change places, and one may move out of another that moves too; one that moves to itself stays,
    whatever becomes of the folder around it.
    """

    def __init__(self, moves: Iterable[Move]) -> None:
        """Takes moves in any order, at most one from each folder."""
        self.moves = tuple(sorted(set(moves), key=lambda one: (-len(one.old), one.old)))
        self._new = {spelling: new for one in self.moves for spelling, new in _spellings(one)}
        # Behind a path, as inside the quotes of JSON, the whole component must end: /a/var is not in /a/variant.
        either = "|".join(re.escape(old) for old in sorted(self._new, key=len, reverse=True))
        self._path = re.compile(rf"({either})(?=/|$)")
        self._quoted = re.compile(rf'(?<=")({either})(?=["/])')

    def __bool__(self) -> bool:
        return any(one.old != one.new for one in self.moves)

    def __str__(self) -> str:
        return ", ".join(f"{one.old} to {one.new}" for one in reversed(self.moves) if one.old != one.new)

    @property
    def spellings(self) -> tuple[str, ...]:
        """What a text that has to be rewritten holds one of."""
        return tuple(self._new)

    def rewrite(self, text: str) -> str:
        """A path as it is now, or a text of JSON with the paths in it as they are now.

        A sentence, such as an error of then, stays as it was said.
        """
        if not self.moves:
            return text
        if text.startswith(("{", "[")):
            return self._quoted.sub(lambda found: self._new[found[1]], text)
        found = self._path.match(text)
        return self._new[found[1]] + text[found.end() :] if found else text


def _spellings(move: Move) -> Iterable[tuple[str, str]]:
    """How the folder is written in lineage: as it is, and as JSON of TFX's has it when it is no ASCII."""
    yield move.old, move.new
    as_json = json.dumps(move.old)[1:-1]
    if as_json != move.old:
        # MLMD holds no backslash: `storable` of retraining/recording/store.py puts U+29F5 in its place.
        yield as_json.replace("\\", "\u29f5"), json.dumps(move.new)[1:-1].replace("\\", "\u29f5")
