"""What a process held at most is its own, and not that of the process which started it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfx_components import peak_memory
from tfx_components.peak_memory import peak_memory_mb

CHECKOUT = Path(__file__).resolve().parents[2]
ASK = "from tfx_components.peak_memory import peak_memory_mb; print(peak_memory_mb())"


def ask(code: str) -> int:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    return int(subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE).stdout)


def test_a_large_process_does_not_count_for_those_it_starts() -> None:
    large = b"x" * (400 << 20)
    assert peak_memory_mb() >= len(large) >> 20
    assert ask(ASK) < 100


def test_what_was_held_and_given_back_counts() -> None:
    assert 300 <= ask(f"large = b'x' * (300 << 20); del large; {ASK}") < 400


def test_a_kernel_that_does_not_say_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t   1928 kB\n")
    monkeypatch.setattr(peak_memory, "STATUS", tmp_path / "status")
    with pytest.raises(RuntimeError, match="has no line VmHWM"):
        peak_memory_mb()
