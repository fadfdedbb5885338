"""A server cannot hold an update: not by dripping bytes, by asking it to wait, or by redirects."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge.errors import UserError
from edge.update.update import Update
from tests.support.model_repository import Handler, Machine, Site

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("dripping", "drips_body"), [("/metadata/", True), ("/metadata/", False), ("/targets/", True)])
def test_a_server_that_drips_bytes_is_given_up_in_time_and_the_next_update_succeeds(
    dripping: str, drips_body: bool, site: Site, machine: Machine, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.repository().add(newer, "base")
    site.dripping, site.drips_body = dripping, drips_body
    limit_s = "METADATA_S" if dripping == "/metadata/" else "MODEL_S"
    with machine.run():
        with monkeypatch.context() as bound:
            bound.setattr(f"edge.update.client.{limit_s}", 2.0)
            bound.setattr("edge.update.client.MIN_BYTES_PER_S", 1e9)
            began_s = time.monotonic()
            with pytest.raises(UserError, match=r"could not be read \(not complete after 2 s\): check the network"):
                machine.update()
            assert time.monotonic() - began_s < 30
        site.dripping = ""
        assert machine.update().result == "adopted"


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://127.0.0.1:9/x", "/metadata/x"])
def test_a_redirect_leads_to_the_web_only_and_not_in_circles(
    target: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def redirect(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    monkeypatch.setattr(Handler, "do_GET", redirect)
    with pytest.raises(UserError, match=r"could not be read|answered 302"):
        Update(machine.config).check()


def test_a_password_that_a_redirect_quotes_is_not_shown(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def redirect(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://me:hunter2@127.0.0.1/x")
        handler.end_headers()

    monkeypatch.setattr(Handler, "do_GET", redirect)
    with pytest.raises(UserError, match=r"could not be read \(InvalidURL\)") as error:
        Update(machine.config).check()
    assert "hunter2" not in f"{error.value}{error.value.__cause__}"


def test_a_server_cannot_make_the_update_sleep(site: Site, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(handler: Handler) -> None:
        handler.send_response(503)
        handler.send_header("Retry-After", "100000")
        handler.end_headers()

    monkeypatch.setattr(Handler, "do_GET", busy)
    with pytest.raises(UserError, match="answered 503"):
        Update(machine.config).check()
