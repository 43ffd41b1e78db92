"""PURE. What would change on a door: what it is to be, held against what it is.

Decides which files a door gets, when it needs a certificate, and what must be sent. `fleet.work` carries it out, and
asks again afterwards: a second plan of the same is empty.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from fleet.bundle import Bundle, Entry
from fleet.hardware import SCREEN_UNIT
from fleet.inventory import Door
from kiosk.settings import ScreenSettings

CONFIG, KEYS = "/etc/kiosk", "/etc/kiosk/keys"
DEVICE_PEM = f"{KEYS}/device.pem"
MODE, UNIT_MODE = 0o640, 0o644
RENEW_BEFORE = timedelta(days=30)
"""kiosk-fleet signs anew what ends sooner; until then renewing is the kiosk's and the city's own affair."""

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class City:
    """What the city gives a door: files by their names below /etc/kiosk/keys, and the authority that signs doors."""

    files: Mapping[str, bytes]
    devices: x509.Certificate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that apply would do at one door, in this order; nothing where all is empty."""

    device: str
    bundle: Bundle
    packages: tuple[str, ...] = ()
    send: tuple[Entry, ...] = ()
    install: bool = False
    certificate: str = ""
    files: tuple[str, ...] = ()
    release_before: str | None = None
    start: bool = False

    @property
    def release_after(self) -> str:
        """The name of the release that is meant."""
        return self.bundle.name

    @property
    def changes_door(self) -> bool:
        """Whether the running kiosk is to become another one."""
        return bool(self.certificate or self.files or self.start or self.release_before != self.release_after)

    @property
    def steps(self) -> tuple[str, ...]:
        """What would be done, in words."""
        mega = sum(entry.size for entry in self.send) / 1e6
        switch = self.release_before != self.release_after
        words = {
            f"install {', '.join(self.packages)}": self.packages,
            f"send {len(self.send)} files, {mega:.1f} MB": self.send,
            f"install release {self.release_after}": self.install,
            f"certificate: {self.certificate}": self.certificate,
            f"write {', '.join(self.files)}": self.files,
            f"run {self.release_after} in place of {self.release_before or 'nothing'}": switch,
            "start what should run and does not": self.start and not switch,
        }
        return tuple(text for text, wanted in words.items() if wanted)


def contents(door: Door, city: City) -> dict[str, bytes]:
    """The files that a door gets from the laptop, by their places; the rest comes with the release."""
    keys = {f"{KEYS}/{name}": content for name, content in city.files.items()}
    own = {f"{CONFIG}/kiosk.toml": door.kiosk_toml().encode()}
    if door.screen:
        port = door.settings.get("screen", {}).get("port", ScreenSettings().port)
        own[f"{CONFIG}/screen.env"] = f"SCREEN_PORT={port}\n".encode()
    return {**own, **keys}


def installed(door: Door, bundle: Bundle) -> dict[str, Entry]:
    """The files of the release that belong outside it, by their places; a screen's unit only where there is one."""
    idle = {SCREEN_UNIT}.difference(door.units)
    return {place: entry for place, entry in bundle.installed().items() if place.rpartition("/")[2] not in idle}


def asked(door: Door, city: City, bundles: Iterable[Bundle]) -> dict[str, Any]:
    """What must be known of a door for a plan: `fleet.on_device.facts` answers."""
    units = {place for bundle in bundles for place in installed(door, bundle)}
    return {"files": sorted({*contents(door, city), *units}), "packages": door.packages, "units": door.units}


def plan(door: Door, facts: Facts, bundle: Bundle, city: City, now: datetime) -> Plan:
    """Compare; the answer says all that would be done."""
    install = bundle.name not in facts["releases"]
    stored = set(facts["store"])
    meant = {place: hashlib.sha256(content).hexdigest() for place, content in contents(door, city).items()}
    meant |= {place: entry.sha256 for place, entry in installed(door, bundle).items()}
    return Plan(
        device=door.device,
        bundle=bundle,
        packages=tuple(facts["missing"]),
        send=tuple(entry for entry in bundle.entries if entry.sha256 not in stored) if install else (),
        install=install,
        certificate=_certificate(door, facts, city, now),
        files=tuple(place for place, digest in sorted(meant.items()) if facts["files"].get(place) != digest),
        release_before=facts["release"],
        start=facts["service"] != "active" or facts["enabled"] != door.units,
    )


def _certificate(door: Door, facts: Facts, city: City, now: datetime) -> str:
    """Why the door needs a certificate signed; empty if it does not."""
    if not door.settings.get("uplink", {}).get("certificate_file"):
        return ""
    if not facts["key"]:
        return "a new key, made on the door, and its certificate"
    reasons = [_objection(text, door.device, city, now) for text in facts["certificates"]]
    return "" if "" in reasons else reasons[0]


def _objection(text: str, device: str, city: City, now: datetime) -> str:
    try:
        held = x509.load_pem_x509_certificates(text.encode())[0]
    except ValueError:
        return "there is none"
    names = [attribute.value for attribute in held.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [device]:
        return f"the one there is for {', '.join(map(str, names))}"
    if held.not_valid_after_utc - now < RENEW_BEFORE:
        return f"the one there ends on {held.not_valid_after_utc:%Y-%m-%d}"
    if city.devices is not None and not _signed_by(held, city.devices):
        return "the one there is by another authority"
    return ""


def _signed_by(held: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        held.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
