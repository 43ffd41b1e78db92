from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from city.declare import declaration_payload
from city.signing import load_key, new_key, public_pem
from kiosk.credentials import (
    FORMATS,
    Keyring,
    bhyt,
    cccd,
    declaration,
    hc1,
    place,
    read,
    shc,
    subject_of,
    unsupported,
    vn1405,
)
from kiosk.messages import Credential, Reason, Refusal, Scheme

SUBJECT_KEY = b"k" * 32
ISSUER = new_key()
KEYRING = Keyring.from_pem(subject_key=SUBJECT_KEY, issuer_pems=[public_pem(ISSUER)])

SIGNED = declaration_payload(
    key=load_key(ISSUER),
    sub=subject_of("id", "048090000001", SUBJECT_KEY),
    initials="N.V.A.",
    issued_at=datetime(2021, 11, 20, tzinfo=UTC),
).decode()
ISSUE = "01/01/2021|-|15/12/2020|484821000001|-|4|01/01/2025|0123456789abcdef-7102"
PLACES = [
    "NZCOVIDTRACER:eyJnbG4iOiI3MDAwMDAwMDAwMDAwIiwidmVyIjoiYzE5OjEiLCJ0eXAiOiJlbnRyeSJ9",
    "https://e.coronawarn.app?v=1#CAESEwgBEgRTaG9w",
    "https://qr.notify-me.ch?v=3#CAMSBFNob3A",
    "https://qr.swisscovid.ch/?v=4#CAQSBFNob3A",
    "https://www.safeentry-qr.gov.sg/tenant/PROD-000000000A-000000-SHOP-SE",
    "https://temperaturepass.ndi-api.gov.sg/login/PROD-000000000A-SHOP-SE",
    "https://qr.tokhaiyte.vn/00000001",
    "http://qr.tokhaiyte.vn",
    "https://qr.pccovid.gov.vn/place?id=1|2|3|4|5|$",
    "https://qr.pccovid.gov.vn:443/00000001",
    "HTTPS://QR.PCCOVID.GOV.VN/00000001",
    "qr.tokhaiyte.vn/00000001",
]
UNSUPPORTED = [
    *("HC2:NCFTW2", "HC9:X", "HCA:X", "HC2:"),
    '{"data":{"hdr":{"is":"AUS","t":"icao.vacc","v":1},"msg":{}},"sig":{}}',
    '{"sig": {"alg": "ES256"},\n "data": {"hdr": {"t" : "icao.test"}}}',
]
SAMPLES: dict[Callable[[str], bool], list[str]] = {
    declaration.looks_like: [SIGNED],
    vn1405.looks_like: [
        "******000001|NGUYEN VAN AN|1990-**-**|0|162900000000000000|<1<DN4010000000001<0900000000",
        "048090000001|NGUYEN VAN AN|1990-02-01|1||",
    ],
    cccd.looks_like: [
        "048090000001|123456789|Nguyễn Văn An|01021990|Nam|Hải Châu, Đà Nẵng|15042021",
        "048090000001|Nguyễn Văn An|01021990|Nam|Đà Nẵng|15042021",
        "048090000001||Nguyễn Văn An|01021990|Nam|Đà Nẵng|15042021||Nguyễn Văn Cha|Trần Thị Mẹ|",
    ],
    bhyt.looks_like: [
        f"DN4484821000001|416e|1990|1|-|48 - 001|{ISSUE}|$",
        f"4821000001|416e|01/02/1990|1|-|48 - 001|{ISSUE}|4|2d|$",
    ],
    place.looks_like: PLACES,
    hc1.looks_like: ["HC1:6BFOXN", "HC1:"],
    shc.looks_like: ["shc:/5676290952432060", "shc:/1/3/567629", "shc:/"],
    unsupported.looks_like: UNSUPPORTED,
}
"""Codes of every format, by the shape test that must know them."""
NOBODY_S = [
    *("nzcovidtracer:e30", "HC0:X", "HC1", "HCa:X", "hc1:6BFOXN", "shc:5676", "TKYT2:ABC", "https://example.vn/menu"),
    *("https://qr.tokhaiyte.vn.example.vn/1", "https://xqr.tokhaiyte.vn/1", "https://tokhaiyte.vn/1"),
    *("https://example.vn/?to=https://qr.tokhaiyte.vn/1", "qrxtokhaiyte.vn/1", "https://s.coronawarn.app?v=1#x"),
    "https://qr.tokhaiyte.vn@example.vn/1",
    '{"t":"icao.visa"}',
    '["icao.vacc"]',
]


def test_every_format_of_the_table_has_samples() -> None:
    """A new row without a sample here would not be kept apart from the others."""
    assert set(SAMPLES) == {looks_like for looks_like, _ in FORMATS}


@pytest.mark.parametrize("own", SAMPLES, ids=lambda own: own.__module__)
def test_no_format_takes_another_s_code(own: Callable[[str], bool]) -> None:
    """Each code has the shape of its own format and of no other, so that the order of the table does not matter."""
    for text in SAMPLES[own]:
        assert [looks_like for looks_like, _ in FORMATS if looks_like(text)] == [own]


def test_what_identifies_is_read_under_its_own_scheme() -> None:
    """Every sample of the four formats that tell a person is a credential of that format."""
    identifying = (declaration, vn1405, cccd, bhyt)
    results = [[read(text.encode(), KEYRING) for text in SAMPLES[module.looks_like]] for module in identifying]
    schemes = [{result.scheme for result in row if isinstance(result, Credential)} for row in results]
    assert schemes == [{Scheme.DECLARATION}, {Scheme.VN1405}, {Scheme.CCCD}, {Scheme.BHYT}]
    assert all(isinstance(result, Credential) for row in results for result in row)


@pytest.mark.parametrize("text", PLACES)
def test_a_place_s_code_is_told_apart(text: str) -> None:
    """Posters of here and elsewhere are refused as what they are, with scanner noise too."""
    refusal = Refusal(reason=Reason.PLACE_CODE, detail="payload: the code of a place, not of a person")
    assert read(text.encode(), KEYRING) == refusal
    assert read(f"{text}\r\n".encode(), KEYRING) == refusal


@pytest.mark.parametrize("text", UNSUPPORTED)
def test_a_certificate_of_another_kind_is_told_apart(text: str) -> None:
    """Later numbers of HC and the ICAO's seals are refused as certificates, whatever is inside."""
    assert read(text.encode(), KEYRING) == Refusal(
        reason=Reason.UNSUPPORTED_CERTIFICATE, detail="payload: a health certificate of a kind this kiosk cannot read"
    )


@pytest.mark.parametrize("text", NOBODY_S)
def test_what_only_resembles_them_is_an_unknown_format(text: str) -> None:
    """Another host, another case, another prefix: not recognised."""
    result = read(text.encode(), KEYRING)
    assert isinstance(result, Refusal)
    assert result.reason is Reason.UNKNOWN_FORMAT
