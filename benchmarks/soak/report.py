"""What was measured against what was promised."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.soak.cost import VIEWERS, Cost
from benchmarks.soak.faults import Faults
from benchmarks.soak.steady import FPS, Quiet

ALONE, WATCHED = 0.9, 0.8
START_S = 1.5
RSS_BYTES = 150e6
RSS_PER_HOUR = 1e6
WRITTEN_PER_DAY = 1e6
CERTAIN = 2.0
"""Standard errors: a slope within so many of nothing is noise."""


@dataclass(frozen=True)
class Figure:
    """One promise: what it is about, what was found, what was promised, and whether it was kept."""

    what: str
    found: str
    bound: str
    kept: bool


def cost_figures(cost: Cost) -> list[Figure]:
    name = "frames a second, 720p recording, against the bare network"
    return [
        Figure(f"{name} ({cost.network_ms:.1f} ms)", f"{cost.alone:.2f}", f">= {ALONE}", cost.alone >= ALONE),
        Figure(
            f"the same with {VIEWERS} viewers on the page", f"{cost.watched:.2f}", f">= {WATCHED}",
            cost.watched >= WATCHED,
        ),
    ]  # fmt: skip


def start_figure(first_s: float) -> Figure:
    return Figure("start to first result", f"{first_s:.2f} s", f"< {START_S} s", first_s < START_S)


def quiet_figures(quiet: Quiet) -> list[Figure]:
    oldest_ms = 2 * quiet.inference_ms + 1000 / FPS
    over = f"over {quiet.seconds / 60:.1f} minutes, {quiet.results} results"
    growth_ms, growth = quiet.age_ms, quiet.rss
    return [
        Figure(
            f"frame age p99 ({over}; median {quiet.age_p50_ms:.1f} ms)",
            f"{quiet.age_p99_ms:.1f} ms",
            f"<= {oldest_ms:.1f} ms",
            quiet.age_p99_ms <= oldest_ms,
        ),
        Figure(
            "growth of frame age",
            f"{growth_ms.per_hour:+.2f} ± {growth_ms.error:.2f} ms/hour",
            f"within {CERTAIN:.0f} standard errors of 0",
            growth_ms.per_hour <= CERTAIN * growth_ms.error,
        ),
        Figure("resident memory at most", megabytes(quiet.rss_bytes), f"< {megabytes(RSS_BYTES)}",
               quiet.rss_bytes < RSS_BYTES),
        Figure(
            "growth of resident memory",
            f"{growth.per_hour / 1e6:+.2f} ± {growth.error / 1e6:.2f} MB/hour",
            f"< {RSS_PER_HOUR / 1e6:.0f} MB/hour",
            growth.per_hour < RSS_PER_HOUR,
        ),
        Figure(
            f"written to disk with no event ({quiet.events} events)",
            f"{quiet.written_bytes_per_day / 1e6:.2f} MB/day",
            f"< {WRITTEN_PER_DAY / 1e6:.0f} MB/day",
            quiet.written_bytes_per_day < WRITTEN_PER_DAY and not quiet.events,
        ),
    ]  # fmt: skip


def fault_figures(faults: Faults) -> list[Figure]:
    figures = [
        Figure(
            f"{trial.what}, recovered" + (f" ({trial.remark})" if trial.remark else ""),
            f"{trial.recovered}, slowest {trial.worst_s:.1f} s" if trial.times else "–",
            f"{trial.times}",
            trial.recovered == trial.times,
        )
        for trial in faults.trials
    ]
    return [
        *figures,
        Figure(f"events lost of {faults.emitted}", str(len(faults.lost)), "0", not faults.lost),
        Figure("events that came twice", str(len(faults.doubled)), "0", not faults.doubled),
        Figure("events in order", "yes" if faults.in_order else "no", "yes", faults.in_order),
    ]


def megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
