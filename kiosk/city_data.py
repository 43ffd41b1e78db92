"""Puts together what the gate judges by: the site's rules and what the city has sent since.

Decides what wins: the city's rules and areas over the site's, as long as they keep the law that rules must keep. Called
by the daemon at start and at each change, and by `kiosk explain`.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from kiosk import credentials
from kiosk.city_files import RiskFiles, TrustFiles
from kiosk.config import Loaded, rules_from_text
from kiosk.credentials.issuer import Issuer
from kiosk.credentials.keyring import Keyring
from kiosk.credentials.sealing import Seal, no_seal, seal_for
from kiosk.gate_settings import CityData
from kiosk.risk import Rules
from kiosk.risk_list import RiskList
from kiosk.trust import Bundle


def city_data(loaded: Loaded, bundle: Bundle | None, risk_list: RiskList | None) -> tuple[CityData, str]:
    """What the gate gets, and a sentence where a part of the bundle could not be used."""
    if bundle is None:
        read = partial(credentials.read, keyring=_keyring(loaded, loaded.rules, {}, frozenset(), no_seal))
        return CityData(rules=loaded.rules, read=read, risk_list=risk_list, trusting=False), NO_BUNDLE
    rules, trouble = _rules(loaded, bundle)
    seal, unsealed = _seal(bundle)
    keyring = _keyring(loaded, rules, bundle.issuers, bundle.revoked, seal)
    data = CityData(rules=rules, read=partial(credentials.read, keyring=keyring), risk_list=risk_list)
    return data, "; ".join(filter(None, (trouble, unsealed)))


NO_BUNDLE = "no trust bundle: nobody is let in; bring the city's bundle to [trust] bundle, or connect the uplink"


def files_of(loaded: Loaded) -> tuple[TrustFiles, RiskFiles]:
    """Where this kiosk keeps what the city sent."""
    folder = Path(loaded.settings.city_data.folder)
    return TrustFiles(folder, Path(loaded.settings.trust.bundle), loaded.city), RiskFiles(folder, loaded.city)


def kept(loaded: Loaded) -> tuple[CityData, list[str]]:
    """What the files say, and a sentence for each that could not be used."""
    trust, risks = files_of(loaded)
    (bundle, mistrusted), (risk_list, unread) = trust.load(), risks.load()
    data, trouble = city_data(loaded, bundle, risk_list)
    return data, [*mistrusted, *unread, *([trouble] if trouble else [])]


def _rules(loaded: Loaded, bundle: Bundle) -> tuple[Rules, str]:
    rules, trouble = loaded.rules, ""
    if bundle.rules_toml:
        sent = rules_from_text(bundle.rules_toml)
        rules, trouble = (rules, sent) if isinstance(sent, str) else (sent, "")
    return (rules if bundle.areas is None else replace(rules, areas=bundle.areas)), trouble


def _seal(bundle: Bundle) -> tuple[Seal, str]:
    if not bundle.authority_pem:
        return no_seal, ""
    try:
        return seal_for(bundle.authority_pem), ""
    except ValueError as error:
        return no_seal, str(error)


def _keyring(
    loaded: Loaded, rules: Rules, issuers: Mapping[bytes, tuple[Issuer, ...]], revoked: frozenset[bytes], seal: Seal
) -> Keyring:
    return Keyring(subject_key=loaded.subject_key, issuers=issuers, seal=seal, revoked=revoked, links=rules.links)
