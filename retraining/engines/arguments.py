"""The settings of an engine as arguments of Beam: the only translation of one into the other."""

import importlib.metadata
from pathlib import Path

from retraining.engines import EngineError
from retraining.settings import Settings

LOCAL = (
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "--sdk_container_image=unused",
    "--direct_num_workers=1",
)
"""One process, without Prism, which Beam's default runner would download, and without an sdist of TFX for each node."""
_MAVEN_REPOSITORY = Path("~/.m2/repository")
_GROUP = "org.apache.beam"
# Between two stages of a job, so that a worker starts once and not for each; it ends that long after the job.
_KEEP_WORKERS_MILLISECONDS = 60_000


def list_arguments(settings: Settings) -> list[str]:
    """The pipeline arguments of every data node.

    Raises:
      EngineError: the jar of the engine's job server is not there.
    """
    match settings.beam:
        case "local":
            return list(LOCAL)
        case "args":
            return list(settings.beam_runner_args)
        case "flink":
            own = [
                "--runner=FlinkRunner",
                f"--flink_master={settings.flink_master}",
                f"--flink_version={settings.flink_version}",
                f"--flink_job_server_jar={find_job_server(settings)}",
                f"--parallelism={settings.beam_parallelism}",
            ]
        case "spark":
            own = [
                "--runner=SparkRunner",
                f"--spark_master_url={settings.spark_master}",
                f"--spark_job_server_jar={find_job_server(settings)}",
                f"--job_server_jvm_properties=-Dspark.default.parallelism={settings.beam_parallelism}",
                # It would listen on every address, for as long as the node's work takes.
                "--job_server_jvm_properties=-Dspark.ui.enabled=false",
                # Beam keeps up to 100 messages of a worker (BeamFnDataInboundObserver), and each may have 10 MB.
                "--job_server_jvm_properties=-Dspark.executor.memory=2g",
                # Java's own cannot send what a stage of several outputs has made (`RawUnionValue`, no issue known): the
                # other executor would make it again.
                "--job_server_jvm_properties=-Dspark.serializer=org.apache.spark.serializer.KryoSerializer",
                # What Spark 3 wants of Java 17, as its own launcher gives it (JavaModuleOptions of apache/spark).
                *(f"--job_server_jvm_properties={option}" for option in SPARK_JAVA_OPTIONS),
            ]
    return [
        *own,
        "--environment_type=EXTERNAL",
        f"--environment_config={settings.beam_worker_pool}",
        f"--environment_cache_millis={_KEEP_WORKERS_MILLISECONDS}",
        # A worker pool has the packages: no sdist of TFX is made for it.
        "--sdk_container_image=unused",
    ]


SPARK_JAVA_OPTIONS = (
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in (
            "java.lang",
            "java.lang.invoke",
            "java.lang.reflect",
            "java.io",
            "java.net",
            "java.nio",
            "java.util",
            "java.util.concurrent",
            "java.util.concurrent.atomic",
            "sun.nio.ch",
            "sun.nio.cs",
            "sun.security.action",
            "sun.util.calendar",
        )
    ),
    "-Djdk.reflect.useDirectMethodHandle=false",
)


def find_job_server(settings: Settings) -> Path:
    """The jar of the program that hands jobs to the cluster: BEAM_JOB_SERVER, or where Maven keeps what it fetched.

    Raises:
      EngineError: it is not there; the message has the command that fetches it.
    """
    if settings.beam_job_server is not None:
        if settings.beam_job_server.is_file():
            return settings.beam_job_server
        raise EngineError(f"BEAM_JOB_SERVER={settings.beam_job_server}: there is no such file; correct it, or unset it")
    version = importlib.metadata.version("apache-beam")
    name = f"beam-runners-flink-{settings.flink_version}" if settings.beam == "flink" else "beam-runners-spark-3"
    artifact = f"{name}-job-server"
    jar = _MAVEN_REPOSITORY.expanduser() / _GROUP.replace(".", "/") / artifact / version / f"{artifact}-{version}.jar"
    if jar.is_file():
        return jar
    raise EngineError(
        f"BEAM={settings.beam} needs Beam's job server, and {jar} is not there; fetch it before a night needs it: "
        f"`mvn dependency:get -Dtransitive=false -Dartifact={_GROUP}:{artifact}:{version}`, or name a copy by "
        "BEAM_JOB_SERVER"
    )
