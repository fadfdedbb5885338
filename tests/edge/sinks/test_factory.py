"""Which sinks a configuration asks for, and what happens where one of them cannot be."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge.config import load_config
from edge.errors import UserError
from edge.sinks.factory import build_sinks


def names(told: dict[str, dict[str, object]], *, as_json: bool = True) -> list[str]:
    sinks = build_sinks(load_config(None, told), as_json=as_json, record=None)
    for sink in sinks:
        sink.close()
    return [type(sink).__name__ for sink in sinks]


def test_a_sink_is_there_only_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert names({}) == ["JsonLines"]
    everything: dict[str, dict[str, object]] = {
        "clips": {"folder": str(tmp_path / "events")},
        "web": {"listen": "127.0.0.1:0"},
        "mqtt": {"host": "127.0.0.1", "port": 9},
        "webhook": {"url": "http://127.0.0.1:9/"},
        "spool": {"folder": str(tmp_path / "spool")},
    }
    assert names(everything) == ["JsonLines", "Clips", "Prometheus", "WebPage", "Mqtt", "Webhook"]
    assert len(list((tmp_path / "spool").iterdir())) == 2


def test_a_run_that_cannot_have_its_page_does_not_even_speak_to_the_broker(tmp_path: Path) -> None:
    """Another run with the same configuration goes on undisturbed."""
    with socket.create_server(("127.0.0.1", 0)) as page, socket.create_server(("127.0.0.1", 0)) as broker:
        told: dict[str, dict[str, object]] = {
            "web": {"listen": f"127.0.0.1:{page.getsockname()[1]}"},
            "mqtt": {"host": "127.0.0.1", "port": broker.getsockname()[1]},
            "spool": {"folder": str(tmp_path / "spool")},
        }
        with pytest.raises(UserError):
            build_sinks(load_config(None, told), as_json=True, record=None)
        broker.settimeout(0.3)
        with pytest.raises(TimeoutError):
            broker.accept()
    assert not (tmp_path / "spool").exists()
