"""Runs the services of docker-compose.yaml in the images that buildah built, as far as Linux does without an engine.

Each container has namespaces of its own for mounts, processes, names, shared memory and network. Its command is its
process 1, with the image's environment and Compose's, the user, a root that is read-only, the volumes, and no
capability. What differs from Docker is in docs/containers.md. It needs root, and namespaces around it that end with it:
scripts/test_containers.sh makes them.
"""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import waiting
from compose_file import Check, Service, Volume

_BRIDGE = "compose0"
_NETWORK = "10.89.0"
_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
_PATIENCE_SECONDS = 30.0
_MANY_ENDS = 3


def _run(*command: str, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _find_children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@dataclass(frozen=True)
class Image:
    """An image that was built here; `buildah` is the command with the options of its store."""

    name: str
    buildah: tuple[str, ...]

    @cached_property
    def config(self) -> dict[str, Any]:
        """What its Dockerfile says about running it."""
        inspected: dict[str, Any] = json.loads(_run(*self.buildah, "inspect", "--type", "image", self.name))
        return inspected["Docker"]["config"]  # type: ignore[no-any-return]

    @cached_property
    def root(self) -> Path:
        """Its files; containers have them read-only, so that one copy does for all."""
        container = _run(*self.buildah, "from", "--pull-never", self.name).strip()
        return Path(_run(*self.buildah, "mount", container).strip())

    def find_place(self, path: str) -> Path:
        """Where a path of the image's is, through links that are meant inside it, such as that of /var/run."""
        place = self.root
        for part in Path(path).parts[1:]:
            place /= part
            if place.is_symlink():
                link = place.readlink()
                place = self.find_place(f"{link}") if link.is_absolute() else place.parent / link
        return place

    def find_ids(self, user: str) -> tuple[int, int]:
        """The numbers of `user`, `uid`, or `uid:gid`."""
        if ":" in user:
            uid, gid = map(int, user.split(":"))
            return uid, gid
        for line in (self.root / "etc/passwd").read_text().splitlines():
            name, _, uid_text, gid_text, *_ = line.split(":")
            if user in (name, uid_text):
                return int(uid_text), int(gid_text)
        raise ValueError(f"{self.name} has no user {user}")


@dataclass
class Container:
    """A container of a service, from its start to its end."""

    service: Service
    image: Image
    project: "Project"
    number: int
    name: str = field(default_factory=lambda: secrets.token_hex(6))
    process: "subprocess.Popen[bytes] | None" = None
    init: int = 0
    ends: int = 0

    @property
    def address(self) -> str:
        return f"{_NETWORK}.{self.number}"

    @property
    def log(self) -> Path:
        return self.project.place / f"{self.service.name}-{self.number}.log"

    @property
    def hosts(self) -> Path:
        return self.project.place / f"hosts-{self.number}"

    @cached_property
    def environment(self) -> dict[str, str]:
        """As Docker makes it: the image's, then Compose's."""
        image = dict(variable.split("=", 1) for variable in self.image.config["Env"])
        return {"HOME": "/", "HOSTNAME": self.name, **image, **self.service.environment}

    def connect(self) -> None:
        """Gives it a network of its own, which reaches the others' and nothing else."""
        _run("ip", "netns", "add", self.name)
        near = f"veth{self.number}"
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _run("ip", "link", "set", near, "master", _BRIDGE, "up")
        for words in (f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _run("ip", "-n", self.name, *words.split())
        self.hosts.touch()

    def start(self) -> None:
        """Starts the command, which is not running."""
        root = self.image.root
        assert self.service.is_read_only, f"{self.service.name} could write into the image that it shares here"
        command = [*(self.image.config.get("Entrypoint") or []), *(self.service.command or self.image.config["Cmd"])]
        script = "\n".join([*self._mounts(root), f"exec chroot {root} " + '"$@"'])
        namespaces = ["--mount", "--propagation=private", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*inside, "unshare", *namespaces, "sh", "-euc", script, "sh", *self._confine(command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        parent = self.process.pid
        waiting.wait_until(lambda: _find_children(parent), f"{self.service.name} begins", _PATIENCE_SECONDS)
        [self.init] = _find_children(parent)

    def _mounts(self, root: Path) -> Iterator[str]:
        """Commands of a shell that make the container's view of the image's files."""
        yield f"hostname {self.name}"
        yield f"mount --bind {root} {root}"
        yield f"mount -t proc proc {root}/proc && mount -t sysfs -o ro sysfs {root}/sys"
        yield f"mount -t tmpfs -o mode=755 tmpfs {root}/dev && mkdir {root}/dev/shm"
        for device in _DEVICES:
            yield f"touch {root}/dev/{device} && mount --bind /dev/{device} {root}/dev/{device}"
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            yield f"ln -s /proc/self/fd/{number} {root}/dev/{name}"
        # As large as Docker's.
        yield f"ln -s /proc/self/fd {root}/dev/fd && mount -t tmpfs -o mode=1777,size=64m tmpfs {root}/dev/shm"
        yield f"touch {root}/etc/hosts && mount --bind {self.hosts} {root}/etc/hosts"
        for volume in self.service.volumes:
            source, target = self.project.find_folder(volume, self.image), self.image.find_place(volume.target)
            yield f"mkdir -p {target} && mount --bind {source} {target}"
            if volume.is_read_only:
                yield f"mount -o remount,bind,ro {target}"
        for place in self.service.tmpfs:
            target = self.image.find_place(place)
            yield f"mkdir -p {target} && mount -t tmpfs -o mode=1777,noexec,nosuid,nodev tmpfs {target}"
        yield f"mount -o remount,bind,ro {root}"

    def _confine(self, command: list[str]) -> list[str]:
        """A command with the rights, the folder and the environment of the service's, for inside its root."""
        uid, gid = self.image.find_ids(self.service.user or self.image.config["User"] or "0")
        rights = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        if self.service.drops_all_capabilities:
            rights += ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]
        if self.service.gains_no_privileges:
            rights += ["--no-new-privs"]
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        folder = self.image.config["WorkingDir"] or "/"
        return ["setpriv", *rights, "env", "-i", f"--chdir={folder}", *variables, *command]

    def execute(self, *command: str, timeout: float = 900) -> "subprocess.CompletedProcess[str]":
        """`docker compose exec`."""
        inside = ["nsenter", f"--target={self.init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root"]
        words = [*inside, *self._confine(list(command))]
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                # nsenter itself would leave what it has begun, and who is left without a parent here nobody waits for.
                for child in _find_children(process.pid):
                    os.kill(child, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    def __call__(self, *command: str) -> str:
        """What a command inside says; it must succeed."""
        done = self.execute(*command)
        assert done.returncode == 0, f"{self.service.name}: {command}:\n{done.stdout}\n{done.stderr}\n{self.tail()}"
        return done.stdout

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self) -> str:
        """The end of what it says."""
        return f"{self.service.name} says at last:\n" + self.log.read_text(errors="replace")[-3000:]

    def wait_until_healthy(self) -> None:
        """Asks as Docker does; during `start_period` every 5 s, and a failure does not count.

        Raises:
          AssertionError: it is unhealthy, or has ended.
        """
        check = self.service.check
        assert check, f"{self.service.name} has no healthcheck"
        began, failures = time.monotonic(), 0
        while failures < check.retries:
            if not self.is_running():
                self._start_again()
            is_starting = time.monotonic() - began < check.start_period
            time.sleep(min(check.interval, 5) if is_starting else check.interval)
            answer = self._ask(check)
            if answer is None:
                return
            failures += not is_starting
        raise AssertionError(f"{self.service.name} is unhealthy: {answer}\n{self.tail()}")

    def _start_again(self) -> None:
        """What Docker does with `restart: unless-stopped`; here it is done when somebody looks, and told."""
        self.ends += 1
        assert self.service.is_restarted and self.ends < _MANY_ENDS, f"{self.service.name} has ended: {self.tail()}"
        self.start()

    def _ask(self, check: Check) -> str | None:
        """What a failed check says; None of one that succeeds."""
        try:
            done = self.execute(*check.command, timeout=check.timeout)
        except subprocess.TimeoutExpired:
            return f"no answer within {check.timeout:g} s"
        return None if done.returncode == 0 else done.stdout + done.stderr

    def stop(self) -> float:
        """Asks it to end, as `docker compose stop`, which kills what has not ended in time.

        Returns:
          how many seconds it took, which is at least `stop_grace_period` for one that had to be killed.
        """
        assert self.process
        began = time.monotonic()
        os.kill(self.init, signal.Signals[self.image.config.get("StopSignal") or "SIGTERM"])
        try:
            self.process.wait(self.service.stop_grace_seconds)
        except subprocess.TimeoutExpired:
            os.kill(self.init, signal.SIGKILL)
            self.process.wait()
        return time.monotonic() - began

    def restart(self) -> float:
        """`docker compose restart`; how many seconds the stop took."""
        took = self.stop()
        self.start()
        return took

    def remove(self) -> None:
        """Ends it at once, and is rid of it."""
        if self.is_running():
            assert self.process
            os.kill(self.init, signal.SIGKILL)
            self.process.wait()
        _run("ip", "netns", "delete", self.name)
        self.project.forget(self)


class Project:
    """What `docker compose up` makes: containers, volumes, and a network where each has its service's name."""

    def __init__(self, services: dict[str, Service], images: dict[str, Image], place: Path, folder: Path) -> None:
        """Nothing runs yet.

        Args:
          services: of the file.
          images: by the names that the file gives them.
          place: for volumes and logs.
          folder: where the file is, from which its paths are meant.
        """
        self.services = services
        self.place = place
        self.images = images
        self._folder = folder
        self._numbers = iter(range(2, 250))
        self.containers: list[Container] = []

    def __getitem__(self, name: str) -> Container:
        """The newest container of a service."""
        return next(container for container in reversed(self.containers) if container.service.name == name)

    def up(self, *names: str) -> None:
        """Starts services that do not run, each after what it depends on."""
        for name in names:
            if all(container.service.name != name for container in self.containers):
                self.start(name)

    def start(self, name: str) -> Container:
        """Starts one more container of a service, after what it depends on."""
        service = self.services[name]
        for other, condition in service.depends_on.items():
            self.up(other)
            if condition == "service_healthy":
                self[other].wait_until_healthy()
            elif condition == "service_completed_successfully":
                process = self[other].process
                assert process and process.wait(600) == 0, self[other].tail()
            else:
                assert condition == "service_started", condition
        container = Container(service, self.images[service.image], self, next(self._numbers))
        self.containers.append(container)
        container.connect()
        self._name_all()
        container.start()
        return container

    def find_folder(self, volume: Volume, image: Image) -> Path:
        """A folder for a volume; a named one that is new begins as the image has it, as with Docker."""
        if volume.source.startswith((".", "/")):
            return (self._folder / volume.source).resolve()
        folder = self.place / "volumes" / volume.source
        if not folder.exists():
            folder.mkdir(parents=True)
            origin = image.find_place(volume.target)
            if origin.is_dir():
                _run("cp", "--archive", f"{origin}/.", str(folder))
        return folder

    def forget(self, container: Container) -> None:
        self.containers.remove(container)
        self._name_all()

    def _name_all(self) -> None:
        """Gives every container the names of those that run; Docker has a server of names for it."""
        lines = [f"{container.address} {container.service.name}\n" for container in self.containers]
        for container in self.containers:
            own = ["127.0.0.1 localhost\n", f"{container.address} {container.name}\n"]
            container.hosts.write_text("".join([*own, *lines]))


@contextmanager
def compose(services: dict[str, Service], images: dict[str, Image], place: Path, folder: Path) -> Iterator[Project]:
    """A project that ends with the block."""
    project = Project(services, images, place, folder)
    _run("ip", "link", "add", _BRIDGE, "type", "bridge")
    _run("ip", "addr", "add", f"{_NETWORK}.1/24", "dev", _BRIDGE)
    _run("ip", "link", "set", _BRIDGE, "up")
    try:
        yield project
    finally:
        for container in [*project.containers]:
            container.remove()
        _run("ip", "link", "delete", _BRIDGE)
