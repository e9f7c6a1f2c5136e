"""The root of all errors that a person is shown in one line: what happened, which value, what to do.

    HeadlinesError
    +-- SettingsError                 (retraining.settings) a setting is missing or cannot be used
    +-- SourceError                   (retraining.secret_sources) a secret cannot be had from where a setting says it is
    +-- DropError                     (headlines.drops.drops_folder) a drop cannot be used as a whole
    |   +-- GrowingDropError          (headlines.drops.drops_folder) * its files changed a moment ago
    |   +-- EmptyFileError            (headlines.drops.rows) a file of it has no rows
    |   +-- UnreachableDropError      (headlines.drops.drops_folder) * the disk or the network below it does not answer
    |   +-- ChangedDropError          (tfx_components.headline_example_gen.driver) it is not what an earlier run used
    +-- LowDiskError                  (headlines.disk) less of a disk is free than a night needs
    +-- BadDropError                  (tfx_components.gate) a drop can be read, and nothing may be trained on it
    +-- SearchError                   (tfx_components.tuner) a search for hyperparameters found nothing
    +-- PushError                     (headlines.pushes.publishing) * a model could not be published
    |   +-- FutilePushError             (headlines.pushes.publishing) nor can it until somebody mends something
    |   +-- RefusedError              (headlines.pushes.publishing) it may not be published after all
    |       +-- ChampionChangedError  (headlines.pushes.publishing) its blessing is stale
    |       +-- RolledBackError       (headlines.pushes.publishing) it is a model that was rolled back
    +-- NightError                    (headlines.schedule) a night may not be run
    +-- ConfigError                   (headlines.pushes.rollbacks) the model servers' config file is none
    +-- RollbackError                 (retraining.recording.rollback) the version does not serve, or not yet
    +-- NoteError                     (headlines.notes) a note is not written
    +-- NoticeError                   (retraining.notices.sending) nobody can be told at an address of NOTIFY
    +-- AcceptanceError               (retraining.recording.acceptances) a drop is not accepted
    +-- AddressError                  (headlines.postgres_address) the address of a database cannot be used
    +-- LineageError                  (lineage.database) * lineage cannot be read
    +-- UnknownError                  (lineage.database) lineage does not know what was asked for
    +-- StoreError                    (retraining.recording.store) * MLMD's database cannot be used
    |   +-- NightTakenError           (retraining.recording.advisory_locks) * another run trains the night
    |   +-- PlainConnectionError      (retraining.recording.store) MLMD would send in clear what must be encrypted
    |   +-- RecordError               (retraining.recording.store) MLMD can never take or give what is asked of it
    +-- SharingError                  (retraining.workers.sharing) a worker does not share what it must
    +-- WorkerError                   (retraining.workers.command) no worker can run here
    +-- BrokerError                   (retraining.workers.asking) the broker does not answer
    +-- EngineError                   (retraining.engines) the engine of the data nodes cannot be used
    |   +-- UnreachableEngineError    (retraining.engines) * a cluster or a worker pool does not answer
    +-- LostRowsError                 (retraining.engines) a data node lost rows that it was given
    +-- PlacesError                   (retraining.places.relocation) the service lies elsewhere than its lineage says
    +-- UnsupportedPipelineError      (retraining.recording.launcher) AirflowDagRunner would ignore a part of a pipeline
    +-- GoneError                     (retraining.recording.pushed_copies) the files of an input are gone
    +-- DiskFullError                 (retraining.recording.launcher) * an attempt found no space left
    +-- SinkError                     (retraining.openlineage.transport) * an OpenLineage event was not sent
    +-- LocalError                    (retraining.local) the service on this machine cannot do what was asked
        +-- LockedError               (retraining.local.lock) another command is at work on the same state folder
        +-- PortTakenError            (retraining.local.ports) a port of the service cannot be used
        +-- PostgresError             (retraining.local.postgres) the embedded server cannot be used
        +-- RedisError                (retraining.local.redis_server) there is no Redis to run
        +-- SupervisorError           (retraining.local.supervisor) the supervisor or one of its programs does not run
        +-- PreparationError          (retraining.local.preparation) a database cannot be reached or prepared
        +-- StandingError             (retraining.local.standing) programs and databases do not go together
        +-- UpgradeError              (retraining.upkeep) the service was not upgraded
        +-- DumpError                 (retraining.upkeep.dumps) a database could not be written to a file or read
        +-- ServiceError              (retraining.local.service) the service could not be started
        |   +-- UnhealthyError        (retraining.local.service) it runs, and not all of it is healthy
        +-- UnitError                 (retraining.boot.unit) the service cannot be started at boot as it is
        +-- RotationError             (retraining.upkeep.rotation) secrets cannot be rotated now, or by that name
        +-- ApiError                  (retraining.local.api) Airflow refused or did not answer
        +-- DumpError                     (retraining.upkeep.dumps) a database could not be written to a file or read
        +-- BackupError                   (retraining.upkeep.archive) a backup could not be written or cannot be used
        +-- TakenError                (retraining.nights.in_process) another process trains the night
        +-- ReplayError               (retraining.nights.past) what a replay needs is gone
        +-- RehearsalError            (retraining.nights.rehearsal) the schedule did not do what it should

The model server, which imports nothing of ours, has its own in serving/errors.py; what a modeller edits has one in
modules/errors.py, which a task takes as one without a star.

With a star: it may pass by itself, so a task that fails with it is tried again. Of all others the same comes again, so
Airflow is told to fail at once.
"""


class HeadlinesError(Exception):
    """Something that a person can act on; the message says what happened, which value, and what to do.

    Attributes:
      may_pass: whether it may be gone at the next attempt without anybody doing anything.
    """

    may_pass = False
