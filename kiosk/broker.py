"""Which broker, and how to know that it is the city's. The uplink connects with it; the daemon fills it in."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from kiosk.errors import UplinkFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where and how to log in. `ca_file` empty: the system's authorities."""

    host: str
    port: int
    tls: bool
    username: str = ""
    password: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


def tls_context(broker: Broker) -> ssl.SSLContext:
    """Trust the city's authority (or the system's), show our certificate, TLS 1.2 or newer.

    Raises:
        UplinkFault: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=broker.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if broker.certificate_file:
            context.load_cert_chain(Path(broker.certificate_file), Path(broker.key_file))
    except (OSError, ssl.SSLError) as error:
        raise UplinkFault(
            f"uplink: certificates cannot be used ({error}); check ca_file, certificate_file, key_file"
        ) from error
    return context
