"""The queries of the dashboard in `deploy/fleet`, and whether Prometheus has data for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.fleet.site import DEPLOY, PrometheusServer

DASHBOARD = DEPLOY / "dashboard.json"
VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$camera": ".*"}
"""What Grafana puts in for its variables."""


def dashboard_queries() -> dict[str, str]:
    """Return the queries by the panel's title and their letter, with values for Grafana's variables."""
    queries = {}
    for panel in _panels(json.loads(DASHBOARD.read_text())):
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            queries[f"{panel['title']} {target['refId']}"] = query
    return queries


def answered(server: PrometheusServer) -> dict[str, bool]:
    """Return whether each query of the dashboard has data."""
    return {name: bool(server.query(query)) for name, query in dashboard_queries().items()}


def _panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels") or []
