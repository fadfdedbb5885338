"""Measurements against bounds: the pass or fail decision of the soak."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.soak.cost import VIEWERS, Cost
from benchmarks.soak.faults import BURST, Faults
from benchmarks.soak.steady import FPS, Quiet

MIN_ALONE, MIN_WATCHED = 0.9, 0.8
MAX_START_S = 1.5
MAX_RSS_BYTES = 150e6
MAX_RSS_PER_HOUR = 1e6
MAX_FAULT_RSS_BYTES = 400e6
MIN_EVENTS = BURST + 200
MAX_WRITTEN_PER_DAY = 1e6
STANDARD_ERRORS = 2.0
"""A slope within this many standard errors of 0 is noise."""
HEADINGS = ("what", "measured", "bound", "")


@dataclass(frozen=True)
class Figure:
    """A measurement, its bound, and whether the bound holds."""

    what: str
    measured: str
    bound: str
    passed: bool

    @property
    def cells(self) -> tuple[str, ...]:
        return self.what, self.measured, self.bound, "ok" if self.passed else "FAILED"


def cost_figures(cost: Cost) -> list[Figure]:
    what = f"throughput on 720p, relative to the bare network ({cost.network_ms:.1f} ms)"
    watched = f"with {VIEWERS} viewers on the page"
    return [
        Figure(what, f"{cost.alone:.2f}", f">= {MIN_ALONE}", cost.alone >= MIN_ALONE),
        Figure(watched, f"{cost.watched:.2f}", f">= {MIN_WATCHED}", cost.watched >= MIN_WATCHED),
    ]


def start_figure(first_s: float) -> Figure:
    return Figure("start to first result", f"{first_s:.2f} s", f"< {MAX_START_S} s", first_s < MAX_START_S)


def quiet_figures(quiet: Quiet, *, with_growth: bool = True) -> list[Figure]:
    """Return the figures of the quiet run. Growth needs minutes to stand out from noise."""
    max_age_ms = 2 * quiet.inference_ms + 1000 / FPS
    age, rss = quiet.age_ms, quiet.rss
    figures = [
        Figure(
            f"result age p99 ({quiet.seconds / 60:.1f} minutes, {quiet.results} results, "
            f"median {quiet.age_p50_ms:.1f} ms)",
            f"{quiet.age_p99_ms:.1f} ms", f"<= {max_age_ms:.1f} ms", quiet.age_p99_ms <= max_age_ms,
        ),
        Figure(
            "peak resident memory",
            f"{quiet.rss_bytes / 1e6:.0f} MB", f"< {MAX_RSS_BYTES / 1e6:.0f} MB", quiet.rss_bytes < MAX_RSS_BYTES,
        ),
        Figure(
            f"written to disk without an event ({quiet.events} events)",
            f"{quiet.written_bytes_per_day / 1e6:.2f} MB/day", f"< {MAX_WRITTEN_PER_DAY / 1e6:.0f} MB/day",
            quiet.written_bytes_per_day < MAX_WRITTEN_PER_DAY and not quiet.events,
        ),
    ]  # fmt: skip
    growth = [
        Figure(
            "growth of result age",
            f"{age.per_hour:+.2f} ± {age.error:.2f} ms/hour", f"at most {STANDARD_ERRORS:.0f} standard errors above 0",
            age.per_hour <= STANDARD_ERRORS * age.error,
        ),
        Figure(
            "growth of resident memory",
            f"{rss.per_hour / 1e6:+.2f} ± {rss.error / 1e6:.2f} MB/hour", f"< {MAX_RSS_PER_HOUR / 1e6:.0f} MB/hour",
            rss.per_hour < MAX_RSS_PER_HOUR,
        ),
    ]  # fmt: skip
    return figures + growth * with_growth


def fault_figures(faults: Faults, *, with_count: bool = True) -> list[Figure]:
    figures = [
        *(
            Figure(
                f"{trial.what}, recovered",
                f"{trial.recovered}, slowest {trial.worst_s:.1f} s" if trial.times else "–",
                f"{trial.times}",
                trial.recovered == trial.times,
            )
            for trial in faults.trials
        ),
        *(
            Figure(f"events lost of {len(faults.made)}, {name}", str(lost), "0", not lost)
            for name, lost in ((name, sum(name == receiver for receiver, _ in faults.lost)) for name in faults.received)
        ),
        Figure("events delivered more than once, with the same id and number", str(faults.repeated), "any", True),
        Figure("events whose copies differ", str(faults.altered), "0", not faults.altered),
        Figure("events in order", "yes" if faults.in_order else "no", "yes", faults.in_order),
        Figure(
            "peak resident memory under faults",
            f"{faults.rss_bytes / 1e6:.0f} MB", f"< {MAX_FAULT_RSS_BYTES / 1e6:.0f} MB",
            faults.rss_bytes < MAX_FAULT_RSS_BYTES,
        ),
    ]  # fmt: skip
    made = Figure("events made", str(len(faults.made)), f">= {MIN_EVENTS}", len(faults.made) >= MIN_EVENTS)
    return figures + [made] * with_count
