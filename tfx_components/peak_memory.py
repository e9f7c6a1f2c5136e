"""How much memory this process has held at most, whoever started it.

Not from getrusage: its maximum survives an exec, so a small process that a large one starts begins with the memory of
that one (getrusage(2), `ru_maxrss`; measured: 1,444 MB reported, 13 held).
"""

from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_memory_mb() -> int:
    """The greatest resident memory of this program so far, in MiB, from Linux's own account (proc_pid_status(5)).

    Raises:
      RuntimeError: the kernel does not say.
    """
    for line in STATUS.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.removesuffix("kB")) // 1024
    raise RuntimeError(f"{STATUS} has no line VmHWM, so the memory that was held cannot be told")
