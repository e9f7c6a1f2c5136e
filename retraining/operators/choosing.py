"""Choosing what a run works on: the night of a search, the unlabelled headlines to score."""

import logging
from collections.abc import Sequence
from typing import Any

import pendulum
from airflow.exceptions import AirflowSkipException
from airflow.models.baseoperator import BaseOperator
from airflow.utils.context import Context

import lineage
from headlines.drops.drops_folder import DropError, DropsFolder, check_drop, list_unlabelled, parse_night
from headlines.schedule import check_night
from retraining.nights.unscored import find_pending
from retraining.operators.callbacks import CHAMPION
from retraining.recording.refusals import fail_at_once
from retraining.settings import Settings

log = logging.getLogger(__name__)


class ChooseNight(BaseOperator):
    """Returns the night to search on: the one that was asked for, or the newest with a complete drop when it is due.

    Args:
      night: `YYYY-MM-DD`, or empty or `None` for the newest; templated.
    """

    template_fields: Sequence[str] = ("night",)

    def __init__(self, *, night: str, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night
        self._settings = settings

    @fail_at_once()
    def execute(self, context: Context) -> str:
        """Returns the night."""
        if self.night not in ("", "None"):
            check_night(self._settings, self.night)
            self._check_drop(self.night, wait_while_growing=True)
            return self.night
        run = context["dag_run"]
        scheduled = run.run_type == "scheduled"
        today = pendulum.instance(run.data_interval_end if scheduled else run.logical_date)
        today = today.in_timezone(self._settings.timezone).date()
        # Airflow makes up for the last date of the schedule as soon as it is started (apache/airflow#38168).
        if scheduled and str(today) <= self._settings.scheduled_from:
            raise AirflowSkipException(
                f"this search was due on {today}, before the day after the service was first started "
                f"({self._settings.scheduled_from}); to search now: `retraining exec airflow dags trigger "
                f"{context['dag'].dag_id}`"
            )
        for night in reversed(DropsFolder(self._settings.drops_dir).nights):
            is_due = self._settings.start_date <= night.isoformat() <= today.isoformat()
            if is_due and self._is_complete(night.isoformat()):
                log.info("Searching on the window of night %s.", night)
                return night.isoformat()
        raise (AirflowSkipException if scheduled else DropError)(
            f"no night from {self._settings.start_date} up to {today} has a complete drop in "
            f"{self._settings.drops_dir}; deliver one, or name a night"
        )

    def _is_complete(self, night: str) -> bool:
        try:
            self._check_drop(night)
        except DropError as error:
            log.info("Night %s is passed over: %s", night, error)
            return False
        return True

    def _check_drop(self, night: str, wait_while_growing: bool = False) -> None:
        check_drop(
            str(self._settings.drops_dir),
            night,
            require_success_marker=self._settings.require_success_marker,
            settle_seconds=self._settings.drop_settle_seconds,
            wait_while_growing=wait_while_growing,
        )


class FindUnlabelled(BaseOperator):
    """Returns the `nights` to score and the `version` to score them with; is skipped when there is nothing new.

    The version is that of the push which triggered the run, the greatest of several; of a run by hand, what serves.

    Args:
      night: `YYYY-MM-DD` of the only night to look at, or empty or `None` for all; templated.
      force: whether to score again what is scored, templated.
    """

    template_fields: Sequence[str] = ("night", "force")

    def __init__(self, *, night: str, force: str, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night
        self.force = force
        self._settings = settings

    @fail_at_once()
    def execute(self, context: Context) -> dict[str, str]:
        """Returns what to score, and with what."""
        night = None if self.night in ("", "None") else self.night
        if night and parse_night(night) not in list_unlabelled(self._settings.drops_dir, 0):
            raise DropError(
                f"night {night} has nothing to score: {self._settings.drops_dir}/{night}/ holds no unlabelled*.csv; "
                "deliver one, or name another night"
            )
        version = self._find_version(context)
        nights = find_pending(self._settings, version, night, self.force == "True")
        if not nights:
            raise AirflowSkipException(
                f"nothing new to score with version {version}: {self._settings.drops_dir}/{night or '<night>'}/ holds "
                f"no unlabelled*.csv that is newer than its scores in {self._settings.scores_dir}. To score a night "
                "again, trigger this with `night` and `force`"
            )
        log.info("Version %s scores %s.", version, ", ".join(nights))
        return {"nights": ",".join(nights), "version": version}

    def _find_version(self, context: Context) -> str:
        events = context["triggering_dataset_events"].get(CHAMPION.uri, [])
        if versions := [str(event.extra["version"]) for event in events if "version" in event.extra]:
            return max(versions)
        # By hand.
        serving = lineage.serving_version(self._settings)
        if serving is None:
            raise AirflowSkipException("nothing is pushed yet, so there is no model to score with")
        return str(serving.version)
