"""What tests of cameras share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def log_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge.camera.capture")
