"""docker-compose.yaml as Compose reads it, by its reference (https://docs.docker.com/reference/compose-file/).

What of a service is not understood here is refused, so that nothing that the file promises is left untried unnoticed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_UNDERSTOOD = {"build", "cap_drop", "command", "depends_on", "env_file", "environment", "healthcheck", "image"} | {
    *("ports", "profiles", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "user", "volumes")
}


@dataclass(frozen=True)
class Check:
    """A `healthcheck`; what it leaves out is as Docker has it. Times in seconds."""

    test: list[str]
    interval: float = 30
    timeout: float = 30
    retries: int = 3
    start_period: float = 0

    @property
    def command(self) -> list[str]:
        """What is run inside the container."""
        kind, *rest = self.test
        return {"CMD": rest, "CMD-SHELL": ["/bin/sh", "-c", *rest]}[kind]


@dataclass(frozen=True)
class Volume:
    """What is mounted: a named volume, or a folder of the host's where `source` is a path."""

    source: str
    target: str
    is_read_only: bool = False


@dataclass(frozen=True)
class Service:
    """A service, all of whose variables are filled in."""

    name: str
    image: str
    build: tuple[str, dict[str, str]] | None = None
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    volumes: list[Volume] = field(default_factory=list)
    tmpfs: list[str] = field(default_factory=list)
    user: str = ""
    ports: list[int] = field(default_factory=list)
    profiles: frozenset[str] = frozenset()
    depends_on: dict[str, str] = field(default_factory=dict)
    check: Check | None = None
    stop_grace_seconds: float = 10
    is_read_only: bool = False
    drops_all_capabilities: bool = False
    gains_no_privileges: bool = False
    is_restarted: bool = False


def read_compose(path: Path, env_file: Path) -> dict[str, Service]:
    """The services of a file, of every profile.

    Args:
      path: the file.
      env_file: in the place of the `.env` beside it.

    Raises:
      ValueError: a variable that must be set is not, or a service says what is not understood here.
    """
    variables = read_variables(env_file)
    document = interpolate(yaml.safe_load(path.read_text(encoding="utf-8")), variables)
    return {name: _read_service(name, said, variables) for name, said in document["services"].items()}


def read_variables(path: Path) -> dict[str, str]:
    """What a `.env` sets: a variable a line, not in quotes and with no variables in it, which nothing here needs."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]
    found = dict(line.split("=", 1) for line in lines)
    if wrong := {name: value for name, value in found.items() if re.search(r"""^['"]|[$]|\s#""", value)}:
        raise ValueError(f"{path}: not understood here: {wrong}")
    return {name: value.strip() for name, value in found.items()}


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Fills in the variables of every text of a document: `$X`, `${X}`, `:-`, `-`, `:?`, `?`, `:+`, `+`, `$$`.

    Raises:
      ValueError: a variable that must be set is not, or a brace is not closed.
    """
    if isinstance(value, dict):
        return {key: interpolate(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolate(inner, variables) for inner in value]
    return _fill_in(value, variables) if isinstance(value, str) else value


def _fill_in(text: str, variables: Mapping[str, str]) -> str:
    done, rest = "", text
    while "$" in rest:
        before, _, rest = rest.partition("$")
        done += before
        if rest.startswith("$"):
            done, rest = f"{done}$", rest[1:]
        elif rest.startswith("{"):
            inner, rest = _split_at_brace(rest[1:])
            done += _substitute(inner, variables)
        elif name := _NAME.match(rest):
            done, rest = done + variables.get(name[0], ""), rest[name.end() :]
        else:
            done += "$"
    return done + rest


def _split_at_brace(text: str) -> tuple[str, str]:
    """What is before the brace that closes, and what is after it."""
    depth = 1
    for place, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if not depth:
            return text[:place], text[place + 1 :]
    raise ValueError(f"no closing brace: ${{{text}")


def _substitute(inner: str, variables: Mapping[str, str]) -> str:
    name = _NAME.match(inner)
    if not name:
        raise ValueError(f"no name of a variable: ${{{inner}}}")
    operator, word = re.fullmatch(r"(:?[-?+]|)(.*)", inner[name.end() :], re.DOTALL).groups()  # type: ignore[union-attr]
    value = variables.get(name[0])
    is_there = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("+"):
        return _fill_in(word, variables) if is_there else ""
    if operator.endswith("?") and not is_there:
        raise ValueError(f"required variable {name[0]} is missing a value: {_fill_in(word, variables)}")
    if operator.endswith("-") and not is_there:
        return _fill_in(word, variables)
    return value or ""


def seconds(text: str | float) -> float:
    """A duration such as `1m30s`."""
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", str(text))
    if "".join(map("".join, parts)) != str(text):
        raise ValueError(f"no duration: {text}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _read_service(name: str, said: dict[str, Any], variables: Mapping[str, str]) -> Service:
    if unknown := said.keys() - _UNDERSTOOD:
        raise ValueError(f"service {name}: not understood here: {', '.join(sorted(unknown))}")
    build = said.get("build")
    if isinstance(build, str):
        build = {"context": build}
    if said.get("env_file", ".env") != ".env":
        raise ValueError(f"service {name}: not understood here: env_file {said['env_file']}")
    # `environment` wins over `env_file`, also where it is empty.
    environment = dict(variables) if "env_file" in said else {}
    return Service(
        name,
        said["image"],
        (build.get("dockerfile", "Dockerfile"), build.get("args", {})) if build else None,
        said.get("command", []),
        environment | said.get("environment", {}),
        [_read_volume(volume) for volume in said.get("volumes", [])],
        said.get("tmpfs", []),
        said.get("user", ""),
        [int(port.rpartition(":")[2]) for port in said.get("ports", [])],
        frozenset(said.get("profiles", [])),
        {other: how["condition"] for other, how in said.get("depends_on", {}).items()},
        _read_check(said["healthcheck"]) if "healthcheck" in said else None,
        seconds(said.get("stop_grace_period", "10s")),
        said.get("read_only", False),
        said.get("cap_drop") == ["ALL"],
        said.get("security_opt") == ["no-new-privileges:true"],
        said.get("restart") == "unless-stopped",
    )


def _read_volume(text: str) -> Volume:
    source, target, *mode = text.split(":")
    if mode not in ([], ["ro"]):
        raise ValueError(f"not understood here: volume {text}")
    return Volume(source, target, mode == ["ro"])


def _read_check(said: dict[str, Any]) -> Check:
    times = {key: seconds(said[key]) for key in ("interval", "timeout", "start_period") if key in said}
    return Check(said["test"], retries=said.get("retries", 3), **times)
