"""The plugin of the pytest inside the virtual machine: writes each report to the folder that both sides see."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

REPORTS = Path(os.environ.get("NETDECK_VM_OUT", "/nonexistent")) / "reports"
_config: list[pytest.Config] = []


def _write(message: dict[str, Any]) -> None:
    with REPORTS.open("a") as file:
        file.write(json.dumps(message, default=str) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    _config.append(config)
    _write({"begun": True})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    config = _config[-1]
    _write({"test": report.nodeid, "report": config.hook.pytest_report_to_serializable(config=config, report=report)})


def pytest_runtest_logfinish(nodeid: str) -> None:
    _write({"done": nodeid})
