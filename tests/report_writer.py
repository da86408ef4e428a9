"""The plugin of a pytest that runs tests for another: each report goes to the file NETDECK_TEST_REPORTS, as it is made."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

PLACE = "NETDECK_TEST_REPORTS"
_config: list[pytest.Config] = []


def _write(message: dict[str, Any]) -> None:
    with Path(os.environ[PLACE]).open("a") as file:
        file.write(json.dumps(message, default=str) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    _config.append(config)
    _write({"begun": time.monotonic()})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    config = _config[-1]
    _write({"test": report.nodeid, "report": config.hook.pytest_report_to_serializable(config=config, report=report)})


def pytest_runtest_logfinish(nodeid: str) -> None:
    _write({"done": nodeid})


def pytest_sessionfinish() -> None:
    _write({"ended": time.monotonic()})
