"""Fixtures shared by the tests of all rooms."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline for a single example: a busy machine is slow, not wrong. In CI the same examples every time: what fails is
# due to the change. Elsewhere new ones every time.
settings.register_profile(
    "fireseg",
    deadline=None,
    max_examples=30,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fireseg")

# `make test &` ignores Ctrl-C, and the processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Runs save their state and queues here, not in the home of whoever runs the tests.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="fireseg-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

SYNTHETIC_COUNT = 40
SYNTHETIC_SEED = 7


@pytest.fixture(scope="session")
def synthetic_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic set in FireSeg's layout. Shared by all tests: never write into it."""
    from train.synthetic.generate import generate

    out = tmp_path_factory.mktemp("synthetic") / "set"
    generate(out, SYNTHETIC_COUNT, SYNTHETIC_SEED)
    return out


@pytest.fixture(scope="session")
def fireseg_dir() -> Path:
    """The folder of the real FireSeg; skips the test without FIRESEG_DIR."""
    root = os.environ.get("FIRESEG_DIR")
    if not root:
        pytest.skip("FIRESEG_DIR is not set: set it to a copy of FireSeg to run this test")
    if not Path(root).is_dir():
        pytest.skip(f"FIRESEG_DIR={root} does not exist")
    return Path(root)
