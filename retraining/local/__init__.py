"""The one-box runtime: an embedded Postgres and Airflow's processes, kept by a supervisor.

Nothing here may import tfx, tensorflow or airflow: those run in processes of their own.

    LocalError
    +-- LockedError        another command is at work on the same state folder
    +-- PortTakenError     a port of the service cannot be used
    +-- PostgresError      the embedded server cannot be used
    +-- SupervisorError    the supervisor or one of its programs does not run
    +-- PreparationError   a database cannot be reached or prepared
    +-- ServiceError       the service could not be started
    +-- ApiError           Airflow refused or did not answer
    +-- TakenError         (retraining.nights.in_process) another process trains the night or works in the same folder
    +-- ReplayError        (retraining.nights.replay) what a replay needs is gone
"""


class LocalError(RuntimeError):
    """The service cannot do what was asked; the message says what happened and what to do."""
