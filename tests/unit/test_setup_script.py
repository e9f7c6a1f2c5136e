"""scripts/setup.sh, with a stand-in for uv: when it makes an environment anew, repairs one, or refuses."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fresh_checkout import CHECKOUT, write_program, write_uv
from signals import hear_signals

from retraining.version import VERSION

MAKE = "venv --quiet --python 3.11 .venv"
INSTALL = "pip sync --quiet --compile-bytecode --require-hashes requirements.lock"
INSTALL_WORKERS = INSTALL.replace("requirements", "requirements-celery")
INSTALL_TESTS = INSTALL.replace("requirements", "requirements-dev")
INSTALL_US = "pip install --quiet --no-deps --no-build-isolation --editable ."

REAL_UV = shutil.which("uv", path=f"{CHECKOUT / '.venv.uv' / 'bin'}{os.pathsep}{os.environ['PATH']}")

PYTHON3 = """\
#!/bin/sh
# python3 -m venv FOLDER, whose pip brings the stand-in for uv.
mkdir -p "$3/bin"
printf '#!/bin/sh\\n[ ! -e "$UV_RECORD.offline" ] && cp "$UV_RECORD.uv" .venv.uv/bin/uv\\n' >"$3/bin/python"
chmod +x "$3/bin/python"
"""


@dataclass
class Place:
    """A checkout of which there is only what the set-up reads."""

    folder: Path
    variables: dict[str, str]

    @property
    def record(self) -> Path:
        return Path(self.variables["UV_RECORD"])

    def begin(self, kind: str = "run", **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.folder / "scripts" / "setup.sh", kind],
            env={**os.environ, **self.variables, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=hear_signals,
        )

    def __call__(self, kind: str = "run", status: int = 0, **variables: str) -> str:
        process = self.begin(kind, **variables)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == status, output
        return output

    def take_calls(self) -> list[str]:
        """What uv was asked to do since the last look."""
        calls = self.record.read_text().splitlines() if self.record.exists() else []
        self.record.unlink(missing_ok=True)
        return calls

    def hold_uv(self) -> None:
        Path(f"{self.record}.wait").touch()

    def release_uv(self) -> None:
        Path(f"{self.record}.wait").unlink(missing_ok=True)

    def begin_and_wait_for_uv(self) -> "subprocess.Popen[str]":
        """A set-up in the middle of its work."""
        self.hold_uv()
        process = self.begin()
        deadline = time.monotonic() + 30
        while not self.record.exists():
            assert time.monotonic() < deadline, "uv was not called"
            time.sleep(0.05)
        return process


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "a checkout"
    (folder / "scripts").mkdir(parents=True)
    for name in (
        "scripts/setup.sh",
        "pyproject.toml",
        "requirements.lock",
        "requirements-celery.lock",
        "requirements-dev.lock",
    ):
        shutil.copy(CHECKOUT / name, folder / name)
    place = Place(folder, write_uv(tmp_path / "bin"))
    yield place
    place.release_uv()


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    # One that had to be computed would have to be built, and no package may be.
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_a_fresh_checkout_gets_an_environment_and_a_second_set_up_does_nothing(place: Place) -> None:
    assert "making .venv" in place()
    assert place.take_calls() == [MAKE, INSTALL, INSTALL_US]
    assert place() == ""
    assert place.take_calls() == []


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_what_is_installed_follows_the_lock_without_the_environment_being_made_anew(place: Place, name: str) -> None:
    place()
    place.take_calls()
    with (place.folder / name).open("a") as file:
        file.write("# changed\n")
    place()
    assert place.take_calls() == [INSTALL, INSTALL_US]
    assert place() == ""


def test_the_environment_of_the_tests_serves_the_service_too_and_is_kept_when_the_lock_changes(place: Place) -> None:
    place("run")
    place.take_calls()
    place("dev")
    assert place.take_calls() == [INSTALL_TESTS, INSTALL_US]
    assert place("run") == ""
    with (place.folder / "requirements-dev.lock").open("a") as file:
        file.write("# changed\n")
    place("run")
    assert place.take_calls() == [INSTALL_TESTS, INSTALL_US]


def test_the_environment_of_workers_serves_the_service_too_and_that_of_the_tests_serves_both(place: Place) -> None:
    place("run")
    place.take_calls()
    place("celery")
    assert place.take_calls() == [INSTALL_WORKERS, INSTALL_US]
    assert place("run") == place("celery") == ""
    with (place.folder / "requirements.lock").open("a") as file:
        file.write("# changed\n")
    assert place("run") == "", "what workers need is as their own lock says"
    with (place.folder / "requirements-celery.lock").open("a") as file:
        file.write("# changed\n")
    place("run")
    assert place.take_calls() == [INSTALL_WORKERS, INSTALL_US]
    place("dev")
    assert place.take_calls() == [INSTALL_TESTS, INSTALL_US]
    assert place("celery") == ""


def test_an_environment_left_half_made_is_made_anew(place: Place) -> None:
    assert "the packages could not be installed" in place(status=1, UV_FAILS_AT="pip")
    (place.folder / ".venv" / "half").touch()
    place.take_calls()
    assert "making .venv" in place()
    assert place.take_calls() == [MAKE, INSTALL, INSTALL_US]
    assert not (place.folder / ".venv" / "half").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(place: Place) -> None:
    place()
    place.take_calls()
    python = place.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python3.11")
    assert "making .venv" in place()
    assert place.take_calls() == [MAKE, INSTALL, INSTALL_US]


@pytest.mark.parametrize("name", ["another", "a", "a checkout of old"])
def test_the_environment_of_a_checkout_that_was_moved_is_made_anew(place: Place, name: str) -> None:
    place.folder = place.folder.rename(place.folder.with_name(name))
    place()
    place.take_calls()
    place.folder = place.folder.rename(place.folder.with_name("a checkout"))
    assert "making .venv" in place()
    assert place.take_calls() == [MAKE, INSTALL, INSTALL_US]


def test_a_second_set_up_at_once_names_the_first_which_goes_on_to_its_end(place: Place) -> None:
    first = place.begin_and_wait_for_uv()
    refusal = place(status=1)
    assert f"another setup (process {first.pid}) is at work on {place.folder}" in refusal
    assert f"stop it: kill {first.pid}" in refusal
    place.release_uv()
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output
    assert place.take_calls() == [MAKE, INSTALL, INSTALL_US]
    assert place() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_set_up_that_is_stopped_leaves_nothing_at_work_and_the_next_one_makes_it_good(
    place: Place, number: signal.Signals
) -> None:
    first = place.begin_and_wait_for_uv()
    # To the script alone, as `kill` does, and unlike Ctrl-C, which reaches uv as well.
    first.send_signal(number)
    first.communicate(timeout=60)
    assert first.returncode == 128 + number
    place.release_uv()
    place.take_calls()
    assert "making .venv" in place()
    assert place.take_calls() == [MAKE, INSTALL, INSTALL_US]


def test_without_uv_one_is_fetched_into_the_checkout_once(place: Place) -> None:
    shutil.move(place.record.with_name("uv"), f"{place.record}.uv")
    # Hides a uv of this machine; pyenv leaves such programs behind.
    write_program(place.record.with_name("uv"), "#!/bin/sh\nexit 127\n")
    write_program(place.record.with_name("python3"), PYTHON3)
    offline = Path(f"{place.record}.offline")
    offline.touch()
    assert "uv could not be fetched. Install it (https://docs.astral.sh/uv)" in place(status=1)
    assert not (place.folder / ".venv").exists()
    offline.unlink()
    assert "fetching uv" in place()
    assert place.take_calls() == [MAKE, INSTALL, INSTALL_US]
    offline.touch()
    assert "fetching uv" not in place("dev")
    assert place.take_calls() == [INSTALL_TESTS, INSTALL_US]


@pytest.mark.skipif(REAL_UV is None, reason="no uv here; scripts/setup.sh fetches one")
def test_a_package_that_must_be_compiled_is_refused_by_name(place: Place) -> None:
    assert REAL_UV
    uv, index = place.record.with_name("uv"), place.folder.with_name("index")
    uv.unlink()
    uv.symlink_to(REAL_UV)
    index.mkdir()
    name = "needs_a_compiler-1.0"
    source = index / f"{name}.tar.gz"
    with tarfile.open(source, "w:gz") as archive:
        metadata = b"Metadata-Version: 2.1\nName: needs-a-compiler\nVersion: 1.0\n"
        member = tarfile.TarInfo(f"{name}/PKG-INFO")
        member.size = len(metadata)
        archive.addfile(member, io.BytesIO(metadata))
    locked = f"needs-a-compiler==1.0 --hash=sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}\n"
    (place.folder / "requirements.lock").write_text(locked)
    refusal = place(status=1, UV_OFFLINE="1", UV_FIND_LINKS=str(index))
    assert "needs-a-compiler==1.0 has no usable wheels" in refusal
    assert "a package that must be compiled, and must not" in refusal
    assert not (place.folder / ".venv" / "stamp").exists()


def test_without_a_python_of_the_right_version_the_message_names_it(place: Place) -> None:
    assert "Install python3.11" in place(status=1, UV_FAILS_AT="venv")
    assert not (place.folder / ".venv" / "stamp").exists()


def test_another_environments_variables_do_not_lead_the_packages_astray(place: Place) -> None:
    place(
        VIRTUAL_ENV="/another", UV_SYSTEM_PYTHON="1", UV_PYTHON="/usr/bin/python3", PYTHONPATH="/another",
        PYTHONDONTWRITEBYTECODE="1", PIP_INDEX_URL="https://packages.example/simple",
    )  # fmt: skip
    seen = dict(line.split("=", 1) for line in Path(f"{place.record}.env").read_text().splitlines() if "=" in line)
    assert seen["VIRTUAL_ENV"] == str(place.folder / ".venv")
    assert seen["UV_DEFAULT_INDEX"] == "https://packages.example/simple"
    assert seen["UV_PYTHON_INSTALL_DIR"] == str(place.folder / ".venv.python")
    assert not seen.keys() & {"UV_SYSTEM_PYTHON", "UV_PYTHON", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}


def test_an_unknown_kind_is_refused_with_those_there_are(place: Place) -> None:
    assert "use run, celery, dev or lock" in place("everything", status=1)
    assert place.take_calls() == []
