"""What deploy/kubernetes runs, as data, and a container of it as a process: its own command, environment and probes."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: dict[tuple[str, str], dict[str, Any]] = {
    (manifest["kind"], manifest["metadata"]["name"]): manifest
    for file in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((FOLDER / file).read_text())
}
SETTINGS: dict[str, str] = MANIFESTS["ConfigMap", "headlines-settings"]["data"]
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "airflow-values.yaml").read_text())
GPU_SET: dict[str, Any] = yaml.safe_load((FOLDER / "airflow-values-gpu.yaml").read_text())["workers"]["celery"]["sets"][
    0
]


def list_pods() -> dict[str, dict[str, Any]]:
    """The templates of our pods, each with one container, by the name of what makes them."""
    return {name: one["spec"]["template"] for (_, name), one in MANIFESTS.items() if "template" in one.get("spec", {})}


def find_container(name: str) -> dict[str, Any]:
    """The container of a pod of ours, with the pod's volumes."""
    spec = list_pods()[name]["spec"]
    [container] = spec["containers"]
    return {**container, "volumes": spec["volumes"]}


def find_chart_container(component: str) -> dict[str, Any]:
    """The container that Airflow's chart makes of the values, as far as they say it."""
    values = VALUES["workers"]["celery"] if component == "worker" else VALUES[component]
    return {
        "name": component,
        # The image has no entry point, so that the arguments are the command.
        "command": values["args"],
        "env": values.get("env", []),
        "envFrom": yaml.safe_load(VALUES["extraEnvFrom"]),
        "volumes": VALUES["volumes"],
        "volumeMounts": VALUES["volumeMounts"],
        **{probe: values[probe] for probe in ("startupProbe", "livenessProbe") if probe in values},
    }


def list_mounts(container: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Path, claim (or `tmp`) and whether it is read-only, of each of a container's folders."""
    claims = {one["name"]: one.get("persistentVolumeClaim", {}).get("claimName", "tmp") for one in container["volumes"]}
    for mount in container["volumeMounts"]:
        yield mount["mountPath"], claims[mount["name"]], mount.get("readOnly", False)


class ContainerProcess:
    """A container's command in the environment that its manifest gives it, and nothing of that of the tests.

    What a cluster would put in its place is put in its place here: each claim is a folder, and whatever is reached by
    network is on loopback.
    """

    def __init__(
        self, container: Mapping[str, Any], folder: Path, secret: Mapping[str, str], changed: Mapping[str, str]
    ) -> None:
        self.container = container
        given: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            given |= secret if "secretRef" in source else SETTINGS
        for one in container.get("env", ()):
            if value := one.get("value", secret.get(one["name"])):
                given[one["name"]] = value
        places = {path: folder / claim for path, claim, _ in list_mounts(container)}
        for place in places.values():
            place.mkdir(exist_ok=True)
        scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {"PATH": scripts, **{name: _move(given[name], places) for name in given}, **changed}
        # A pipe that nobody reads would hold the process up.
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = self._begin(container["command"], stdout=self._output, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.last_words = self.log
        self._output.close()

    @property
    def log(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def passes(self, probe: str, ports: Mapping[str, int] | None = None) -> bool:
        """What kubelet would find, asking once.

        Args:
          probe: the name of its field.
          ports: where a named port is to be found here.
        """
        assert self.process.poll() is None, self.log
        asked = self.container[probe]
        if "httpGet" in asked:
            address = f"http://127.0.0.1:{(ports or {})[asked['httpGet']['port']]}{asked['httpGet']['path']}"
            try:
                return 200 <= httpx.get(address, timeout=asked["timeoutSeconds"]).status_code < 400
            except httpx.TransportError:
                return False
        command = asked["exec"]["command"] if "exec" in asked else asked["command"]
        with tempfile.TemporaryFile("w+") as output:
            try:
                return self._begin(command, stdout=output, stderr=output).wait(asked["timeoutSeconds"]) == 0
            except subprocess.TimeoutExpired:
                return False

    def _begin(self, command: list[str], **streams: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, cwd=CHECKOUT, env=self.environment, **streams)


def _move(value: str, places: Mapping[str, Path]) -> str:
    """A value of the environment, which is below a place of the container or has nothing to do with any."""
    for path, place in places.items():
        if Path(value).is_relative_to(path):
            return str(place / Path(value).relative_to(path))
    return value
