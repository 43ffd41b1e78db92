"""What a code costs from its bytes to the verdict, by format: reading, signature, risk list, rules.

    scripts/bench verdict [--people 150] [--rounds 20] [--json]

Every person has every code, so that nothing is answered from a cache. Times are of the thread's CPU, in ms; "alone" is
the 99th percentile over the codes of each one's quickest round, which other programs on the machine disturb least.
"sealed" is the same with a health authority named: who a card says somebody is, is encrypted (HPKE) for the event. The
rival, in the same run and on the same codes, is the library `cwt`, where it is installed: base45, zlib, its check of
the COSE signature, and the claims decoded, so neither person nor verdict. For the other formats there is none.
"""

import argparse
import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import base45
import cbor2
import numpy as np
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from report import number
from rich.console import Console
from rich.progress import track
from rich.table import Table

from city import signing, trust
from city.declare import declaration_payload
from demo.cards import APP, app_link, identity_card, insurance_card, personal_qr
from demo.certificates import Signer, card_signer, hc1, health_card, signer, vaccination
from demo.people import Person, person
from kiosk.clock import Now
from kiosk.config import load_rules
from kiosk.credentials import Keyring, read, subject_of
from kiosk.credentials.issuer import Issuer, Use
from kiosk.credentials.sealing import seal_for
from kiosk.messages import Credential, Direction, Flag
from kiosk.risk import Circumstances, Freshness, Rules, verdict_for
from kiosk.risk_list import CODE_OF, RiskList

RULES = Path(__file__).parents[1] / "config" / "rules.toml"
NOW = Now(monotonic_ns=0, utc=datetime(2021, 11, 22, 1, 0, tzinfo=UTC), utc_trusted=True)
LISTED = 1_000_000
SIGNED = ("declaration", "hc1, ES256", "hc1, PS256", "shc")
GOAL_MS, GOAL_SIGNED_MS = 0.2, 2.0
KEY = b"benchmark-subject-key-of-32-byte"
Work = Callable[[bytes], object]


class Office:
    """Makes every code of a person, and the keyring that reads them."""

    def __init__(self) -> None:
        self.declarations = signing.new_key()
        self.es256, self.ps256, self.cards = signer(NOW.utc), signer(NOW.utc, rsa_key=True), card_signer()
        declares = trust.issuer_of(self.declarations, Use.DECLARATION)
        ring = Keyring(subject_key=KEY, issuers={}, links=(APP,))
        self.keyring = ring.with_issuers([declares, *(each.issuer for each in (self.es256, self.ps256, self.cards))])
        self.sealing = replace(self.keyring, seal=seal_for(trust.new_authority()[1]))

    def codes(self, who: Person) -> dict[str, bytes]:
        """By format."""
        return {
            "declaration": declaration_payload(
                key=signing.load_key(self.declarations),
                sub=subject_of("id", who.number, KEY),
                initials="N.V.A.",
                issued_at=NOW.utc - timedelta(hours=1),
            ),
            "hc1, ES256": self._hc1(self.es256, who),
            "hc1, PS256": self._hc1(self.ps256, who),
            "shc": health_card(
                self.cards, who, date(2021, 8, 20), date(2021, 9, 15), issued_at=NOW.utc - timedelta(days=9)
            ).code,
            "cccd": identity_card(who, old_number=True).code,
            "cccd of 2024": identity_card(who, of_2024=True).code,
            "vn1405": personal_qr(who, masked=False).code,
            "vn1405, masked": personal_qr(who, masked=True).code,
            "bhyt": insurance_card(who).code,
            "link": app_link(f"{who.serial:032x}").code,
            "place": f"https://qr.tokhaiyte.vn/{who.serial:08}".encode(),
            "unknown": f"https://menu.example/{who.serial:08}".encode(),
        }

    @staticmethod
    def _hc1(by: Signer, who: Person) -> bytes:
        return hc1(by, who, vaccination(date(2021, 9, 15)), issued_at=NOW.utc - timedelta(days=9)).code

    def rivals(self) -> dict[str, Work]:
        """Where `cwt` is installed."""
        declares = trust.issuer_of(self.declarations, Use.DECLARATION)
        issuers = {"declaration": declares, "hc1, ES256": self.es256.issuer, "hc1, PS256": self.ps256.issuer}
        made = {name: cose_check(issuer, packed=name != "declaration") for name, issuer in issuers.items()}
        return {name: work for name, work in made.items() if work}


def cose_check(issuer: Issuer, *, packed: bool) -> Work | None:
    """The rival, set up for one key, as its users call it; None where it is not installed."""
    try:
        from cwt import COSE, COSEKey  # noqa: PLC0415 - no dependency of ours
    except ImportError:
        return None
    key = issuer.key
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    trusted = COSEKey.from_pem(pem, alg="PS256" if isinstance(key, rsa.RSAPublicKey) else "ES256", kid=issuer.kid)
    cose = COSE.new()

    def check(payload: bytes) -> object:
        message = base45.b45decode(payload.partition(b":")[2])
        return cbor2.loads(cose.decode(zlib.decompress(message) if packed else message, [trusted]))

    return check


def risk_list() -> RiskList:
    """A million people, of whom none comes."""
    keys = np.unique(np.random.default_rng(1).integers(1, 2**63, LISTED, dtype=np.uint64))
    return RiskList(version=1, made_at=NOW.utc, keys=keys, kinds=np.full(len(keys), CODE_OF[Flag.F1], dtype=np.uint8))


def verdict_of(payload: bytes, *, keyring: Keyring, listed: RiskList, rules: Rules) -> object:
    """What the gate does between a presentation and its verdict."""
    found = read(payload, keyring)
    around = Circumstances(
        direction=Direction.ENTRY,
        granted_lately=False,
        left=False,
        recordable=True,
        flag=listed.flag_of(found.subject) if isinstance(found, Credential) else None,
        city_age_s=0,
        freshness=Freshness(fresh_s=3600, limit_s=86400),
    )
    return verdict_for(found, rules=rules, around=around, now=NOW)


def spent_ms(work: Work, payload: bytes) -> float:
    """CPU of this thread."""
    began = time.thread_time_ns()
    work(payload)
    return (time.thread_time_ns() - began) / 1e6


def measure(people: int, rounds: int, console: Console) -> dict[str, dict[str, float | None]]:
    """By format, median and 99th percentile of each way."""
    office, listed, rules = Office(), risk_list(), load_rules(RULES)
    judge = partial(verdict_of, listed=listed, rules=rules)
    everybody = [office.codes(person(serial)) for serial in range(1, people + 1)]
    rivals = office.rivals()
    spent: dict[str, dict[str, list[list[float]]]] = {}
    for round_ in track(range(rounds + 1), "verdicts", console=console, transient=True):
        for codes in everybody:  # interleaved, so that a busy moment falls on all alike
            for name, payload in codes.items():
                ways: Mapping[str, Work | None] = {
                    "verdict": partial(judge, keyring=office.keyring),
                    "sealed": partial(judge, keyring=office.sealing),
                    "rival": rivals.get(name),
                }
                first = round_ % len(ways)  # whoever comes first finds the caches cold
                for way, work in [*list(ways.items())[first:], *list(ways.items())[:first]]:
                    rows = spent.setdefault(name, {}).setdefault(way, [[] for _ in range(rounds + 1)])
                    if work:
                        rows[round_].append(spent_ms(work, payload))
    return {name: _told(name, ways) for name, ways in spent.items()}


def _told(name: str, ways: Mapping[str, list[list[float]]]) -> dict[str, float | None]:
    told: dict[str, float | None] = {"goal_ms": GOAL_SIGNED_MS if name in SIGNED else GOAL_MS}
    for way, rows in ways.items():
        took = np.array(rows[1:])  # the first round warms caches up
        for percent in (50, 99):
            told[f"{way}_p{percent}_ms"] = float(np.percentile(took, percent)) if took.size else None
        told[f"{way}_alone_ms"] = float(np.percentile(took.min(axis=0), 99)) if took.size else None
    return told


def table_of(told: Mapping[str, Mapping[str, Any]], people: int, rounds: int) -> Table:
    """One row a format; what is above the goal in red."""
    table = Table(title=f"bytes to verdict, ms of CPU; {people} people, {rounds} rounds, {LISTED:,} on the risk list")
    heads = ("p50", "p99", "alone")
    for head in ("", "p99 under", *heads, *(f"sealed {head}" for head in heads), *(f"cwt {head}" for head in heads)):
        table.add_column(head, justify="right" if head else "left")
    for name, figures in told.items():
        cells = []
        for way in ("verdict", "sealed", "rival"):
            for figure in ("p50_ms", "p99_ms", "alone_ms"):
                value = figures[f"{way}_{figure}"]
                over = value is not None and way != "rival" and value >= figures["goal_ms"]
                cells.append(f"[red]{number(value, 3)}[/]" if over else number(value, 3))
        table.add_row(name, str(figures["goal_ms"]), *cells)
    return table


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args()
    console = Console(stderr=parsed.json)
    told = measure(parsed.people, parsed.rounds, console)
    if parsed.json:
        print(json.dumps(told))
        return
    console.print(table_of(told, parsed.people, parsed.rounds))


if __name__ == "__main__":
    main()
