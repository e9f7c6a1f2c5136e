"""A worker on a machine of its own, as far as one machine has two: another host name, another state folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from driving import CHECKOUT, Service

_SECRETS = ("mlmd_password", "airflow_db_password", "airflow_fernet_key", "airflow_secret_key")


class FarWorker:
    """`retraining worker`, given what the documentation says that a machine must be given."""

    def __init__(
        self, service: Service, place: Path, host: str, network: "FarNetwork | None" = None, **settings: str
    ) -> None:
        """Starts it.

        Args:
          service: whose tasks it is to run.
          place: for its state folder and its log.
          host: what its machine is called.
          network: where it is; beside the service if there is none.
          **settings: others than the service's, by the names of their variables.
        """
        there = service.settings
        place.mkdir(exist_ok=True)
        self.host = host
        self.log = place / "worker.log"
        variables = {
            **service.environment,
            **{name.upper(): there.secret(name) for name in _SECRETS},
            "STATE_DIR": str(place / "state"),
            "POSTGRES_EMBEDDED": "false",
            "BROKER_URL": there.broker.replace("127.0.0.1", network.near if network else "127.0.0.1"),
            "PIPELINE_ROOT": str(there.pipeline_root),
            "SERVING_DIR": str(there.serving_dir),
            "SCORES_DIR": str(there.scores_dir),
            "NOTICES_DIR": str(there.notices_dir),
            "TASK_LOGS_DIR": str(there.task_logs_dir),
            "SCHEDULED_FROM": there.scheduled_from,
            **({"MLMD_HOST": network.near, "AIRFLOW_DB_HOST": network.near} if network else {}),
            **settings,
        }
        command = f"hostname {host} && exec {sys.executable} -m retraining worker"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*(network.enter if network else ()), "unshare", "--uts", "sh", "-c", command],
                cwd=CHECKOUT,
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def has_started(self) -> bool:
        """Whether Celery says that it takes tasks."""
        assert self.process.poll() is None, self.log.read_text()
        return " ready." in self.log.read_text()

    def list_processes(self) -> list[psutil.Process]:
        """The worker, and all that it has begun."""
        worker = psutil.Process(self.process.pid)
        return [worker, *worker.children(recursive=True)]

    def kill(self) -> None:
        """Ends all of it at once, as a machine that loses its power."""
        for process in self.list_processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """Ends it as its people do, after its tasks; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


class FarNetwork:
    """A machine's network of its own, from which it reaches ports of this one, and which can go silent.

    Attributes:
      near: the address by which it reaches this machine.
      enter: what a command begins with that runs there.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        """Lays it.

        Args:
          ports: of loopback here, which it reaches at `near`.
        """
        self._name, self._device = f"far{os.getpid()}", f"near{os.getpid()}"
        self.near, self._far, self._ports = "10.99.0.1", "10.99.0.2", ports
        self.enter = ("ip", "netns", "exec", self._name)

    def lay(self) -> None:
        name, here, there = self._name, self._device, "near"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        for place, device, address in (((), here, self.near), (("-n", name), there, self._far)):
            _run("ip", *place, "address", "add", f"{address}/24", "dev", device)
            _run("ip", *place, "link", "set", device, "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        # What comes over this line may go to loopback, and comes from there for who listens.
        Path(f"/proc/sys/net/ipv4/conf/{here}/route_localnet").write_text("1")
        for rule in self._rules():
            _run("iptables", "-t", "nat", "-A", *rule)

    def silence(self, port: int) -> None:
        """Swallows every packet to and from a port, so that neither end hears of the other, nor of its end."""
        for chain, side in (("OUTPUT", "--dport"), ("INPUT", "--sport")):
            _run(*self.enter, "iptables", "-A", chain, "-p", "tcp", side, str(port), "-j", "DROP")

    def take_up(self) -> None:
        for rule in self._rules():
            _run("iptables", "-t", "nat", "-D", *rule)
        _run("ip", "link", "delete", self._device)
        _run("ip", "netns", "delete", self._name)

    def _rules(self) -> Iterator[tuple[str, ...]]:
        tcp = ("-p", "tcp", "-m", "tcp")
        for port in map(str, self._ports):
            to = ("DNAT", "--to-destination", f"127.0.0.1:{port}")
            yield ("PREROUTING", "-d", self.near, *tcp, "--dport", port, "-j", *to)
        yield ("INPUT", "-s", self._far, "-d", "127.0.0.1", "-j", "SNAT", "--to-source", "127.0.0.1")


@contextmanager
def far_network(*ports: int) -> Iterator[FarNetwork]:
    """A network that ends with the block."""
    network = FarNetwork(ports)
    network.lay()
    try:
        yield network
    finally:
        network.take_up()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


CAN_HAVE_HOSTS = os.geteuid() == 0
