"""The measurements of a fleet as a table, and which of them must hold."""

from __future__ import annotations

from benchmarks.fleet.site import Usage
from benchmarks.fleet.soak import EVENT, FleetRun, Plan
from benchmarks.soak.report import HEADINGS, Figure

__all__ = ["HEADINGS", "figures"]

OF_EVENTS = (EVENT, "snapshot")


def figures(plan: Plan, run: FleetRun) -> list[Figure]:
    """Return the figures. Bounds are those on events; what the machine's other work can change has none."""
    steady = {kind: rate for kind, rate in run.messages.items() if kind not in OF_EVENTS}
    steady_bytes = sum(run.message_bytes[kind] for kind in steady)
    per_event = {kind: run.message_bytes[kind] / run.messages[kind] for kind in OF_EVENTS if run.messages.get(kind)}
    delivery = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in run.delivery_s.items())
    return [
        Figure("events made", str(run.made), "> 0", run.made > 0),
        Figure("events lost", str(len(run.lost)), "0", not run.lost),
        Figure("events that arrived twice, with the same id and number", str(run.repeated), "any", True),
        Figure("events whose copies differ", str(run.altered), "0", not run.altered),
        Figure("events of each camera in order", "yes" if run.in_order else "no", "yes", run.in_order),
        _shown("events published before they were on disk", f"{run.late_writes:.0f}"),
        _shown("broker killed, cameras killed", f"{plan.broker_kills}, {plan.camera_kills} of {plan.cameras}"),
        _shown("event to its arrival", delivery),
        _shown("all had arrived after the last fire", f"{run.settle_s:.1f} s"),
        _shown("state messages, by camera", f"{sum(steady.values()):.2f}/s, {steady_bytes:.0f} bytes/s"),
        *(_shown(f"mean size of one {kind}", f"{size / 1000:.2f} kB") for kind, size in per_event.items()),
        *_used("broker", run.broker, run.seconds),
        _shown("broker, written to disk", f"{run.broker.written_bytes / run.seconds / 1e3:.0f} kB/s"),
        *_used("Prometheus", run.prometheus, run.seconds),
        _shown("Prometheus, samples stored", f"{run.samples:.0f}/s"),
        _shown("Prometheus, time series", f"{run.series:.0f}"),
        _shown("size of one scrape", f"{run.scrape_bytes / 1e3:.1f} kB"),
        _shown("scrapes failed, of cameras that were not killed", str(run.scrapes_failed)),
        _shown("longest time between two scrapes of them", f"{run.scrape_gap_s:.1f} s"),
        _shown("dashboard queries with data", f"{run.queries_answered} of {run.queries}"),
    ]


def _shown(what: str, measured: str) -> Figure:
    return Figure(what, measured, "–", True)


def _used(name: str, usage: Usage, seconds: float) -> list[Figure]:
    return [
        _shown(f"{name}, processor", f"{100 * usage.cpu_s / seconds:.1f} % of a core"),
        _shown(f"{name}, peak memory", f"{usage.peak_rss_bytes / 1e6:.0f} MB"),
    ]
