"""The demo's city: its keys, what it gives a kiosk at provisioning, what it publishes, and what it knows of people.

The keys live in this process only. Called by the demo's main program.
"""

import re
from contextlib import closing
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from city import publish, risk, signing
from city.provision import new_secrets, provision
from city.store import Store
from demo.cards import APP
from demo.cast import Cast
from demo.processes import DemoFault, database
from kiosk.broker import Broker
from kiosk.city_files import SNAPSHOT
from kiosk.credentials.keyring import city_issuers
from kiosk.messages import Flag

LINKS = re.compile(r"^links = \[.*\]$", re.MULTILINE)
LATER = Flag.ISOLATE
"""Whoever has this flag is not on the list at provisioning: they come on it over the broker."""
SUBJECT_KEY = b"a demo's key for pseudonyms only"


class City:
    """The city of one run.

    Args:
        seed: of its people.
        now: when the demo begins.
    """

    def __init__(self, seed: int, now: datetime) -> None:
        self._held = new_secrets(SUBJECT_KEY)
        self._key = signing.load_key(self._held.city)
        self._now = now
        self.cast = Cast(seed, signing.load_key(self._held.declaration), SUBJECT_KEY, now)
        authority = load_pem_private_key(self._held.authority, None)
        assert isinstance(authority, X25519PrivateKey)  # noqa: S101 - for the type checker
        self.authority = authority

    def provision(self, folder: Path, shipped_rules: Path) -> None:
        """Write what the kiosk is given, with everybody there is; and the city's own store of declarations.

        The rules are the shipped ones, and the links of an app of the demo's own.

        Raises:
            DemoFault: the shipped rules have no line for links.
        """
        provision(folder, self._held, self._now, self.cast.issuers, self.cast.revoked)
        (folder / SNAPSHOT).write_bytes(self._first_list())
        rules, found = LINKS.subn(f'links = ["{APP}"]', shipped_rules.read_text(encoding="utf-8"))
        if found != 1:
            raise DemoFault(f"{shipped_rules}: has no line `links = [...]`")
        (folder / "rules.toml").write_text(rules, encoding="utf-8")
        with closing(Store(database(folder))) as store:
            for known in self.cast.declared:
                store.keep_declaration(
                    known.payload, subject=known.subject, issued_at=known.issued_at, aliases=known.aliases
                )

    def publish(self, port: int) -> None:
        """Send what is newer than what the kiosk was given: the whole risk list, and what has changed on it."""
        listed, key = self.cast.listed, self._key
        added = {who: flag for who, flag in listed.items() if flag is LATER}
        updates = (
            risk.snapshot(listed, version=2, made_at=self._now, key=key),
            risk.delta(added, (), base=1, version=2, made_at=self._now, key=key),
        )
        city = city_issuers(signing.public_pem(self._held.city))
        publish.send(
            [publish.risk_list(update, city) for update in updates], Broker(host="127.0.0.1", port=port, tls=False)
        )

    def _first_list(self) -> bytes:
        given = {who: flag for who, flag in self.cast.listed.items() if flag is not LATER}
        return risk.snapshot(given, version=1, made_at=self._now, key=self._key)
