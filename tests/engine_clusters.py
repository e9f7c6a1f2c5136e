"""Real clusters of Flink and Spark on this machine, from what Maven has, each as plain processes on loopback."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
from free_ports import free_port
from waiting import wait_until

from retraining.engines import EngineError, readiness
from retraining.engines.arguments import SPARK_JAVA_OPTIONS, find_job_server
from retraining.settings import CHECKOUT, Settings

_POMS = Path(__file__).resolve().parent / "data" / "engines"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
_MAVEN_SECONDS = 540
# As `bin/taskmanager.sh` of Flink 1.20 has them, from `env.java.opts.all` of its conf/config.yaml.
_FLINK_JAVA_OPTIONS = [
    # Else a thread of Beam's ends, and the job waits forever for it.
    "-XX:+ExitOnOutOfMemoryError",
    *(
        f"--add-exports={place}=ALL-UNNAMED"
        for place in ("java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5")
    ),
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in (
            *("java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text"),
            *("java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic"),
            "java.util.concurrent.locks",
        )
    ),
]
# What `bin/taskmanager.sh` works out of `taskmanager.memory.process.size`.
_FLINK_MEMORY = {
    "taskmanager.cpu.cores": "1.0",
    **{f"taskmanager.memory.network.{end}": "256mb" for end in ("min", "max")},
    **{f"taskmanager.memory.jvm-overhead.{end}": "192mb" for end in ("min", "max")},
    "taskmanager.memory.managed.size": "256mb",
    # Beam's runner keeps up to 100 messages of a worker (BeamFnDataInboundObserver), and each may have 10 MB.
    "taskmanager.memory.task.heap.size": "1536mb",
    "taskmanager.memory.task.off-heap.size": "0b",
    "taskmanager.memory.framework.heap.size": "128mb",
    "taskmanager.memory.framework.off-heap.size": "128mb",
    "taskmanager.memory.jvm-metaspace.size": "256mb",
}


class UnavailableError(Exception):
    """Something of a cluster cannot be had on this machine; the message says what."""


def run_maven(*arguments: str) -> None:
    """Runs Maven.

    Raises:
      UnavailableError: there is none, or it cannot fetch what it should.
    """
    if shutil.which("mvn") is None or shutil.which("java") is None:
        raise UnavailableError("there is no `mvn` or no `java`")
    try:
        done = subprocess.run(["mvn", "-B", "-q", *arguments], capture_output=True, text=True, timeout=_MAVEN_SECONDS)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"`mvn {' '.join(arguments)}` takes too long") from None
    if done.returncode:
        raise UnavailableError((done.stdout + done.stderr).partition(" -> [Help")[0].strip()[-400:])


def find_classpath(kind: str, folder: Path) -> list[str]:
    """The jars of a cluster, fetched as far as they are not there."""
    target = folder / "classpath"
    pom = _POMS / f"{kind}.xml"
    run_maven("-f", str(pom), f"{_PLUGIN}:build-classpath", f"-Dmdep.outputFile={target}", "-DincludeScope=runtime")
    return target.read_text().strip().split(":")


def find_or_fetch_job_server(kind: str) -> Path:
    """The jar of Beam's job server: that of `<KIND>_JOB_SERVER`, or Maven's.

    Raises:
      UnavailableError: it cannot be had.
    """
    if given := os.environ.get(f"{kind.upper()}_JOB_SERVER"):
        return Path(given)
    master = {"flink": {"flink_master": "localhost:1"}, "spark": {"spark_master": "spark://localhost:1"}}[kind]
    settings = Settings.from_env(beam=kind, **master)
    try:
        return find_job_server(settings)
    except EngineError as error:
        artifact = str(error).partition("-Dartifact=")[2].partition("`")[0]
    run_maven(f"{_PLUGIN}:get", "-Dtransitive=false", f"-Dartifact={artifact}")
    return find_job_server(settings)


class Processes:
    """Programs that are ended together, each with a log in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str], **environment: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self, name: str) -> None:
        """Kills a program and all that it started, as a machine that loses its power does."""
        process = self.running.pop(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        for name in reversed(list(self.running)):
            self.kill(name)


class Cluster(Processes):
    """A cluster with two machines' worth of workers, and one worker pool, which both have beside them.

    Attributes:
      variables: the settings by which a service uses it.
    """

    kind = ""

    def __init__(self, folder: Path, job_server: Path) -> None:
        super().__init__(folder)
        self.classpath = find_classpath(self.kind, folder)
        self.pool_port = free_port()
        self.variables = {
            "BEAM": self.kind,
            "BEAM_PARALLELISM": "2",
            "BEAM_WORKER_POOL": f"localhost:{self.pool_port}",
            "BEAM_JOB_SERVER": str(job_server),
        }

    def start_all(self) -> None:
        """Starts the cluster and the pool, and waits until they can take a job."""
        self.start_pool()
        self.start_master()
        for number in (1, 2):
            self.start_worker(number)

    def start_pool(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "retraining", "beam-pool"]
        self.start("pool", command, PYTHONPATH=str(CHECKOUT), BEAM_WORKER_POOL=f"localhost:{self.pool_port}")
        arguments = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{self.pool_port}"]
        wait_until(lambda: readiness.check(arguments), "the pool listens", 120, 0.5, (EngineError,))

    def start_master(self) -> None:
        raise NotImplementedError

    def start_worker(self, number: int) -> None:
        raise NotImplementedError


class FlinkCluster(Cluster):
    """A job manager, and task managers of one slot each."""

    kind = "flink"

    def start_master(self) -> None:
        self.rest_port, rpc_port = free_port(), free_port()
        (self.folder / "config.yaml").write_text(
            "\n".join(
                f"{name}: {value}"
                for name, value in {
                    "jobmanager.rpc.address": "127.0.0.1",
                    "jobmanager.rpc.port": rpc_port,
                    "jobmanager.bind-host": "127.0.0.1",
                    "jobmanager.memory.process.size": "1g",
                    "rest.address": "127.0.0.1",
                    "rest.bind-address": "127.0.0.1",
                    "rest.port": self.rest_port,
                    "taskmanager.host": "127.0.0.1",
                    "taskmanager.bind-host": "127.0.0.1",
                    "taskmanager.numberOfTaskSlots": 1,
                    # A job of Transform has 650 tasks, and a sorted exchange wants 512 buffers.
                    "taskmanager.network.sort-shuffle.min-parallelism": 1_000_000,
                    # Beam's own options for it are for streams alone. What fails at the same moment counts once, as it
                    # does not with a fixed delay: ExponentialDelayRestartBackoffTimeStrategy.notifyFailure.
                    "restart-strategy.type": "exponential-delay",
                    "restart-strategy.exponential-delay.initial-backoff": "5 s",
                    "restart-strategy.exponential-delay.attempts-before-reset-backoff": 3,
                    # With Beam's classes of the cluster itself a worker lives from stage to stage.
                    "classloader.resolve-order": "parent-first",
                    # Half a minute by itself, and a task manager that is killed is missed at once by its connection.
                    "heartbeat.timeout": 20000,
                    "heartbeat.interval": 5000,
                }.items()
            )
            + "\n"
        )
        self.variables["FLINK_MASTER"] = f"127.0.0.1:{self.rest_port}"
        self.start("jobmanager", self.build_java("-Xmx512m", "StandaloneSessionClusterEntrypoint", {}))
        wait_until(lambda: self.ask("overview"), "the job manager answers", 90, 0.5, (OSError,))

    def start_worker(self, number: int) -> None:
        # Not by how many there are: one that was killed is counted until its heartbeat is missed.
        name = f"machine-{number}-{free_port()}"
        options = _FLINK_MEMORY | {"taskmanager.resource-id": name}
        self.start(f"worker-{number}", self.build_java("-Xmx1664m", "TaskManagerRunner", options))
        wait_until(lambda: name in self.list_workers(), "the task manager is there", 90, 0.5)

    def build_java(self, heap: str, entry: str, options: dict[str, str]) -> list[str]:
        package = "entrypoint" if "Entrypoint" in entry else "taskexecutor"
        classpath = ":".join([*self.classpath, self.variables["BEAM_JOB_SERVER"]])
        command = ["java", *_FLINK_JAVA_OPTIONS, heap, "-cp", classpath]
        command += [f"org.apache.flink.runtime.{package}.{entry}", "--configDir", str(self.folder)]
        return command + [part for name, value in options.items() for part in ("-D", f"{name}={value}")]

    def ask(self, path: str) -> dict[str, object]:
        """What the REST endpoint answers."""
        with urlopen(f"http://127.0.0.1:{self.rest_port}/{path}", timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    def list_workers(self) -> list[str]:
        """The task managers by their names."""
        return [one["id"] for one in self.ask("taskmanagers")["taskmanagers"]]

    def is_busy(self) -> bool:
        """Whether a part of a job is at work in a slot."""
        return any(job["tasks"]["running"] for job in self.ask("jobs/overview")["jobs"])


class SparkCluster(Cluster):
    """A master, and workers of one core each."""

    kind = "spark"

    def start_master(self) -> None:
        # A worker starts its executors with the jars of this folder.
        jars = self.folder / "jars"
        jars.mkdir(exist_ok=True)
        for jar in self.classpath:
            (jars / Path(jar).name).symlink_to(jar)
        self.port, self.web_port = free_port(), free_port()
        self.variables["SPARK_MASTER"] = f"spark://127.0.0.1:{self.port}"
        # Also for the driver, which is in the job server.
        self.variables["SPARK_LOCAL_IP"] = "127.0.0.1"
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--webui-port", str(self.web_port)]
        self.start("master", self.build_java("master.Master", options), **self.surroundings)
        wait_until(self.ask, "the master answers", 90, 0.5, (OSError,))

    def start_worker(self, number: int) -> None:
        port = free_port()
        options = ["--host", "127.0.0.1", "--port", str(port), "--cores", "1", "--memory", "2g"]
        options += ["--webui-port", str(free_port())]
        options += ["--work-dir", str(self.folder / f"work-{number}"), self.variables["SPARK_MASTER"]]
        self.start(f"worker-{number}", self.build_java("worker.Worker", options), **self.surroundings)
        wait_until(lambda: port in self.list_workers(), "the worker is there", 90, 0.5)

    @property
    def surroundings(self) -> dict[str, str]:
        """What Spark's own scripts tell its programs."""
        return {"SPARK_HOME": str(self.folder), "SPARK_SCALA_VERSION": "2.12", "SPARK_LOCAL_IP": "127.0.0.1"}

    def build_java(self, entry: str, options: list[str]) -> list[str]:
        command = ["java", *SPARK_JAVA_OPTIONS, "-Xmx512m", "-cp", f"{self.folder / 'jars'}/*"]
        return [*command, f"org.apache.spark.deploy.{entry}", *options]

    def ask(self) -> dict[str, object]:
        """What the master's page says as JSON."""
        with urlopen(f"http://127.0.0.1:{self.web_port}/json/", timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    def list_workers(self) -> list[int]:
        """The ports of the workers that are alive."""
        return [one["port"] for one in self.ask()["workers"] if one["state"] == "ALIVE"]

    def is_busy(self) -> bool:
        """Whether an application has cores."""
        return bool(self.ask()["coresused"])


@contextlib.contextmanager
def run_cluster(kind: str, folder: Path) -> Iterator[Cluster]:
    """A cluster that can take jobs, ended with the caller.

    Raises:
      UnavailableError: it cannot be had on this machine.
    """
    job_server = find_or_fetch_job_server(kind)
    cluster = {"flink": FlinkCluster, "spark": SparkCluster}[kind](folder, job_server)
    try:
        cluster.start_all()
        yield cluster
    finally:
        cluster.end()
