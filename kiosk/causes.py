"""Why a broker cannot be spoken to, in words for a technician: their line, a captive network, or the broker.

Decides by the exception of the attempt, or by the first bytes that came; does nothing itself. `kiosk.connection`
calls it.
"""

import errno
import socket
import ssl


class NotMqtt(Exception):
    """What answers is no MQTT broker.

    Args:
        said: its first bytes, one at least.
    """

    def __init__(self, said: bytes) -> None:
        super().__init__(said)
        self.said = said


_CAPTIVE = "something else answers in the broker's place: a captive network"
_OTHER_AUTHORITY = f"its certificate is of an unknown authority: {_CAPTIVE}, or uplink.ca_file is not the city's"
_OTHER_NAME = f"its certificate is for another host: {_CAPTIVE}, or uplink.host is not the broker's name"
_NOT_TLS = f"it does not answer in TLS: {_CAPTIVE}, or uplink.port is not the broker's port for TLS"
_WEB = f"it answers in HTTP: {_CAPTIVE}, or uplink.port is a web server's"
_NO_BROKER = "it does not answer in MQTT: uplink.port is not the broker's"
_NO_ROUTE = "there is no way there: this door has no network; check cable, address and router"
_CUT = "it hung up at once: a firewall, or a broker that does not want TLS at this port"

_CERTIFICATE = {
    9: "its certificate is not valid yet by this door's clock, which is wrong: wait for the time, or set it",
    10: "its certificate has expired, or this door's clock is ahead: check the time, then the broker's certificate",
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
"""By X509_V_ERR (openssl-verification-options): not yet valid, expired, and two for names that do not match."""
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
_OURS_REFUSED = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
"""In the alerts that a broker sends about a client's certificate (RFC 8446, 6.2)."""


def why(error: Exception) -> str:
    """Say it in one sentence without a full stop."""
    match error:
        case NotMqtt(said=said):
            return _WEB if said.startswith((b"H", b"<")) else _NO_BROKER
        case ssl.SSLCertVerificationError():
            return _CERTIFICATE.get(error.verify_code, _OTHER_AUTHORITY)
        case ssl.SSLError():
            return _of_tls(error)
        case socket.gaierror():
            return f"its name is not known ({error.strerror}): check uplink.host, the name server and the network"
    return _of_line(error)


def _of_line(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "nothing listens there: the broker is down, or uplink.port is wrong"
        case TimeoutError():
            return "no answer in time: a firewall drops what is sent, or the line or the broker is overloaded"
        case ConnectionError():
            return _CUT
        case OSError() if error.errno in _UNREACHABLE:
            return _NO_ROUTE
    return f"{type(error).__name__}: {error}"


def _of_tls(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if "ALERT" in reason and any(word in reason for word in _OURS_REFUSED):
        return f"it refuses this door's certificate ({reason}): expired, revoked or of another authority; renew it"
    if "ALERT" in reason:
        return f"it refuses this door's TLS ({reason}); check the broker's versions and ciphers"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _CUT
    return f"{_NOT_TLS} ({reason or type(error).__name__})"
