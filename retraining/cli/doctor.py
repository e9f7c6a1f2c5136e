"""What can be wrong with this machine and this checkout, and how to mend it."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime

import psutil

import lineage
from headlines import disk
from headlines.drops.drops_folder import DropError, DropsFolder
from headlines.names import NIGHTLY_DAG
from headlines.postgres_address import is_local
from lineage import LineageError
from retraining.cli.doctor_engine import look_at_engine
from retraining.cli.doctor_objects import examine_objects
from retraining.cli.doctor_workers import list_worker_checks
from retraining.cli.finding import Finding, Level
from retraining.cli.status import UNPAUSE, tell_stray
from retraining.local import LocalError, airflow_options, ports, postgres, preparation, secrets, service, standing
from retraining.local.api import Api
from retraining.local.object_places import find_places
from retraining.notices import delivery, sending
from retraining.places.relocation import PlacesError, find_difference
from retraining.settings import Settings, SettingsError
from retraining.upkeep import pins
from retraining.version import VERSION
from retraining.watching import deadlines, replicas

_LOW_DISK_GB = 10.0
_LOW_MEMORY_BYTES = 3 * 2**30


def examine() -> Iterator[Finding]:
    """Looks at everything, one finding at a time; at nothing that needs settings where those cannot be used."""
    yield _python()
    yield _pins()
    try:
        settings = Settings.from_env()
        # Read now, as the pipelines will.
        _ = settings.given_hyperparameters
    except SettingsError as error:
        for line in str(error).splitlines():
            yield Finding("settings", "fail", line)
        return
    yield _names()
    yield _version(settings)
    health = service.health(settings)
    has_started = health.has_started
    has_postgres, has_web = (health.programs.get(name) == "healthy" for name in ("postgres", "webserver"))
    checks: tuple[Callable[[], Finding], ...] = (
        lambda: _ports(settings, has_started),
        lambda: _disk(settings),
        _memory,
        lambda: _secrets(settings),
        lambda: _notices(settings),
        *([lambda: examine_objects(settings)] if find_places(settings) else []),
        lambda: _drops(settings),
        lambda: _airflow_variables(settings),
        lambda: _programs(health),
        lambda: _strays(settings),
        lambda: _postgres(settings),
        lambda: _database(settings, "airflow", has_postgres),
        lambda: _database(settings, "mlmd", has_postgres),
        lambda: _places(settings, has_postgres),
        *list_worker_checks(settings, has_postgres),
        lambda: look_at_engine(settings),
        lambda: _dags(settings, has_web),
        lambda: _serving(settings, health, has_postgres),
        lambda: _pauses(settings, has_postgres),
        lambda: _nights(settings, has_postgres),
    )
    for check in checks:
        yield check()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        return Finding("Python", "fail", f"{version}, but the pinned packages are for 3.11; run `make demo`")
    return Finding("Python", "ok", f"{version} at {sys.executable}")


def _pins() -> Finding:
    if not pins.LOCK.is_file():
        return Finding("packages", "warn", f"there is no {pins.LOCK} to check the pins by; a checkout has it in git")
    if wrong := pins.find_wrong_pins():
        return Finding("packages", "fail", f"{pins.tell(wrong)}; repair: `make setup`")
    return Finding("packages", "ok", "as requirements.lock pins them")


def _names() -> Finding:
    if old := Settings.find_old_names():
        return Finding("settings", "warn", "; ".join(old))
    return Finding("settings", "ok", "every one can be used")


def _airflow_variables(settings: Settings) -> Finding:
    given = settings.given_airflow_options()
    try:
        unused = airflow_options.find_unused(settings, given)
    except SettingsError:
        # Before the first start there are no secrets to compare with.
        unused = []
    if unused:
        return Finding("Airflow options", "warn", f"{'; '.join(unused)}; unset what is not used")
    named = ", ".join(sorted(given))
    return Finding("Airflow options", "ok", f"passed on: {named}" if named else "none is set")


def _version(settings: Settings) -> Finding:
    try:
        other = standing.tell_other_version(settings)
    except LocalError as error:
        return Finding("version", "fail", str(error))
    return Finding("version", "warn" if other else "ok", other or VERSION)


def _ports(settings: Settings, has_started: bool) -> Finding:
    listed = ", ".join(f"{name}={port}" for name, (_, port) in ports.of_service(settings).items())
    if has_started:
        return Finding("ports", "ok", f"used by the running service: {listed}")
    if problems := ports.find_taken(settings):
        return Finding("ports", "fail", "; ".join(problems))
    return Finding("ports", "ok", f"free: {listed}")


def _disk(settings: Settings) -> Finding:
    try:
        low = disk.find_low(settings.written_places, settings.min_free_gb)
        nearly = disk.find_low(settings.written_places, _LOW_DISK_GB)
        own = disk.find_disk(settings.state_dir)
    except OSError as error:
        return Finding("disk", "fail", f"it cannot be looked at: {error}")
    if low:
        text = disk.tell_low(low, settings.min_free_gb)
        return Finding(
            "disk", "fail", f"{text}: no night begins; free some there, or set STATE_DIR to a folder elsewhere"
        )
    place = next(path for path in (settings.state_dir, *settings.state_dir.parents) if path.exists())
    if not place.is_dir():
        return Finding("disk", "fail", f"{place} is a file where a folder should be; move it away, or set STATE_DIR")
    if not os.access(place, os.W_OK):
        return Finding("disk", "fail", f"{place} cannot be written to; give yourself the right, or set STATE_DIR")
    if nearly:
        text = " and ".join(map(str, nearly))
        return Finding("disk", "warn", f"{text}; a night takes some 20 MB, the packages 4 GB")
    return Finding("disk", "ok", str(own))


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB available"
    if memory.available < _LOW_MEMORY_BYTES:
        return Finding("memory", "warn", f"{text}; the service and one run need about 3 GB: end other programs")
    return Finding("memory", "ok", text)


def _secrets(settings: Settings) -> Finding:
    if not settings.secrets_dir.is_dir():
        return Finding("secrets", "ok", "none yet; `retraining up` makes them")
    exposed = [path for path in settings.secrets_dir.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if exposed:
        names = ", ".join(path.name for path in exposed)
        return Finding("secrets", "fail", f"others can read {names}; run: chmod 600 '{settings.secrets_dir}'/*")
    if staged := secrets.find_staged(settings):
        names = ", ".join(map(str.upper, staged))
        return Finding("secrets", "warn", f"{names} was rotated, and takes effect with the next `retraining up`")
    return Finding("secrets", "ok", f"{settings.secrets_dir}, readable by you alone")


def _notices(settings: Settings) -> Finding:
    addresses = sending.find_addresses(settings)
    if problems := [problem for address in addresses if (problem := sending.find_problem(address))]:
        return Finding("notices", "fail", f"{'; '.join(problems)}; correct NOTIFY")
    if backlogs := delivery.survey(settings):
        return Finding("notices", "warn", "; ".join(map(str, backlogs)))
    if not addresses:
        return Finding("notices", "ok", "nobody is told, for NOTIFY is not set: they are in the log")
    return Finding("notices", "ok", f"{', '.join(map(str, addresses))}; to try them: `retraining notify --test`")


def _drops(settings: Settings) -> Finding:
    try:
        nights = DropsFolder(settings.drops_dir).nights if settings.drops_dir.is_dir() else []
    except (OSError, DropError) as error:
        return Finding("drops", "fail", f"{settings.drops_dir} cannot be read: {error}")
    if not nights:
        return Finding(
            "drops",
            "warn",
            f"no night in {settings.drops_dir}; put CSV files in <night>/, or `make demo` writes samples",
        )
    return Finding("drops", "ok", f"{len(nights)} nights in {settings.drops_dir}, {nights[0]} to {nights[-1]}")


def _programs(health: service.Health) -> Finding:
    if not health.programs:
        return Finding("programs", "ok", "none runs; `retraining up` starts them")
    if ill := [f"{name} is {state}" for name, state in health.programs.items() if state != "healthy"]:
        return Finding("programs", "fail", f"{'; '.join(ill)}; see `retraining logs <program>`, `retraining up`")
    return Finding("programs", "ok", f"{', '.join(health.programs)} are healthy")


def _postgres(settings: Settings) -> Finding:
    problem = postgres.find_version_problem(settings)
    return Finding("Postgres", "fail" if problem else "ok", problem or "of the version that its data was made by")


def _strays(settings: Settings) -> Finding:
    strays = service.find_strays(settings)
    if not strays:
        return Finding("strays", "ok", "no process has outlived its program")
    listed = "; ".join(map(tell_stray, strays[:3])) + (f"; and {len(strays) - 3} more" if len(strays) > 3 else "")
    return Finding("strays", "fail", f"{listed}. They belong to no running program; `retraining down` ends them")


def _database(settings: Settings, which: preparation.Database, has_postgres: bool) -> Finding:
    subject = f"database {which}"
    if settings.postgres_embedded and not has_postgres:
        return Finding(subject, "ok", "not looked at: the service's Postgres does not run; `retraining up`")
    try:
        problem = preparation.find_database_problem(settings, which)
    except SettingsError as error:
        problem = str(error)
    if problem:
        return Finding(subject, "fail", problem)
    how = preparation.describe_encryption(settings, which)
    level: Level = "warn" if "IN CLEAR" in how else "ok"
    advice = "; set POSTGRES_SSLMODE=verify-full, docs/security.md tells how" if level == "warn" else ""
    if which == "mlmd" and "TLS" in how:
        # It has none: retraining/recording/store.py.
        client = settings.mlmd_tunnel or settings.mlmd_host
        is_far = not is_local(client.rpartition(":")[0] if settings.mlmd_tunnel else client)
        advice = f". MLMD's own client: {'IN CLEAR' if is_far else 'in clear'} to {client}"
        if is_far:
            level, advice = "warn", f"{advice}; set MLMD_TUNNEL, docs/security.md tells how"
    return Finding(subject, level, f"lets its role in, {how}{advice}")


def _places(settings: Settings, has_postgres: bool) -> Finding:
    if settings.postgres_embedded and not has_postgres:
        return Finding("places", "ok", "not looked at: the service's Postgres does not run; `retraining up`")
    try:
        problem = find_difference(settings)
    except (PlacesError, SettingsError) as error:
        problem = str(error)
    return Finding("places", "fail" if problem else "ok", problem or "the service lies where its lineage says")


def _dags(settings: Settings, has_web: bool) -> Finding:
    if not has_web:
        return Finding("DAGs", "ok", "not looked at: the web server does not run")
    try:
        with closing(Api(settings, NIGHTLY_DAG)) as api:
            errors = api.find_import_errors()
    except (LocalError, SettingsError) as error:
        return Finding("DAGs", "fail", str(error))
    if errors:
        last = errors[0]["stack_trace"].strip().splitlines()[-1]
        return Finding("DAGs", "fail", f"{errors[0]['filename']} cannot be read: {last}; mend it, Airflow looks again")
    return Finding("DAGs", "ok", "read without errors")


def _serving(settings: Settings, health: service.Health, has_postgres: bool) -> Finding:
    if settings.postgres_embedded and not has_postgres:
        return Finding("model servers", "ok", "not asked: the service's Postgres does not run; `retraining up`")
    if not health.programs and settings.serving_urls is None:
        return Finding("model servers", "ok", "not asked: the service's own does not run; `retraining up`")
    try:
        observed = replicas.observe(settings)
    except (LineageError, SettingsError) as error:
        return Finding("model servers", "fail", str(error))
    level: Level = "fail" if not observed.is_right else "warn" if observed.state == "loading" else "ok"
    return Finding("model servers", level, observed.text)


def _pauses(settings: Settings, has_postgres: bool) -> Finding:
    if settings.postgres_embedded and not has_postgres:
        return Finding("pauses", "ok", "not looked at: the service's Postgres does not run; `retraining up`")
    try:
        paused = lineage.find_paused(settings)
    except (LineageError, SettingsError) as error:
        return Finding("pauses", "fail", str(error))
    if paused:
        return Finding("pauses", "warn", f"{', '.join(paused)} paused: no scheduled run begins; {UNPAUSE}")
    return Finding("pauses", "ok", "no DAG of the service is paused")


def _nights(settings: Settings, has_postgres: bool) -> Finding:
    if settings.postgres_embedded and not has_postgres:
        return Finding("nights", "ok", "not looked at: the service's Postgres does not run; `retraining up`")
    try:
        survey = deadlines.survey(settings, datetime.now(UTC), newest=1)
    except (LineageError, SettingsError) as error:
        return Finding("nights", "fail", str(error))
    if survey.overdue:
        return Finding("nights", "fail", f"overdue: {survey.overdue}")
    if survey.obstacle:
        return Finding("nights", "warn", f"none will begin: {survey.obstacle}")
    if not survey.nights:
        return Finding("nights", "ok", "none is due yet, and none was run")
    [last] = survey.nights
    text = f"the newest, {last.night}, is {last.state}" + (f": {last.why}" if last.why else "")
    is_well = last.state in (*lineage.VERDICTS, "running", "waiting")
    return Finding("nights", "ok" if is_well else "warn", text)
