"""Why a connection to an MQTT broker fails, in words that say what to do."""

from __future__ import annotations

import ssl
from socket import gaierror

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.config_tables import MqttSection
from edge.errors import one_line, reason_of

SAYS_NOTHING = "accepts the connection and does not answer: check [mqtt] host, port and tls"
NOT_MQTT = "answers something other than MQTT: check [mqtt] host and port"
NO_ACKNOWLEDGEMENT = "does not acknowledge events; connecting again"
TAKES_OVER = "drops the connection again and again: give each run its own [mqtt] name"
NAME_CLASH = "has another client that publishes under this camera's name: give each camera its own [mqtt] name"

_LOGIN = "check [mqtt] user and password"
_REMEDIES = {
    "Unsupported protocol version": "it must speak MQTT 5, as mosquitto 1.6 and later do: update it or use another",
    "Not authorized": _LOGIN,
    "Bad user name or password": _LOGIN,
    "Bad authentication method": _LOGIN,
    "Client identifier not valid": "allow client ids that begin with fireseg-",
    "Banned": "ask its administrator",
}


def connect_problem(error: BaseException) -> str:
    """Return why no connection was made."""
    match error:
        case ssl.SSLCertVerificationError():
            reason = one_line(error.verify_message)
            return f"has an invalid certificate ({reason}): check [mqtt] host and ca_file, and this machine's clock"
        case ssl.SSLError():
            reason = one_line(error.reason or str(error))
            return f"does not answer in TLS ({reason}): set [mqtt] tls = false, or the port that it uses for TLS"
        case gaierror():
            return f"has no address ({error.strerror}): check [mqtt] host"
        case _:
            reason = one_line(reason_of(error))
            return f"cannot be reached ({reason}): check that it runs, and [mqtt] host, port and tls"


def refusal(reason: ReasonCode, properties: Properties | None) -> str:
    """Return why the broker refuses the connection."""
    name = reason.getName()
    remedy = _REMEDIES.get(name, "")
    return f"refuses the connection ({reason_text(reason, properties)}){': ' if remedy else ''}{remedy}"


def early_end(reason: ReasonCode, broker: MqttSection) -> str:
    """Return why the connection ended before the broker answered."""
    match reason.getName():
        case "Keep alive timeout":
            return SAYS_NOTHING
        case "Protocol error" | "Malformed packet":
            return NOT_MQTT
    advice = "tls = false" if broker.tls else "tls = true"
    return f"closes the connection without an answer: check [mqtt] port, or set {advice}; it must speak MQTT 5"


def reason_text(reason: ReasonCode, properties: Properties | None) -> str:
    """Return the broker's reason, with its own words if it gives any."""
    words = getattr(properties, "ReasonString", "")
    return f"{reason}, {one_line(words)}" if words else str(reason)
