"""Decides what a QR payload is: a credential, or a refusal that says why not.

One table routes by shape; a new format is a new file and a new row. Nothing here commands or configures the device:
a text that tries to is an unknown format. Pure: whether a credential is still valid, and whether it lets anybody in,
is for `kiosk.risk`. Called by `kiosk.gate` once for each presentation.
"""

import unicodedata
from collections.abc import Callable

from kiosk.credentials import bhyt, cccd, declaration, hc1, link, place, shc, unsupported, vn1405
from kiosk.credentials.keyring import Keyring
from kiosk.credentials.subject import initials_of, subject_of
from kiosk.messages import Credential, Reason, Refusal

__all__ = ["Keyring", "initials_of", "read", "subject_of", "text_of"]

MAX_PAYLOAD_BYTES = 2953
"""What the largest QR code holds (version 40-L, ISO/IEC 18004)."""
ENDS = " \ufeff" + "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
"""Stripped from both ends: what scanners and label printers add. No format begins or ends in one of these."""

FORMATS: tuple[tuple[Callable[[str], bool], Callable[[str, Keyring], Credential | Refusal]], ...] = (
    (declaration.looks_like, declaration.parse),
    (hc1.looks_like, hc1.parse),
    (shc.looks_like, shc.parse),
    (unsupported.looks_like, unsupported.parse),
    (place.looks_like, place.parse),
    (vn1405.looks_like, vn1405.parse),
    (cccd.looks_like, cccd.parse),
    (bhyt.looks_like, bhyt.parse),
)
"""Shape test and parser, in order: the first shape that fits decides. After them come the links the city names."""


def read(payload: bytes, keyring: Keyring) -> Credential | Refusal:
    """Read the bytes of a code. Never raises, whatever the bytes."""
    text = text_of(payload)
    for looks_like, parse in FORMATS:
        if looks_like(text):
            return _unless_revoked(parse(text, keyring), keyring)
    if text.startswith(keyring.links):
        return link.parse(text, keyring)
    return Refusal(reason=Reason.UNKNOWN_FORMAT, detail="payload: none of the formats this kiosk reads")


def _unless_revoked(read: Credential | Refusal, keyring: Keyring) -> Credential | Refusal:
    if isinstance(read, Refusal) or not read.digest or read.digest not in keyring.revoked:
        return read
    return Refusal(reason=Reason.CERTIFICATE_REVOKED, detail="code: revoked by the city", scheme=read.scheme)


def text_of(payload: bytes) -> str:
    """Give the text in NFC, so that every spelling of a name is one; empty where it is not UTF-8 or too long.

    A health-insurance card alone may be ISO 8859-1, the QR standard's default: some have their guardian in it.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        return ""
    try:
        return unicodedata.normalize("NFC", payload.decode("utf-8")).strip(ENDS)
    except UnicodeDecodeError:
        text = payload.decode("iso-8859-1").strip(ENDS)
        return text if bhyt.looks_like(text) else ""
