"""Which sinks a configuration asks for, and what happens if one of them cannot be built."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from edge.config import load_config
from edge.errors import UserError
from edge.messages import START
from edge.sinks.clips import Clips
from edge.sinks.factory import build_notifiers, build_sinks
from edge.sinks.terminal import JsonLines
from tests.support.factories import event
from tests.support.waiting import wait_for


def names(**sections: dict[str, Any]) -> list[str]:
    sinks = build_sinks(load_config(None, sections), as_json=True, record=None)
    for sink in sinks:
        sink.close()
    return [type(sink).__name__ for sink in sinks]


def test_only_configured_sinks_are_built_and_systemd_is_called_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert names() == ["JsonLines"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert names(
            clips={"folder": str(tmp_path / "events")},
            web={"listen": "127.0.0.1:0"},
            mqtt={"host": "127.0.0.1", "port": 9},
            webhook={"url": "http://127.0.0.1:9/"},
            spool={"folder": str(tmp_path / "outbox")},
        ) == ["JsonLines", "Clips", "Prometheus", "WebPage", "Mqtt", "Webhook", "Systemd"]
    assert len(list((tmp_path / "outbox").iterdir())) == 2


def test_a_run_whose_page_cannot_be_served_does_not_contact_the_broker(tmp_path: Path) -> None:
    """Another run with the same configuration is not disturbed."""
    with socket.create_server(("127.0.0.1", 0)) as page, socket.create_server(("127.0.0.1", 0)) as broker:
        with pytest.raises(UserError):
            names(
                web={"listen": f"127.0.0.1:{page.getsockname()[1]}"},
                mqtt={"host": "127.0.0.1", "port": broker.getsockname()[1]},
                spool={"folder": str(tmp_path / "outbox")},
            )
        broker.settimeout(0.1)
        with pytest.raises(TimeoutError):
            broker.accept()
    assert not (tmp_path / "outbox").exists()


def test_sinks_that_were_built_are_closed_if_a_later_one_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(JsonLines, "close", lambda _: closed.append("JsonLines"))
    monkeypatch.setattr(Clips, "close", lambda _: closed.append("Clips"))
    with socket.create_server(("127.0.0.1", 0)) as page, pytest.raises(UserError):
        names(
            clips={"folder": str(tmp_path / "events")},
            web={"listen": f"127.0.0.1:{page.getsockname()[1]}"},
        )
    assert closed == ["JsonLines", "Clips"]


def test_the_outbox_of_a_sink_that_cannot_be_built_is_free_for_a_fallback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    spool = {"folder": str(tmp_path / "outbox")}
    with pytest.raises(UserError, match="ca_file"):
        names(mqtt={"host": "127.0.0.1", "port": 9, "tls": True, "ca_file": str(tmp_path / "ca.pem")}, spool=spool)
    assert names(mqtt={"host": "127.0.0.1", "port": 9}, spool=spool) == ["JsonLines", "Mqtt"]
    assert "another run uses it" not in caplog.text


def test_events_of_a_receiver_that_was_renamed_are_reported_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for url in ("http://127.0.0.1:9/old", "http://127.0.0.1:9/new"):
        caplog.clear()
        (sink,) = build_notifiers(load_config(None, {"webhook": {"url": url}, "spool": {"folder": str(tmp_path)}}))
        sink.on_event(event(START))
        wait_for(lambda: list(tmp_path.glob("*/0*.json")))
        sink.close()
        wait_for(lambda: not any(thread.name.startswith("http://127.0.0.1:9/") for thread in threading.enumerate()))
    assert "1 event for another receiver in " in caplog.text
