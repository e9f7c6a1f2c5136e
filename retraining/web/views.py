"""The routes of the pages and of their JSON twins: may this person see it, what does lineage say, draw it."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from airflow.www.extensions.init_auth_manager import get_auth_manager
from flask import Response, jsonify, make_response, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_appbuilder import BaseView, expose
from werkzeug.exceptions import HTTPException

import lineage
from headlines.command import show_on_page
from headlines.drops.drops_folder import DropError
from headlines.notes import NoteError
from lineage import LineageError, Names, Reader, UnknownError
from retraining.settings import Settings, SettingsError
from retraining.web import access, documents, headers, moments, pages
from retraining.web.charts import MOST_ROWS
from retraining.web.menu import MENU
from retraining.web.page import Page

NAMES = lineage.OURS
"""Of which pipeline the pages tell."""

# What readers are told of faults that are none of theirs. The reason names hosts, databases and statements: it goes to
# the log, for those who run the service.
_SEE_LOG = "Whoever runs the service finds why in the web server's log (`retraining logs webserver`)"
_UNREADABLE = (
    f"Its database does not answer, or not as it should. {_SEE_LOG} or by `retraining doctor`. Where it is looked for: "
    "MLMD_HOST, MLMD_PORT, MLMD_DATABASE, MLMD_USER and MLMD_PASSWORD."
)
_UNREACHED = f"What this page shows lies where nothing can be read at this moment. {_SEE_LOG}."
_UNUSABLE = f"A setting of the service is missing or cannot be used. {_SEE_LOG} or by `retraining doctor`."

log = logging.getLogger(__name__)

View = Callable[..., ResponseReturnValue]


def route(*addresses: str, needs: str = "GET", method: str = "GET") -> Callable[[View], View]:
    """Puts a view at some addresses, for those whom Airflow lets see (or change) what is called Headlines.

    Anyone else is sent to log in, or told no, before a word of lineage is read. Who asks for JSON may log in as for
    Airflow's own API. Whatever a view stumbles over, nobody is shown a traceback.

    Args:
      *addresses: under /headlines.
      needs: `GET` for `can_read`, `PUT` for `can_edit`.
      method: of HTTP.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def guarded(self: "HeadlinesView", *args: Any, **kwargs: Any) -> ResponseReturnValue:
            challenges = access.authenticate() if headers.is_api() else []
            if not access.may(needs):
                return self.refuse(needs) if get_auth_manager().is_logged_in() else self.ask_to_log_in(challenges)
            try:
                return view(self, *args, **kwargs)
            except HTTPException:
                raise
            except Exception:
                log.exception("%r cannot be answered", request.full_path)
                return self.tell("This page cannot be made", f"There is a fault in the program. {_SEE_LOG}.", 500)

        for address in addresses:
            expose(address, methods=[method])(guarded)
        return guarded

    return decorate


class HeadlinesView(BaseView):
    """Every page about headlines; each is also at the same address under /headlines/api, as JSON."""

    route_base = "/headlines"
    default_view = "serving"
    class_permission_name = access.RESOURCE
    base_permissions = ["can_read", "can_edit"]  # noqa: RUF012
    extra_args = {"menu": MENU, "most_rows": MOST_ROWS}  # noqa: RUF012

    @route("/", "/api/serving")
    def serving(self) -> ResponseReturnValue:
        """Now serving."""
        metric, nights = request.args.get("metric"), request.args.get("nights", 180, type=int)
        return self._answer(
            "serving", lambda reader: pages.now_serving(reader, read_settings(), metric, max(1, min(nights, 5000)))
        )

    @route("/nights", "/api/nights")
    def nights(self) -> ResponseReturnValue:
        """The calendar."""
        year = request.args.get("year", type=int)
        chosen = year if year and 1 <= year <= 9999 else None
        return self._answer("nights", lambda reader: pages.nights(reader, read_settings(), chosen))

    @route("/night/<night>", "/api/night/<night>")
    def night(self, night: str) -> ResponseReturnValue:
        """One night."""
        return self._answer("night", lambda reader: pages.night(reader, night))

    @route("/night/<night>/accept", needs="PUT", method="POST")
    def accept_drop(self, night: str) -> ResponseReturnValue:
        """Accepts the drop of a night as it is, and shows the night; the CSRF token is checked as a rollback's."""
        # Only here: it brings MLMD's own library, which no page needs.
        from retraining.recording.acceptances import AcceptanceError, accept_drop
        from retraining.recording.store import StoreError

        reason, by = request.form.get("reason", ""), get_auth_manager().get_user_name()
        seen = request.form.get("version", type=int)
        try:
            ruling = accept_drop(read_settings(), night, reason, by, NAMES.pipeline, seen)
        except (AcceptanceError, DropError, StoreError, SettingsError) as error:
            log.warning("%s could not accept the drop of night %r: %s", by, night, error)
            is_theirs = isinstance(error, AcceptanceError | DropError)
            said = {"problem": str(error) if is_theirs else f"Nothing was written. {_UNREADABLE}", "reason": reason}
            answer = make_response(self._answer("night", lambda reader: {**pages.night(reader, night), **said}))
            answer.status_code = max(answer.status_code, 409 if is_theirs else 503)
            return answer
        log.warning("%s accepted version %d of the drop of night %s: %s", by, ruling.version, night, ruling.why)
        return redirect(url_for("HeadlinesView.night", night=night, _anchor="drop"))

    @route("/night/<night>/quarantine", "/api/night/<night>/quarantine")
    def quarantine(self, night: str) -> ResponseReturnValue:
        """The quarantined rows of a night."""
        reason, of = request.args.get("reason", ""), request.args.get("of") or night
        return self._ask(
            lambda reader: self._show_rows(
                "quarantine", pages.quarantine(reader, night, *_page(), reason, of), f"quarantine-{night}"
            )
        )

    @route("/drop/<night>/<int:version>", "/api/drop/<night>/<int:version>")
    def drop(self, night: str, version: int) -> ResponseReturnValue:
        """The rows of a drop, which are files: this page needs no database."""
        return self._try(
            lambda: self._show_rows(
                "drop", pages.rows(read_settings(), night, version, *_page()), f"drop-{night}-v{version}"
            )
        )

    @route("/model/<name>", "/api/model/<name>")
    def model(self, name: str) -> ResponseReturnValue:
        """One model, by version, night or id (`id57`, since `#57` would end an address)."""
        return self._answer("model", lambda reader: pages.model(reader, _model_name(name)))

    @route("/models", "/api/models")
    def models(self) -> ResponseReturnValue:
        """The list of models."""
        state, (page, search) = request.args.get("state", ""), _page()
        return self._answer("models", lambda reader: pages.models(reader, state, search, page))

    @route("/check/<name>", "/api/check/<name>")
    def check(self, name: str) -> ResponseReturnValue:
        """One check of the quality bar over nights."""
        nights = request.args.get("nights", 180, type=int)
        return self._answer("check", lambda reader: pages.check(reader, name, max(1, min(nights, 5000))))

    @route("/quality-bar", "/api/quality-bar")
    def quality_bar(self) -> ResponseReturnValue:
        """What a candidate must show, as our document says it: this page needs no database."""
        return self._try(lambda: self._show("quality_bar", pages.quality_bar()))

    @route("/recall", "/api/recall")
    def recall(self) -> ResponseReturnValue:
        """What a drop touched."""
        night, _, version = request.args.get("drop", "").partition(":")
        number = int(version[:20]) if version.isdecimal() else None
        return self._answer("recall", lambda reader: pages.recall(reader, night or None, number))

    @route("/compare", "/api/compare")
    def compare(self) -> ResponseReturnValue:
        """Two models side by side."""
        a, b = (_model_name(request.args.get(name, "")) or None for name in "ab")
        return self._answer("compare", lambda reader: pages.compare(reader, a, b))

    @route("/drift", "/api/drift")
    def drift(self) -> ResponseReturnValue:
        """How the data of nights drift."""
        nights = request.args.get("nights", 180, type=int)
        return self._answer("drift", lambda reader: pages.drift(reader, max(1, min(nights, 5000))))

    @route("/scores", "/api/scores")
    def scores(self) -> ResponseReturnValue:
        """What pushed models said of unlabelled headlines."""
        night = request.args.get("night") or None
        return self._answer("scores", lambda reader: pages.scores(reader, night))

    @route("/tuning", "/api/tuning")
    def tuning(self) -> ResponseReturnValue:
        """Searches for better hyperparameters."""
        search = request.args.get("search", type=int)
        return self._answer("tuning", lambda reader: pages.tuning(reader, search))

    @route("/notes", "/api/notes")
    def notes(self) -> ResponseReturnValue:
        """Every note on a night or a version."""
        return self._answer("notes", pages.notes)

    @route("/notes", needs="PUT", method="POST")
    def write_note(self) -> ResponseReturnValue:
        """Writes a note, or withdraws one, and shows it where it belongs; the CSRF token is checked as a rollback's."""
        # Only here: it brings MLMD's own library, which no page needs.
        from retraining.recording import notes
        from retraining.recording.store import StoreError

        form, by = request.form, get_auth_manager().get_user_name()
        text, night = form.get("text", ""), form.get("night") or None
        try:
            withdrawn, version = (_read_number(form, name) for name in ("withdraw", "version"))
            if withdrawn is None:
                note = notes.write_note(read_settings(), text, by, night, version, NAMES.pipeline)
            else:
                note = notes.withdraw_note(read_settings(), withdrawn, text, by, NAMES.pipeline)
        except (NoteError, DropError, StoreError, SettingsError) as error:
            log.warning("%s could not write a note: %s", by, error)
            is_theirs = isinstance(error, NoteError | DropError)
            problem = str(error) if is_theirs else f"Nothing was written. {_UNREADABLE}"
            answer = make_response(self._answer("notes", lambda reader: pages.notes(reader, form.to_dict(), problem)))
            answer.status_code = max(answer.status_code, 400 if is_theirs else 503)
            return answer
        log.info("%s wrote note %s on night %s", by, note.id, note.night)
        if note.version is None:
            return redirect(url_for("HeadlinesView.night", night=note.night, _anchor="notes"))
        return redirect(url_for("HeadlinesView.model", name=note.version, _anchor="notes"))

    @route("/graph", "/api/graph")
    def graph(self) -> ResponseReturnValue:
        """Lineage as a picture."""
        night, full = request.args.get("night") or None, "full" in request.args
        return self._answer("graph", lambda reader: pages.graph(reader, night, full))

    @route("/execution/<int:identity>", "/api/execution/<int:identity>")
    def execution(self, identity: int) -> ResponseReturnValue:
        """One attempt of a node."""
        return self._answer("execution", lambda reader: pages.execution(reader, identity))

    @route("/task")
    def task(self) -> ResponseReturnValue:
        """From a task of any DAG to the execution of its newest attempt."""
        dag_id, run_id, node = (request.args.get(name, "") for name in ("dag_id", "run_id", "node"))

        def find(reader: Reader) -> ResponseReturnValue:
            return redirect(url_for("HeadlinesView.execution", identity=pages.newest_attempt(reader, run_id, node)))

        return self._ask(find, dataclasses.replace(NAMES, pipeline=dag_id))

    @route("/run")
    def run(self) -> ResponseReturnValue:
        """From a run of any DAG to the night it is for."""
        dag_id, run_id = (request.args.get(name, "") for name in ("dag_id", "run_id"))

        def find(reader: Reader) -> ResponseReturnValue:
            return redirect(url_for("HeadlinesView.night", night=lineage.find_night(reader, run_id)))

        return self._ask(find, NAMES if dag_id == NAMES.pipeline else Names(pipeline=dag_id, sensor=None))

    @route("/rollback", needs="PUT")
    def choose_rollback(self) -> ResponseReturnValue:
        """Asks which version to go back to, and why."""
        to = request.args.get("to", type=int)
        return self._answer("rollback", lambda reader: pages.rollback_choices(reader, read_settings(), to))

    @route("/rollback", needs="PUT", method="POST")
    def rollback(self) -> ResponseReturnValue:
        """Rolls back, and shows what serves then; Airflow checks the CSRF token of every POST before it comes here."""
        # Only here: it brings MLMD's own library, which no page needs.
        from retraining.recording.rollback import RollbackError, roll_back
        from retraining.recording.store import StoreError

        to, reason = request.form.get("to", type=int), request.form.get("reason", "")
        by = get_auth_manager().get_user_name()
        try:
            if to is None:
                # The command takes the version before; who fills in a form has seen which one that is.
                raise RollbackError("choose the version to serve")
            outcome = roll_back(read_settings(), reason, by, to)
        except (RollbackError, StoreError, SettingsError) as error:
            log.warning("%s could not roll back to %s: %s", by, to, error)
            said = str(error) if isinstance(error, RollbackError) else f"Nothing was changed. {_UNREADABLE}"
            problem = {"problem": said, "reason": reason}
            answer = make_response(
                self._answer(
                    "rollback", lambda reader: {**pages.rollback_choices(reader, read_settings(), to), **problem}
                )
            )
            answer.status_code = max(answer.status_code, 409)
            return answer
        log.warning("%s rolled back from %s to %s: %s", by, outcome.from_version, outcome.to_version, outcome.reason)
        return redirect(url_for("HeadlinesView.serving"))

    def _answer(self, template: str, ask: Callable[[Reader], Page]) -> ResponseReturnValue:
        """One consistent look at lineage, as a page or as JSON."""
        return self._ask(lambda reader: self._show(template, ask(reader)))

    def _ask(self, ask: Callable[[Reader], ResponseReturnValue], names: Names | None = None) -> ResponseReturnValue:
        def look() -> ResponseReturnValue:
            with lineage.open_lineage(read_settings(), names or NAMES) as reader:
                return ask(reader)

        return self._try(look)

    def _try(self, answer: Callable[[], ResponseReturnValue]) -> ResponseReturnValue:
        try:
            return answer()
        except UnknownError as error:
            return self.tell("Not known", str(error.args[0]) if error.args else "It is not known.", 404)
        except LineageError as error:
            log.error("%r: lineage cannot be read: %s", request.path, error)
            return self.tell("Lineage cannot be read", _UNREADABLE, 503)
        except SettingsError as error:
            log.error("%r: a setting cannot be used: %s", request.path, error)
            return self.tell("The settings cannot be used", _UNUSABLE, 503)
        except OSError as error:
            problem = read_settings().explain(error)
            if problem is None:
                raise
            log.error("%r: a place cannot be read: %s", request.path, problem)
            return self.tell("A place of the service cannot be read", _UNREACHED, 503)

    def _show(self, template: str, page: Page) -> ResponseReturnValue:
        if headers.is_api():
            return jsonify(version=lineage.VERSION, **_without_pictures(page))
        return self._render(template, pipeline=NAMES.pipeline, **page)

    def _render(self, template: str, **values: Any) -> str:
        page = str(self.render_template(f"headlines/{template}.html", **values))
        # Flask-AppBuilder's outermost template names no language, and has no block for it (no issue known).
        return show_on_page(page.replace("<html>", '<html lang="en">', 1))

    def _show_rows(self, template: str, page: Page, name: str) -> ResponseReturnValue:
        if request.args.get("format") != "csv":
            return self._show(template, page)
        # With a byte order mark, by which spreadsheets know that it is UTF-8 (no issue known).
        text = "\ufeff" + documents.to_csv(page["all_rows"])
        return Response(
            text, mimetype="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}.csv"'}
        )

    def ask_to_log_in(self, challenges: list[str]) -> ResponseReturnValue:
        """Sends a person to log in, and tells a script how."""
        if not headers.is_api():
            return redirect(get_auth_manager().get_url_login(next_url=request.url))
        answer = make_response(*self.tell("", "log in, with each request, as for Airflow's own API", 401))
        for challenge in challenges:
            answer.headers.add("WWW-Authenticate", challenge)
        return answer

    def refuse(self, needs: str) -> ResponseReturnValue:
        """Says no to somebody who is known, and which role may."""
        role, permission = (access.READER, "can read") if needs == "GET" else (access.EDITOR, "can edit")
        text = (
            f"This needs the permission `{permission} on {access.RESOURCE}`, which the role {role} has; ask whoever "
            "administers Airflow for it."
        )
        return self.tell("Not allowed", text, 403)

    def tell(self, title: str, text: str, status: int) -> tuple[Response | str, int]:
        """What is wrong, as a page or as JSON."""
        if headers.is_api():
            return jsonify(error=text), status
        return self._render("problem", title=title, text=text), status


@functools.cache
def read_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings.from_env()


def _tell_local(moment: datetime) -> str:
    return moments.tell_local(moment, read_settings().timezone)


FILTERS: dict[str, Callable[[datetime], str]] = {
    "moment": moments.tell_moment,
    "local": _tell_local,
    "age": moments.tell_age,
    "span": moments.tell_span_since,
}
"""What templates say of a moment; there each name begins with `headlines_`."""


def _without_pictures(page: Page) -> dict[str, Any]:
    """Where boxes are drawn is a page's own affair, and so are rows on other pages than the one asked for."""
    answer: dict[str, Any] = lineage.to_json(
        {name: v for name, v in page.items() if name not in ("picture", "chart", "axes", "rendered", "all_rows")}
    )
    return answer


def _page() -> tuple[int, str]:
    return request.args.get("page", 1, type=int), request.args.get("search", "")


def _read_number(form: Mapping[str, str], name: str) -> int | None:
    """A number that was filled in; None for an empty field.

    Raises:
      NoteError: it is none: to drop it would be to write something else than was meant.
    """
    text = form.get(name, "").strip()
    # Python reads no number of thousands of digits, and none has so many.
    if text and not (text.isdecimal() and len(text) < 20):
        raise NoteError(f"{name} {text[:40]!r} is no number: write its digits and nothing else")
    return int(text) if text else None


def _model_name(name: str) -> str:
    return f"#{name[2:]}" if name.startswith("id") and name[2:].isdecimal() else name
