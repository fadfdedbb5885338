"""A process that is killed during events, again and again: none is lost, each fire gets its end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import defaultdict
from contextlib import closing, suppress
from pathlib import Path

import pytest

from edge.messages import END
from edge.sinks.disk_queue import DiskQueue
from edge.sinks.webhook import Webhook
from tests.support.edge_process import ENVIRONMENT, ROOT
from tests.support.http_receiver import Receiver, serving
from tests.support.waiting import wait_for

KILLS = 30

Key = tuple[str, int]


@pytest.mark.slow
def test_a_process_killed_thirty_times_loses_no_event_and_ends_every_fire(tmp_path: Path) -> None:
    rng, published = random.Random(0), []
    with serving(Receiver()) as receiver:
        for run in range(KILLS):
            command = [sys.executable, "-m", "tests.support.emit_events", receiver.url, str(tmp_path), str(run)]
            with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout
                for _ in range(rng.randint(1, 12)):
                    published.append(process.stdout.readline())
                process.kill()
                published += [line for line in process.stdout if line.endswith("\n")]
        for name in ("one", "two"):
            waiting = DiskQueue(tmp_path / name, 1e8)
            with closing(Webhook(receiver.url, waiting, wait_s=lambda _: 0.05)):
                waiting.write_pending()
                wait_for(lambda waiting=waiting: not len(waiting))  # type: ignore[misc]
    bodies: dict[Key, list[dict[str, object]]] = defaultdict(list)
    for body in receiver.bodies:
        with suppress(ValueError):  # cut off by the kill
            event = json.loads(body)
            bodies[event["id"], event["number"]].append(event)
    expected = {(fire, int(number)) for fire, number in map(str.split, published)}
    assert len(expected) > 100
    assert expected - bodies.keys() == set()
    assert len(receiver.bodies) < 3 * len(bodies)  # few copies
    assert all(len(bodies[key]) >= 2 for key in expected), "each of the two receivers gets each event"
    kinds = {key: {event["kind"] for event in copies} for key, copies in bodies.items()}
    last = {fire: max(number for other, number in bodies if other == fire) for fire, _ in bodies}
    assert {kind for fire, number in last.items() for kind in kinds[fire, number]} == {END}
