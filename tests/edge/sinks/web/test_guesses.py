"""Wrong passwords: how long clients wait, which clients are exempt, and what is logged."""

from __future__ import annotations

import logging

import pytest

from edge.secrets import WEB_PASSWORD
from edge.sinks.web.guesses import (
    FORGET_S,
    FREE_GUESSES,
    MAX_GUESSES_PER_MINUTE,
    MAX_NETWORKS,
    GuessLimiter,
    network_of,
)  # fmt: skip
from tests.support.factories import run_status
from tests.support.web_client import Clock, basic_auth, config, get, serving

PASSWORD = "grün : & geheim"
HOME, OTHER = "192.168.1.7", "192.168.1.8"


def guess(limiter: GuessLimiter, network: str, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        limiter.record_failure(network, b"guess %d" % number)


def test_each_wrong_password_doubles_the_wait_of_its_network_up_to_a_minute() -> None:
    clock = Clock()
    limiter = GuessLimiter(clock)
    waits = []
    for number in range(FREE_GUESSES + 8):
        guess(limiter, HOME, 1, first=number)
        waits.append(limiter.wait_s(HOME, b"next"))
        clock.now_s += 61
    assert waits == [0.0] * FREE_GUESSES + [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_network_waits_for_its_own_wrong_passwords_alone() -> None:
    limiter = GuessLimiter(Clock())
    guess(limiter, HOME, FREE_GUESSES + 1)
    assert limiter.wait_s(HOME, PASSWORD.encode()) == 1.0
    assert limiter.wait_s(OTHER, PASSWORD.encode()) == 0.0


def test_many_networks_together_guess_no_faster_than_the_limit_per_minute() -> None:
    clock = Clock()
    limiter = GuessLimiter(clock)
    limiter.record_success(HOME)
    checked = 0
    for number in range(500):
        if limiter.wait_s(f"10.0.0.{number}", b"guess") == 0:
            checked += 1
            limiter.record_failure(f"10.0.0.{number}", b"guess")
    assert checked == MAX_GUESSES_PER_MINUTE
    assert limiter.wait_s(OTHER, PASSWORD.encode()) > 0
    assert limiter.wait_s(HOME, PASSWORD.encode()) == 0  # has signed in before
    for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):  # health checks and Prometheus of this machine
        assert limiter.wait_s(network_of(host), PASSWORD.encode()) == 0
    clock.now_s += 60
    assert limiter.wait_s(OTHER, PASSWORD.encode()) == 0


def test_the_same_wrong_password_again_counts_once() -> None:
    limiter = GuessLimiter(Clock())
    for _ in range(100):  # a tab with the password of last year
        limiter.record_failure(HOME, b"last year's")
    assert limiter.wait_s(HOME, PASSWORD.encode()) == 0


def test_wrong_passwords_are_forgotten_and_their_memory_is_limited() -> None:
    clock = Clock()
    limiter = GuessLimiter(clock)
    guess(limiter, HOME, FREE_GUESSES + 3)
    clock.now_s += FORGET_S
    assert limiter.wait_s(HOME, b"next") == 0
    guess(limiter, HOME, 1)
    assert limiter.wait_s(HOME, b"next") == 0
    for number in range(2 * MAX_NETWORKS):
        limiter.record_failure(f"network {number}", b"guess")
        limiter.record_success(f"network {number}")
    assert len(limiter._guessers) == len(limiter._signed_in) == MAX_NETWORKS


def test_an_attack_is_logged_when_it_begins_and_when_it_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO)
    limiter = GuessLimiter(clock)
    guess(limiter, HOME, FREE_GUESSES)
    assert caplog.records == []
    for number in range(100):
        guess(limiter, HOME if number % 2 else OTHER, 1, first=100 + number)
        limiter.poll()
        clock.now_s += 3
    clock.now_s += FORGET_S
    limiter.poll()
    limiter.poll()
    assert [record.getMessage() for record in caplog.records] == [
        "wrong passwords for the live page from 192.168.1.7: sign-ins are slowed down",
        "no more wrong passwords for the live page: 95 from 2 addresses in 5 minutes",
    ]


def test_an_ipv6_client_is_known_by_its_network() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("::ffff:192.168.1.7") == network_of("192.168.1.7") == "192.168.1.7"
    assert network_of("fe80::1%eth0") == "fe80::/64"


def test_guessers_wait_while_a_signed_in_browser_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEB_PASSWORD, PASSWORD)
    clock = Clock()
    right = basic_auth(PASSWORD)
    with serving(config("0.0.0.0:0"), clock=clock) as page:
        cookie = get(page, "/", headers=right)[1]["Set-Cookie"]
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
        browser = right | {"Cookie": cookie.partition(";")[0]}
        codes = [get(page, "/", headers=basic_auth(f"guess {number}"))[0] for number in range(20)]
        assert codes == [401] * (FREE_GUESSES + 1) + [429] * (19 - FREE_GUESSES)
        code, headers, body = get(page, "/", headers=right)
        assert (code, headers["Retry-After"]) == (429, "1")
        assert body == b"Too many wrong passwords: try again in 1 s.\n"
        code, headers, _ = get(page, "/", headers=browser)
        assert (code, headers["Set-Cookie"]) == (200, None)
        assert get(page, "/", headers={"Cookie": browser["Cookie"]})[0] == 401  # the cookie alone opens nothing
        assert get(page, "/")[0] == 401  # not a guess
        assert get(page, "/healthz")[0] == 200
        clock.now_s += 1
        page.on_status(run_status())
        assert get(page, "/", headers=right)[0] == 200
