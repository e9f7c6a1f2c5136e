"""`make bench-pages`: every page about headlines after three years of nights, as Airflow's web server draws it.

Lineage is that of benchmarks/lineage.py. Pages are asked for as the admin, in process: permission, questions, template.
Its artifacts have no files, so that statistics, cards and quarantined rows are looked for and not drawn; one drop has.
Lineage is asked of MLMD alone: the other source of the pages, Airflow's own tables of its runs, is neither seeded nor
timed.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from headlines.names import HEADLINES_FILE

CHECKOUT = Path(__file__).resolve().parent.parent
NIGHTS = 1100
MAX_MILLISECONDS = 300.0
_TIMES = 7
_ROWS = 430
PAGES = {
    "Now serving": "/headlines/",
    "Now serving, three years drawn": "/headlines/?nights=1100",
    "Nights": "/headlines/nights",
    "Night": "/headlines/night/2021-05-05",
    "Quarantine": "/headlines/night/2021-05-05/quarantine",
    "Drop": "/headlines/drop/2021-05-05/1",
    "Model": "/headlines/model/2021-05-05",
    "Models": "/headlines/models",
    "Models, searched": "/headlines/models?state=refused&search=macro_f1&page=2",
    "A check, three years": "/headlines/check/accuracy?nights=1100",
    "The quality bar": "/headlines/quality-bar",
    "Recall of the oldest drop": "/headlines/recall?drop=2020-01-01:1",
    "Compare": "/headlines/compare?a=2020-05-05&b=2021-05-05",
    "Drift": "/headlines/drift",
    "Drift, three years drawn": "/headlines/drift?nights=1100",
    "Scoring": "/headlines/scores",
    "Tuning": "/headlines/tuning",
    "Notes": "/headlines/notes",
    "Graph": "/headlines/graph",
    "Graph of a night, every step": "/headlines/graph?night=2021-05-05&full=1",
    "Execution": "/headlines/execution/500",
    "Roll back": "/headlines/rollback",
}


def main() -> int:
    """Seeds a database, and measures the pages in a process that knows Airflow only by its own settings.

    Returns:
      The exit code: 1 when a page is too slow or is not there.
    """
    from benchmarks.lineage import seeded
    from benchmarks.lineage_seed import FIRST_NIGHT

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        (place / "postgres").mkdir()
        drop = place / "drops" / "2021-05-05" / HEADLINES_FILE
        drop.parent.mkdir(parents=True)
        rows = "".join(f"Bolsa sobe no dia {number} e dólar recua,neutral\n" for number in range(_ROWS))
        drop.write_text(f"title,sentiment\n{rows}", encoding="utf-8")
        with seeded(NIGHTS, place / "postgres") as settings:
            environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
                "AIRFLOW_HOME": str(place / "airflow"),
                "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "STATE_DIR": str(place / "state"),
                "DROPS_DIR": str(place / "drops"),
                # Each night has a cut-off, which its drop is held against.
                "SCHEDULED_FROM": str(FIRST_NIGHT),
                "MLMD_PORT": str(settings.mlmd_port),
                "MLMD_PASSWORD": settings.secret("mlmd_password"),
            }
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.pages", "measure"]
            return subprocess.run(command, env=environment, cwd=CHECKOUT, check=False).returncode


def measure() -> int:
    """Asks for every page several times.

    Returns:
      The exit code.
    """
    from airflow.utils.db import initdb
    from airflow.www.app import create_app

    initdb()
    app = create_app()
    security = app.appbuilder.sm
    with app.app_context():
        security.sync_roles()
        user = security.add_user("admin", "a", "b", "admin@example.com", security.find_role("Admin"), "irrelevant")
        identity = str(user.id)
    client = app.test_client()
    with client.session_transaction() as session:
        session["_user_id"], session["_fresh"] = identity, True
    table = Table("page", "median", "slowest", "size", "status")
    medians, failed = [], False
    for name, address in PAGES.items():
        milliseconds = []
        for _ in range(_TIMES + 1):
            start = time.perf_counter()
            answer = client.get(address)
            milliseconds.append(1000 * (time.perf_counter() - start))
        # The first reads the template.
        medians.append(statistics.median(milliseconds[1:]))
        failed = failed or answer.status_code != 200
        size = f"{len(answer.data) / 1000:.0f} kB"
        table.add_row(name, f"{medians[-1]:.0f} ms", f"{max(milliseconds[1:]):.0f} ms", size, str(answer.status_code))
    console = Console(width=100)
    console.print(table)
    console.print(f"slowest page {max(medians):.0f} ms (target {MAX_MILLISECONDS:.0f} ms) at {NIGHTS} nights")
    return int(failed or max(medians) > MAX_MILLISECONDS)


if __name__ == "__main__":
    sys.exit(measure() if sys.argv[1:] == ["measure"] else main())
