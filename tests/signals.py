"""Processes that hear what they are told by signals, however the suite was started."""

import signal


def hear_signals() -> None:
    """Undoes what a suite run in the background, or under nohup, hands down: signals that are ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
