"""What a worker of pytest-xdist reports to its controller: only what somebody reads.

A test sends its start, three reports and its end. To send, receive and count each of them costs a
quarter of a millisecond, and a test of the unit lane takes fifteen. Nobody reads of a start, or of
a setup or teardown that passed at once, unless the terminal is asked for more than a dot a test.
xdist itself leaves out passed collections.
"""

from __future__ import annotations

from typing import Any

import pytest

_WORKER = "WorkerInteractor"  # of xdist.remote, which a process without -n does not load
_MOMENT_S = 0.005  # what --durations leaves out


def report_less(config: pytest.Config) -> None:
    """Let a worker send less; nothing happens in any other process."""
    plugins = config.pluginmanager.get_plugins()
    interactor: Any = next((one for one in plugins if type(one).__name__ == _WORKER), None)
    if interactor is None or config.option.verbose > 0:
        return
    send = interactor.sendevent

    def sendevent(name: str, **details: Any) -> None:
        if name == "logstart" or (name == "testreport" and _is_dull(details["data"])):
            return
        send(name, **details)

    interactor.sendevent = sendevent


def _is_dull(report: dict[str, Any]) -> bool:
    passed = report["outcome"] == "passed" and report["when"] != "call"
    return bool(passed and report["duration"] < _MOMENT_S)
