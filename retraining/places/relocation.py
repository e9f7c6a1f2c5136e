"""What is done about a service that lies elsewhere than its lineage says: the paths of then become those of today.

Paths in MLMD are absolute, so that TFX's own tools and other people's pipelines read them as they are. A service whose
folders were moved, or brought back from a backup elsewhere, is therefore moved in its lineage too: in one transaction.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import cursor as Cursor

from headlines.errors import HeadlinesError
from headlines.objects.addresses import to_path
from headlines.postgres_address import Postgres
from retraining.places.moves import Move, Moves
from retraining.places.recorded import PLACES, derive_places, places_of, read_places, write_places
from retraining.places.rewriting import rewrite_paths
from retraining.settings import Settings

Report = Callable[[str], None]


class PlacesError(HeadlinesError):
    """The service lies elsewhere than its lineage says, or lineage cannot be asked; the message says what to do."""


@dataclass(frozen=True)
class Relocation:
    """What was done, or would be.

    Attributes:
      moves: from where to where; none where everything is where lineage says.
      paths: how many in lineage were rewritten.
      hints: what a person has yet to do, in one line each.
    """

    moves: Moves
    paths: int = 0
    hints: tuple[str, ...] = ()


def settle_places(settings: Settings, report: Report) -> None:
    """Rewrites lineage where the service has moved, and records where it lies: at each start, before anything reads it.

    The embedded Postgres keeps its data in the folder that moved, so that there is no doubt. Of a server of one's own
    it could be another machine's service that is still at work, so that a person has to say it.

    Args:
      settings: of today; MLMD's database must answer.
      report: receives a line per move.

    Raises:
      PlacesError: the service on a Postgres of one's own has moved; nothing was changed.
    """
    with _transaction(settings.mlmd) as cursor:
        recorded = _read(cursor, settings)
        moves = _decide(settings, recorded)
        if moves and not settings.postgres_embedded:
            raise PlacesError(
                f"the service has moved, but its lineage still names the old places: {moves}. If that is so, run "
                "`retraining relocate` (`--dry-run` shows what it would do); otherwise set "
                f"{', '.join(name.upper() for name in _differing(settings, recorded))} as before"
            )
        if moves:
            relocation = _rewrite(cursor, settings, moves)
            report(f"the service has moved ({moves}): {relocation.paths} paths in lineage rewritten")
            for hint in relocation.hints:
                report(hint)
        lost = [name for name in _differing(settings, recorded) if _is_lost(recorded[name], settings, name, moves)]
        for name in lost:
            report(
                f"{recorded[name]} is gone, and {name.upper()}={getattr(settings, name)} is not there either: lineage "
                "still names the old one. Bring the folder back, or correct the setting"
            )
        write_places(cursor, {name: path for name, path in places_of(settings).items() if name not in lost})


def relocate(settings: Settings, old: Path | None = None, new: Path | None = None, dry_run: bool = False) -> Relocation:
    """Rewrites lineage as a person asks, whatever lies where.

    Args:
      settings: of today; MLMD's database must answer, and no night may be at work.
      old: a folder that lay there. Default: every place that is not where it is recorded.
      new: where it lies. Default: `STATE_DIR`.
      dry_run: changes nothing.

    Raises:
      PlacesError: the database does not answer, or the new folder is not there.
    """
    with _transaction(settings.mlmd) as cursor:
        if old is None:
            recorded, today = _read(cursor, settings), places_of(settings)
            moves = Moves(Move(path, today[name]) for name, path in recorded.items())
        else:
            moves = Moves([Move(str(old), str(new or settings.state_dir))])
        there = settings.pipeline_root if old is None else new or settings.state_dir
        if moves and not there.exists():
            raise PlacesError(
                f"{there} is not there, so nothing can have moved to it; bring the files there first, or correct "
                "STATE_DIR and its like in .env"
            )
        relocation = _rewrite(cursor, settings, moves, dry_run)
        if dry_run:
            cursor.connection.rollback()
        else:
            write_places(cursor, places_of(settings))
    return relocation


def move_everything(settings: Settings, moves: Moves) -> Relocation:
    """Rewrites lineage that was brought here, whatever still lies where it came from, and records where it lies.

    Raises:
      PlacesError: the database does not answer.
    """
    with _transaction(settings.mlmd) as cursor:
        relocation = _rewrite(cursor, settings, moves)
        write_places(cursor, places_of(settings))
    return relocation


def find_difference(settings: Settings) -> str:
    """Why paths in lineage lead nowhere, in one line with what to do; empty where the service lies as recorded.

    Raises:
      PlacesError: the database does not answer.
    """
    with _transaction(settings.mlmd) as cursor:
        recorded = read_places(cursor)
    return explain_difference(recorded, places_of(settings))


def check_root(place: Postgres, pipeline_root: str) -> None:
    """Stops a night that would go on with paths which lead nowhere.

    Args:
      place: MLMD's database.
      pipeline_root: where the night is about to write.

    Raises:
      PlacesError: lineage was written elsewhere, where nothing is any more, or the database does not answer.
    """
    with _transaction(place) as cursor:
        recorded = read_places(cursor)
    if problem := explain_difference(recorded, {"pipeline_root": pipeline_root}):
        raise PlacesError(problem)


def explain_difference(recorded: Mapping[str, str], today: Mapping[str, str]) -> str:
    """The same of places that are known; a folder that is still there was not moved, and can be read."""
    moved = [name for name, path in today.items() if recorded.get(name, path) != path]
    gone = [name for name in moved if not to_path(recorded[name]).exists()]
    if not gone:
        return ""
    then = ", ".join(f"{name.upper()}={recorded[name]}" for name in gone)
    return (
        f"lineage was written with {then}, which is gone, and the settings say "
        f"{', '.join(f'{name.upper()}={today[name]}' for name in gone)}: what lineage names is not found. If the "
        "service was moved, run `retraining relocate`; if not, correct the settings"
    )


def _decide(settings: Settings, recorded: Mapping[str, str]) -> Moves:
    """What has moved: what lay in the state folder of the embedded Postgres, and what is gone there and is here."""
    moves, today = [], places_of(settings)
    home = recorded.get("state_dir", "")
    is_home_moved = settings.postgres_embedded and bool(home) and home != today["state_dir"]
    for name, old in recorded.items():
        new = today[name]
        went_along = is_home_moved and f"{old}/".startswith(f"{home}/")
        has_moved = went_along or (to_path(new).exists() and not to_path(old).exists())
        # A folder that is still there is another one than that of today: what lies in it is found where it is.
        moves.append(Move(old, new if has_moved else old))
    return Moves(moves)


def _is_lost(old: str, settings: Settings, name: str, moves: Moves) -> bool:
    has_moved = any(one.old == old and one.new != old for one in moves.moves)
    return not has_moved and not to_path(old).exists() and not getattr(settings, name).exists()


def _differing(settings: Settings, recorded: Mapping[str, str]) -> list[str]:
    return [name for name, path in places_of(settings).items() if recorded.get(name, path) != path]


def _read(cursor: Cursor, settings: Settings) -> dict[str, str]:
    if recorded := read_places(cursor):
        return recorded
    derived = derive_places(cursor)
    today = places_of(settings)
    # The state folder is inferred from where it keeps artifacts by default, which a setting may say otherwise.
    is_default = today["pipeline_root"].startswith(f"{today['state_dir']}/")
    if not is_default or derived.get("pipeline_root") == today["pipeline_root"]:
        derived.pop("state_dir", None)
    return derived


def _rewrite(cursor: Cursor, settings: Settings, moves: Moves, dry_run: bool = False) -> Relocation:
    if not moves:
        return Relocation(moves)
    paths = rewrite_paths(cursor, moves)
    if not dry_run:
        _rewrite_local(settings, moves)
        # Late: the formats of TensorFlow Serving take a second to import.
        from headlines.pushes import rollbacks

        rollbacks.move_policy(settings.serving_dir, moves.rewrite)
    return Relocation(moves, paths, tuple(_find_hints(settings, moves)))


def _rewrite_local(settings: Settings, moves: Moves) -> None:
    """Moves what `run --local` keeps beside the service."""
    file = settings.state_dir / "local" / "mlmd.sqlite"
    if file.is_file():
        with closing(sqlite3.connect(file)) as connection, connection:
            rewrite_paths(connection.cursor(), moves)


def _find_hints(settings: Settings, moves: Moves) -> Iterator[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name in PLACES or not isinstance(value, Path) or value.exists():
            continue
        if (moved := moves.rewrite(str(value))) != str(value):
            yield f"{name.upper()}={value} is not there any more; it may have to be {moved}: correct it in .env"


@contextmanager
def _transaction(place: Postgres) -> Iterator[Cursor]:
    try:
        connection = psycopg2.connect(**place.arguments)
    except psycopg2.OperationalError as error:
        raise PlacesError(place.explain(error)) from None
    try:
        with closing(connection), connection, connection.cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:
        answer = " ".join(str(error).split())
        raise PlacesError(f"lineage at {place} could not be read or rewritten, and is as it was: {answer}") from error
