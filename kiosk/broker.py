"""Which broker, and how to know that it is the city's. The uplink connects with it; the daemon fills it in."""

import ssl
from dataclasses import dataclass, replace
from pathlib import Path

from kiosk.device_keys import newest_pair
from kiosk.errors import UplinkFault
from kiosk.settings import UplinkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where and how to log in. `host` is a name or an address of IPv4 or IPv6. `ca_file` empty: the system's.

    `renewed_file` is where a pair stands that this door has renewed itself (`kiosk.device_keys`); it wins if newer.
    """

    host: str
    port: int
    tls: bool
    username: str = ""
    password: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    renewed_file: str = ""

    @property
    def address(self) -> str:
        """Where it is, to be read."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def brokers_of(settings: UplinkSettings, renewed_file: str = "") -> list[Broker]:
    """The broker of the settings, and then its others, all with the same log-in."""
    first = Broker(
        host=settings.host.strip("[]"),
        port=settings.port,
        tls=settings.tls,
        username=settings.username,
        password=settings.password.get_secret_value(),
        ca_file=settings.ca_file,
        certificate_file=settings.certificate_file,
        key_file=settings.key_file,
        renewed_file=renewed_file,
    )
    parts = [address.rpartition(":") for address in settings.others]
    return [first, *(replace(first, host=host.strip("[]"), port=int(port)) for host, _, port in parts)]


def tls_context(broker: Broker) -> ssl.SSLContext:
    """Trust the city's authority (or the system's), show our certificate, TLS 1.2 or newer.

    Raises:
        UplinkFault: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=broker.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if broker.certificate_file:
            context.load_cert_chain(*newest_pair(broker.renewed_file, broker.certificate_file, broker.key_file))
    except (OSError, ssl.SSLError) as error:
        raise UplinkFault(
            f"uplink: certificates cannot be used ({error}); check ca_file, certificate_file, key_file"
        ) from error
    return context


_Mark = tuple[str, int, int, int]


class TlsFiles:
    """The files of one broker's TLS, which may be renewed at any time, one after the other.

    Args:
        broker: names them.

    Raises:
        UplinkFault: they cannot be used.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._used = self._marks()
        self._context = tls_context(broker)
        self.trouble = ""
        """Why the files as they are now cannot be used; the last good ones are in use then."""

    def for_connection(self) -> ssl.SSLContext:
        """Make a context from the files as they are."""
        marks = self._marks()
        try:
            self._context = tls_context(self._broker)
        except UplinkFault as fault:
            self.trouble = str(fault)
        else:
            self._used, self.trouble = marks, ""
        return self._context

    def renewed(self) -> bool:
        """Whether there are other files than those in use, and they can be used."""
        if self._marks() == self._used:
            self.trouble = ""
            return False
        try:
            tls_context(self._broker)
        except UplinkFault as fault:
            self.trouble = str(fault)
            return False
        self.trouble = ""
        return True

    def _marks(self) -> list[_Mark]:
        broker, marks = self._broker, []
        for name in filter(None, (broker.ca_file, broker.certificate_file, broker.key_file, broker.renewed_file)):
            try:
                found = Path(name).stat()
            except OSError:
                marks.append((name, 0, 0, 0))
            else:
                marks.append((name, found.st_mtime_ns, found.st_size, found.st_ino))
        return marks
