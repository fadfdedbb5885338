"""Which version of FireSeg Edge this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """As installed; "unknown" where it runs from a checkout that was not."""
    try:
        return version("fireseg-edge")
    except PackageNotFoundError:
        return "unknown"
