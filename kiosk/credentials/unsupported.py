"""Recognises health certificates that this version does not read, so that the guard does.

The numbers of `HC` after 1, which are reserved for other contents, and the ICAO's VDS-NC. It opens none of them:
neither signature nor person is known. Called through the routing table.
"""

import re

from kiosk.credentials.keyring import Keyring
from kiosk.messages import Reason, Refusal

HC_PREFIX = re.compile(r"HC[2-9A-Z]:")
VDS_NC = re.compile(r'\{.*"icao\.(?:vacc|test)"', re.DOTALL)
"""JSON that names one of the two types of ICAO's Visible Digital Seal for travel."""


def looks_like(text: str) -> bool:
    """Whether this is meant as a health certificate of another kind than those read."""
    return bool(HC_PREFIX.match(text) or VDS_NC.match(text))


def parse(_text: str, _keyring: Keyring) -> Refusal:
    """Refuse it by its right name."""
    return Refusal(
        reason=Reason.UNSUPPORTED_CERTIFICATE, detail="payload: a health certificate of a kind this kiosk cannot read"
    )
