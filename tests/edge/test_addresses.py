"""Users and passwords in addresses, and from keys of their own."""

from __future__ import annotations

import base64
import string
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.addresses import add_login, check_login
from edge.camera import build_camera
from edge.camera.base import CameraSettings
from edge.config import load_config
from edge.errors import UserError
from edge.secrets import redact
from edge.sinks.factory import build_notifiers
from tests.support.factories import event
from tests.support.waiting import wait_for

VARIABLES = "FIRESEG_TEST_USER", "FIRESEG_TEST_PASSWORD"
USER, PASSWORD = "me", "p#s/w?r@d:%41ü"
secrets = st.text(string.ascii_letters + string.digits + "#/?@:[]%&=+ü ", min_size=1, max_size=20)


@pytest.mark.parametrize("sign", "#/?[")
@pytest.mark.parametrize("scheme", ["rtsp", "https"])
def test_a_sign_that_must_be_percent_encoded_is_named_and_the_password_is_not(scheme: str, sign: str) -> None:
    with pytest.raises(UserError, match="%23 %2F %3F %40") as error:
        check_login(f"{scheme}://me:hun{sign}ter2@cam:554/live")
    assert "ter2" not in str(error.value)
    check_login(f"{scheme}://me:hun{quote(sign, safe='')}ter2@cam:554/live")


@pytest.mark.parametrize(
    "url", ["rtsp://me:pw@cam/1", "http://cam/a@b", "http://me:p@w@[::1]:80/a?b=c@d", "rtsp://cam"]
)
def test_other_addresses_are_accepted(url: str) -> None:
    check_login(url)


@given(user=secrets, password=secrets)
def test_a_login_is_encoded_so_that_nothing_of_it_is_lost(
    user: str, password: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "password"
    file.write_text(password, encoding="utf-8")
    url = add_login("rtsp://old:login@cam:554/live?a=b", VARIABLES, user, str(file))
    check_login(url)
    parts = urlsplit(url)
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)
    assert url.endswith("@cam:554/live?a=b")
    assert redact(url).startswith("rtsp://***@cam:554")


def test_variables_override_the_keys_and_what_is_not_an_address_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert add_login("rtsp://cam/1", VARIABLES, "", "") == "rtsp://cam/1"
    for name, value in zip(VARIABLES, ("you", "secret"), strict=True):
        monkeypatch.setenv(name, value)
    assert add_login("rtsp://cam/1", VARIABLES, "me", "") == "rtsp://you:secret@cam/1"
    assert add_login("picamera2", VARIABLES, "me", "") == "picamera2"


class Handler(BaseHTTPRequestHandler):
    """A camera and a webhook that both want the login."""

    logins: list[bytes]

    def do_GET(self) -> None:
        if not self._is_logged_in():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        jpeg = cv2.imencode(".jpg", np.zeros((24, 32, 3), np.uint8))[1].tobytes()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
        self.end_headers()
        self.wfile.write(b"--b\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n--b\r\n")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self._is_logged_in() else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _is_logged_in(self) -> bool:
        login = base64.b64decode(self.headers.get("Authorization", "").partition(" ")[2])
        if login:
            self.logins.append(login)
        return login == f"{USER}:{PASSWORD}".encode()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.logins = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/1"
        server.shutdown()
        thread.join()


def test_camera_and_webhook_log_in_with_a_password_that_is_in_no_address(server: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    keys = f'user = "{USER}"\npassword_file = "password"\n'
    path = tmp_path / "fireseg.toml"
    path.write_text(
        f'[source]\naddress = "{server}"\n{keys}[webhook]\nurl = "{server}"\n{keys}[spool]\nfolder = "spool"\n'
    )
    config = load_config(path)
    camera = build_camera(config.source.address_with_login(), CameraSettings())
    camera.open()
    frame = camera.read()
    assert frame is not None
    assert frame.rgb.shape == (24, 32, 3)
    camera.close()
    assert PASSWORD not in camera.name + repr(config)
    (webhook,) = build_notifiers(config)
    webhook.on_event(event("start"))
    wait_for(lambda: len(Handler.logins) >= 2)
    webhook.close()
    assert set(Handler.logins) == {f"{USER}:{PASSWORD}".encode()}
    assert not list((tmp_path / "spool").rglob("*.json"))
