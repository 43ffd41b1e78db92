"""Runs public test suites against the kiosk's own readers and prints where they agree, flag by flag.

Nothing is excused but what stands here by case and flag, with why: a fault of the data, or where the kiosk differs on
purpose. An excuse that is not needed is a disagreement too. Exit code 1 where anything disagrees, 2 where the folder
holds no such suite. `tests/contract/test_conformance.py` runs the same functions.
"""

import argparse
import base64
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import cbor2
import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from rich.table import Column, Table

from kiosk.credentials import Keyring, hc1, read
from kiosk.credentials.cose import TAG_CWT, TAG_SIGN1, Claims, Signed, claims_of, load, verify, within_bounds
from kiosk.credentials.hc1_schema import schema_faults
from kiosk.credentials.issuer import CERTIFICATE_USES, Issuer, PublicKey, Use, by_kid
from kiosk.credentials.packing import inflate
from kiosk.decoder import Decoder
from kiosk.engines import read_zxing
from kiosk.messages import Credential, Refusal

SUBJECT_KEY = b"a key for test persons, no secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One flag of a suite: how often it was asserted and asserted false, the cases where we say otherwise.

    `faults` are the cases in which the data itself is wrong or the kiosk differs on purpose, each with why.
    """

    flag: str
    asserted: int
    negative: int
    disagreed: tuple[str, ...]
    faults: tuple[str, ...] = ()


Answer = tuple[str, bool, bool | None]
"""Case, what its author expects, and what we say: None where the case lacks what the flag is about."""


def row(flag: str, answers: Iterable[Answer], known: Mapping[tuple[str, str], str] | None = None) -> Row:
    """Count one flag. A known fault must show as a disagreement, and is then none of ours."""
    judged = list(answers)
    known = known or {}
    lacking = {name: "asserted, but not in the case" for name, _, said in judged if said is None}
    wrong = {name for name, expected, said in judged if said is not None and expected is not said}
    excused = {name: why for (name, of), why in known.items() if of == flag and name in {each[0] for each in judged}}
    faults = lacking | {name: why for name, why in excused.items() if name in wrong}
    return Row(
        flag=flag,
        asserted=len(judged),
        negative=sum(not expected for _, expected, _ in judged),
        disagreed=tuple(sorted(wrong ^ excused.keys())),
        faults=tuple(f"{name}: {why}" for name, why in sorted(faults.items())),
    )


# The EU's and other countries' certificates: eu-digital-green-certificates/dgc-testdata.

READ = "read at the door"
"""Not a flag of the data: the whole way from text to credential, for every case."""
FATAL = (
    "EXPECTEDUNPREFIX",
    "EXPECTEDB45DECODE",
    "EXPECTEDCOMPRESSION",
    "EXPECTEDVERIFY",
    "EXPECTEDKEYUSAGE",
    "EXPECTEDDECODE",
)
_SEVERAL, _BEFORE = "on purpose: several events", "on purpose: issued before the signer's certificate was valid"
DGC_KNOWN_FAULTS: dict[tuple[str, str], str] = {
    ("FR/test_pcr_ok", "EXPECTEDVALIDJSON"): "the JSON has the sample two hours earlier than the code",
    ("PL/1.3.0/1", "EXPECTEDVALIDJSON"): "the JSON is another person's",
    ("PL/1.3.0/5", "EXPECTEDVALIDJSON"): "the JSON is another person's",
    ("PT/1.3.0/4", "EXPECTEDVALIDJSON"): "the JSON spells the zone +00:00, the code Z",
    ("BG/4", READ): _BEFORE,
    ("PL/1.0.0/10", READ): _BEFORE,
    ("PL/1.2.1/10", READ): _BEFORE,
    ("PL/1.3.0/10", READ): _BEFORE,
    ("RO/2", READ): _SEVERAL,
    ("SK/3", READ): _SEVERAL,
    ("common/DGC2", READ): _SEVERAL,
    ("common/DGC1", READ): "on purpose: no event",
    ("LI/4", READ): "on purpose: a test signed by a key for vaccinations",
}


class _DgcCase:
    """One file of dgc-testdata. What a case leaves out comes from the step before, as a reader would have it."""

    def __init__(self, name: str, data: Mapping[str, object]) -> None:
        context = data["TESTCTX"]
        expected = data["EXPECTEDRESULTS"]
        assert isinstance(context, dict)  # noqa: S101 - the data's form, not ours
        assert isinstance(expected, dict)  # noqa: S101
        self.name, self.data, self.context, self.expected = name, data, context, expected
        self.text = str(data["PREFIX"])

    @cached_property
    def keyring(self) -> Keyring:
        issuer = Issuer.from_certificate(base64.b64decode(self.context["CERTIFICATE"]))
        return Keyring(subject_key=SUBJECT_KEY, issuers=by_kid([issuer]))

    @cached_property
    def base45(self) -> str:
        return str(self.data.get("BASE45", self.text.removeprefix(hc1.PREFIX)))

    @cached_property
    def compressed(self) -> bytes | None:
        return self._hex("COMPRESSED") or hc1.unwrap(self.base45)

    @cached_property
    def cose(self) -> bytes | None:
        return self._hex("COSE") or inflate(self.compressed or b"", raw=False)

    @cached_property
    def signed(self) -> Signed | None:
        result = verify(self.cose or b"", self.keyring.issuers)
        return None if isinstance(result, Refusal) else result

    @cached_property
    def claims(self) -> Claims:
        """What the message says, signed by whomever."""
        message = load((self.cose or b"").removeprefix(TAG_CWT).removeprefix(TAG_SIGN1))
        content = load(message[2]) if isinstance(message, list) else None
        return content if isinstance(content, dict) else {}

    @cached_property
    def payload(self) -> object:
        """The certificate: what the case has as CBOR, with or without the claims around it, else the message's."""
        given = self._hex("CBOR")  # not what a code has: many cases have it in indefinite length, which codes do not
        content = cbor2.loads(given) if given else self.claims
        return hc1.payload_of(content) if isinstance(content, dict) and hc1.HCERT in content else content

    def _hex(self, name: str) -> bytes | None:
        value = self.data.get(name)
        return bytes.fromhex(value) if isinstance(value, str) else None

    def unprefixes(self) -> bool:
        return hc1.looks_like(self.text) and self.text.removeprefix(hc1.PREFIX) == self.base45

    def unwraps(self) -> bool:
        unwrapped = hc1.unwrap(self.base45)
        return unwrapped is not None and unwrapped == self.compressed

    def inflates(self) -> bool:
        inflated = inflate(self.compressed or b"", raw=False)
        return inflated is not None and inflated == self.cose

    def verifies(self) -> bool:
        return self.signed is not None and not isinstance(claims_of(self.signed), Refusal)

    def is_entitled(self) -> bool:
        kinds = {Use(kind.value) for name, kind in hc1.KINDS.items() if hc1.payload_of(self.claims).get(name)}
        return bool(kinds) and all(kinds <= issuer.uses for some in self.keyring.issuers.values() for issuer in some)

    def is_in_time(self) -> bool:
        clock = datetime.fromisoformat(self.context["VALIDATIONCLOCK"])
        now = clock if clock.tzinfo else clock.replace(tzinfo=UTC)
        issued, expires = hc1.moment(self.claims.get(hc1.IAT)), hc1.moment(self.claims.get(hc1.EXP))
        return expires is not None and (issued is None or issued <= now) and now <= expires

    def keeps_the_schema(self) -> bool:
        issued = hc1.moment(self.claims.get(hc1.IAT))
        return not schema_faults(self.payload, issued.date() if issued else None)

    def decodes(self) -> bool:
        return isinstance(self.payload, dict) and hc1.payload_of(self.claims) in (self.payload, {})

    def is_the_json(self) -> bool:
        return _plain(self.payload) == self.data["JSON"]

    def is_read_from_the_picture(self) -> bool | None:
        if "2DCODE" not in self.data:
            return None
        picture = np.frombuffer(base64.b64decode(str(self.data["2DCODE"])), np.uint8)
        image = cv2.imdecode(picture, cv2.IMREAD_GRAYSCALE)
        if image is None:
            return False
        luma = np.asarray(image, np.uint8)
        reads = read_zxing(luma) or [each for some in Decoder().exhaust(luma).values() for each in some]
        return self.text.encode() in [payload for payload, _ in reads]

    def is_read_at_the_door(self) -> bool:
        return isinstance(read(self.text.encode(), self.keyring), Credential)


def _plain(value: object) -> object:
    """Spell tagged dates as JSON does."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value


DGC_FLAGS: dict[str, Callable[[_DgcCase], bool | None]] = {
    "EXPECTEDUNPREFIX": _DgcCase.unprefixes,
    "EXPECTEDB45DECODE": _DgcCase.unwraps,
    "EXPECTEDCOMPRESSION": _DgcCase.inflates,
    "EXPECTEDVERIFY": _DgcCase.verifies,
    "EXPECTEDKEYUSAGE": _DgcCase.is_entitled,
    "EXPECTEDEXPIRATIONCHECK": _DgcCase.is_in_time,
    "EXPECTEDSCHEMAVALIDATION": _DgcCase.keeps_the_schema,
    "EXPECTEDDECODE": _DgcCase.decodes,
    "EXPECTEDVALIDJSON": _DgcCase.is_the_json,
    "EXPECTEDPICTUREDECODE": _DgcCase.is_read_from_the_picture,
}
"""Left out are EXPECTEDVALIDOBJECT and EXPECTEDENCODE: they ask an issuer's program to write certificates."""


def _dgc_cases(folder: Path) -> list[_DgcCase]:
    files = {str(file.relative_to(folder).with_suffix("")): file for file in sorted(folder.rglob("*.json"))}
    read_files = {name: json.loads(file.read_text("utf-8-sig")) for name, file in files.items()}
    return [
        _DgcCase(re.sub(r"2DCode/[Rr]aw/", "", name), data) for name, data in read_files.items() if "TESTCTX" in data
    ]


def dgc(folder: Path, flags: Iterable[str] = (*DGC_FLAGS, READ)) -> list[Row]:
    """Judge every case by every flag that it asserts."""
    cases = _dgc_cases(folder)
    return [row(flag, _dgc_answers(cases, flag), DGC_KNOWN_FAULTS) for flag in flags]


def _dgc_answers(cases: list[_DgcCase], flag: str) -> Iterator[Answer]:
    for case in cases:
        if flag == READ:
            yield case.name, all(case.expected.get(fatal, True) for fatal in FATAL), case.is_read_at_the_door()
        elif flag in case.expected:
            yield case.name, case.expected[flag], DGC_FLAGS[flag](case)


# The EU's schema tests: ehn-dcc-development/eu-dcc-schema, test/.


def schema(folder: Path) -> list[Row]:
    """Judge the payloads that the schema's authors sorted by hand."""
    files = [file for name in ("valid", "invalid") for file in sorted((folder / "test" / name).glob("*.json"))]
    answers = ((f.stem, f.parent.name == "valid", not schema_faults(json.loads(f.read_text("utf-8")))) for f in files)
    return [row("schema", answers)]


# COSE: cose-wg/Examples. Only single-signer messages are ours; its RSA-PSS examples have several signers.

COSE_KNOWN_FAULTS = {
    ("sign1-tests/sign-pass-02", "verify"): "on purpose: signs data outside the message, which no code carries",
    ("CWT/A_3", "verify"): "on purpose: names no key",
}


def cose(folder: Path) -> list[Row]:
    """Verify every COSE_Sign1 example by its own key; algorithms other than ES256 and PS256 must be refused."""
    examples = {
        str(f.relative_to(folder).with_suffix("")): json.loads(f.read_text("utf-8")) for f in folder.glob("*/*.json")
    }
    signed = {name: each for name, each in sorted(examples.items()) if "sign0" in each["input"]}
    return [row("verify", ((name, *_cose_answer(each)) for name, each in signed.items()), COSE_KNOWN_FAULTS)]


def _cose_answer(example: Mapping[str, Any]) -> tuple[bool, bool]:
    signer = example["input"]["sign0"]
    ours = {**signer.get("unprotected", {}), **signer.get("protected", {})}.get("alg") == "ES256"
    key = _key_of(signer["key"])
    if key is None:
        return ours and not example.get("fail"), False
    issuer = Issuer(kid=str(signer["key"].get("kid", "")).encode(), key=key, uses=CERTIFICATE_USES)
    result = verify(bytes.fromhex(example["output"]["cbor"]), by_kid([issuer]))
    return ours and not example.get("fail"), isinstance(result, Signed)


def _key_of(key: Mapping[str, str]) -> PublicKey | None:
    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    curve = curves.get(key.get("crv", ""))
    if curve is None:
        return None
    x, y = (
        int(key[f"{axis}_hex"], 16)
        if f"{axis}_hex" in key
        else int.from_bytes(base64.urlsafe_b64decode(f"{key[axis]}=="))
        for axis in ("x", "y")
    )
    return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()


# CBOR: cbor/test-vectors, which are those of RFC 8949, appendix A.

INDEFINITE = (0x5F, 0x7F, 0x9F, 0xBF)
FIRST_TAG, LAST_TAG, DATE_TAGS = 0xC0, 0xDB, (0xC0, 0xC1)


def cbor(folder: Path) -> list[Row]:
    """Decode what is within our bounds; indefinite lengths and tags other than dates must be refused."""
    vectors = [each for file in folder.glob("appendix_a.json") for each in json.loads(file.read_text("utf-8"))]
    encoded = {vector["hex"]: bytes.fromhex(vector["hex"]) for vector in vectors}
    beyond = {text for text, item in encoded.items() if _is_beyond(item)}
    values = [vector for vector in vectors if "decoded" in vector and vector["hex"] not in beyond]
    return [
        row("within bounds", ((text, text not in beyond, within_bounds(item)) for text, item in encoded.items())),
        row("same value", ((v["hex"], True, load(encoded[v["hex"]]) == v["decoded"]) for v in values)),
    ]


def _is_beyond(item: bytes) -> bool:
    tagged = FIRST_TAG <= item[0] <= LAST_TAG and item[0] not in DATE_TAGS
    return tagged or (item[0] <= LAST_TAG and any(byte in INDEFINITE for byte in item))


# SMART Health Cards: smart-on-fhir/health-cards-dev-tools, testdata/.

SHC_ISSUER = "https://spec.smarthealth.cards/examples/issuer"
SHC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "kid": "3Kfdg-XwP-7gXyywtUfUADwBumDOPKMQx-iELL11W9s",
    "x": "11XvRWy1I2S0EyJlyf_bWfw_TQ5CJJNLw78bHXNxcgw",
    "y": "eZXwxvO1hvCY0KucrPfKo7yAyMT6Ajc3N7OkAB6VYy8",
}
"""The example issuer's public key, from the specification; its kid proves it."""
SHC_VALID = ("1195-byte-qrnumeric",)
SHC_KNOWN_FAULTS = {
    ("00-d-jws-bad-fhir-metadata", "card"): "on purpose: the metadata of its entries are not looked at",
    ("00-d-jws-utf8_bom_prefix", "card"): "on purpose: a byte-order mark is a scanner's",
    ("00-d-jws-trailing_chars", "card"): "on purpose: a line end is a scanner's",
    ("00-f-qr-code-numeric-value-0-trailing_chars", "card"): "on purpose: a line end is a scanner's",
}


def shc(folder: Path) -> list[Row]:
    """Read every card given as text: as digits, or as the JWS that the digits stand for."""
    issuer = Issuer.from_jwk(SHC_KEY, url=SHC_ISSUER)
    keyring = Keyring(subject_key=SUBJECT_KEY, issuers=by_kid([issuer]))
    answers: list[Answer] = []
    for file in sorted((folder / "testdata").glob("test-example-*.txt")):
        text = file.read_bytes()
        if b"shc:" not in text:
            text = b"shc:/" + "".join(f"{byte - 45:02}" for byte in text.strip().removeprefix(b"\xef\xbb\xbf")).encode()
        name = file.stem.removeprefix("test-example-")
        answers.append((name, name in SHC_VALID, isinstance(read(text, keyring), Credential)))
    return [row("card", answers, SHC_KNOWN_FAULTS)]


SUITES: dict[str, tuple[str, Callable[[Path], list[Row]]]] = {
    "dgc": ("eu-digital-green-certificates/dgc-testdata", dgc),
    "schema": ("ehn-dcc-development/eu-dcc-schema", schema),
    "cose": ("cose-wg/Examples", cose),
    "cbor": ("cbor/test-vectors", cbor),
    "shc": ("smart-on-fhir/health-cards-dev-tools", shc),
}


def show(rows: list[Row], title: str, console: Console) -> None:
    """Print the table by flag, then every disagreement and every known fault by name."""
    table = Table(Column("flag", no_wrap=True), "asserted", "false", "agreed", "named", "disagreed", title=title)
    for each in rows:
        agreed = each.asserted - len(each.disagreed) - len(each.faults)
        counts = (each.asserted, each.negative, agreed, len(each.faults), len(each.disagreed))
        table.add_row(each.flag, *map(str, counts))
    console.print(table)
    for each in rows:
        for name in each.disagreed:
            console.print(f"disagreed  {each.flag}  {name}", markup=False, style="red")
        for fault in each.faults:
            console.print(f"named  {each.flag}  {fault}", markup=False, soft_wrap=True)


def main(arguments: list[str]) -> int:
    """Run one suite."""
    known = "\n".join(f"  {name:8}{repository}" for name, (repository, _) in SUITES.items())
    parser = argparse.ArgumentParser(
        prog="scripts/conformance",
        description=f"Agreement with a public test suite:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("folder", type=Path, help="a checkout of the suite's repository")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    chosen = parser.parse_args(arguments)
    repository, run = SUITES[chosen.suite]
    rows = run(chosen.folder) if chosen.folder.is_dir() else []
    if not any(each.asserted for each in rows):
        print(f"{chosen.folder} holds no cases of {repository}", file=sys.stderr)
        return 2
    if chosen.json:
        print(json.dumps([asdict(each) for each in rows], indent=2))
    else:
        show(rows, repository, Console())
    return int(any(each.disagreed for each in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
