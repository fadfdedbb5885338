"""Limit guesses of the page's password: per network, and overall."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from edge.retry import backoff_s

log = logging.getLogger(__name__)

FREE_GUESSES = 5  # wrong passwords of a network without a wait
MAX_GUESSES_PER_MINUTE = 20  # of all networks together
FORGET_S = 900.0  # after the last wrong password
MAX_NETWORKS = 1000
IPV6_LOOPBACK = "::/64"  # the network of ::1


def network_of(host: str) -> str:
    """Return what one client can hardly change: its IPv4 address, or the /64 network of its IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return host


@dataclass
class Guesser:
    """The wrong passwords of one network."""

    count: int = 0
    last_s: float = 0.0
    last_digest: bytes = b""
    free_s: float = 0.0  # when the next is checked


class GuessLimiter:
    """Decides whether a password is checked now.

    A wait grows with each wrong password of a network. Passwords are not checked meanwhile, the right one neither:
    otherwise a wait would limit nothing. Wrong passwords of others delay neither this machine nor a network that
    signed in before. Clients that signed in before hold a token that spares them the wait. Sending
    the same wrong password again, as a forgotten browser tab does, counts once.

    Logs once when the first network has to wait, and once when nobody has guessed for `FORGET_S`.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._guessers: OrderedDict[str, Guesser] = OrderedDict()  # the latest last
        self._signed_in: OrderedDict[str, None] = OrderedDict()  # networks
        self._salt = secrets.token_bytes(16)
        self._minute_s, self._in_minute = 0.0, 0
        self._attack_guesses = 0
        self._attack_s = 0.0
        self._attackers: set[str] = set()
        self.token = secrets.token_urlsafe(16)

    def wait_s(self, network: str, password: bytes, token: str = "") -> float:
        """Return the seconds until the password of a request may be checked; 0 to check it now."""
        if secrets.compare_digest(token.encode(), self.token.encode()):
            return 0.0
        with self._lock:
            now_s = self._clock()
            self._forget(now_s)
            guesser = self._guessers.get(network)
            if guesser and guesser.last_digest == self._digest(password):
                return 0.0  # known to be wrong
            wait_s = guesser.free_s - now_s if guesser else 0.0
            is_known = network in self._signed_in or network.startswith("127.") or network == IPV6_LOOPBACK
            if self._in_minute >= MAX_GUESSES_PER_MINUTE and not is_known:
                wait_s = max(wait_s, self._minute_s + 60.0 - now_s)
            return max(0.0, wait_s)

    def record_failure(self, network: str, password: bytes) -> None:
        """Count a wrong password."""
        with self._lock:
            now_s, digest = self._clock(), self._digest(password)
            guesser = self._guessers.setdefault(network, Guesser())
            if guesser.last_digest == digest:
                return
            self._guessers.move_to_end(network)
            guesser.last_s, guesser.last_digest = now_s, digest
            guesser.count += 1
            self._in_minute += 1
            if guesser.count > FREE_GUESSES:
                guesser.free_s = now_s + backoff_s(guesser.count - FREE_GUESSES)
            if guesser.count > FREE_GUESSES or self._in_minute >= MAX_GUESSES_PER_MINUTE:
                self._note_attack(network, now_s)
            while len(self._guessers) > MAX_NETWORKS:
                self._guessers.popitem(last=False)

    def record_success(self, network: str) -> None:
        """Remember the network of a right password."""
        with self._lock:
            self._signed_in[network] = None
            self._signed_in.move_to_end(network)
            while len(self._signed_in) > MAX_NETWORKS:
                self._signed_in.popitem(last=False)

    def poll(self) -> None:
        """Log the end of an attack; called about once a second."""
        with self._lock:
            self._forget(self._clock())

    def _note_attack(self, network: str, now_s: float) -> None:
        if not self._attackers:
            self._attack_s = now_s
            log.warning("wrong passwords for the live page from %s: sign-ins are slowed down", network)
        if len(self._attackers) < MAX_NETWORKS:
            self._attackers.add(network)
        self._attack_guesses += 1

    def _forget(self, now_s: float) -> None:
        if now_s - self._minute_s >= 60.0:
            self._minute_s, self._in_minute = now_s, 0
        while self._guessers and now_s - next(iter(self._guessers.values())).last_s >= FORGET_S:
            self._guessers.popitem(last=False)
        if self._attackers and not self._guessers:
            log.info(
                "no more wrong passwords for the live page: %d from %d addresses in %.0f minutes",
                self._attack_guesses, len(self._attackers), (now_s - self._attack_s - FORGET_S) / 60,
            )  # fmt: skip
            self._attackers.clear()
            self._attack_guesses = 0

    def _digest(self, password: bytes) -> bytes:
        return hashlib.blake2b(password, key=self._salt, digest_size=16).digest()
