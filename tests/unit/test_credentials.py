import unicodedata

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from city.signing import new_key, public_pem
from kiosk.credentials import Keyring, initials_of, read, subject_of
from kiosk.credentials.issuer import Use
from kiosk.messages import Credential, Reason, Refusal, Scheme

KEY = b"k" * 32
KEYRING = Keyring(subject_key=KEY, issuers={})

NUMBER = "048090000001"
CARD = [NUMBER, "123456789", "Nguyễn Văn An", "01021990", "Nam", "Hòa Cường Bắc, Hải Châu, Đà Nẵng", "15042021"]
WOMAN = ["048301000002", "", "Trần Thị Bình", "29022000", "Nữ", "Đà Nẵng", "01012021"]
NATIONAL = ["******000001", "NGUYEN VAN AN", "1990-**-**", "0", "162900000000000000", "<1<DN4010000000001<0900000000"]


def _with_field(fields: list[str], index: int, value: str) -> list[str]:
    return [*fields[:index], value, *fields[index + 1 :]]


def _read_fields(fields: list[str]) -> Credential | Refusal:
    return read("|".join(fields).encode(), KEYRING)


def _card_holder(number: str, initials: str) -> Credential:
    return Credential(scheme=Scheme.CCCD, subject=subject_of("id", number, KEY), initials=initials)


def _national(kind: str, number: str) -> Credential:
    return Credential(scheme=Scheme.VN1405, subject=subject_of(kind, number, KEY), initials="N.V.A.")


AN = _card_holder(NUMBER, "N.V.A.")


def test_an_identity_card_gives_pseudonym_and_initials_only() -> None:
    """Of a chip card nothing goes on but the keyed pseudonym and the initials."""
    assert _read_fields(CARD) == AN


def test_a_card_without_old_number_is_read() -> None:
    """A person who never had a nine-digit card is read the same way."""
    woman = ["048301000002", "", "Trần Thị Bình", "28022001", "Nữ", "Đà Nẵng", "01012021"]
    assert _read_fields(woman) == _card_holder("048301000002", "T.T.B.")


def test_a_card_with_the_family_of_the_2024_layout_is_read_without_it() -> None:
    """Fields after the seventh are other people's data: they change nothing."""
    assert _read_fields([*CARD, "", "Nguyễn Văn Cha", "Trần Thị Mẹ", ""]) == AN


def test_a_card_made_without_the_old_number_field_is_read() -> None:
    """Six fields are a card when the third is a date."""
    assert _read_fields([CARD[0], *CARD[2:]]) == AN


def test_noise_at_both_ends_and_decomposed_letters_change_nothing() -> None:
    """Scanner line ends, a byte-order mark and another spelling of the same letters give the same credential."""
    woman = ["048301000002", "", "Trần Thị Ánh", "28022001", "Nữ", "Đà Nẵng", "01012021"]
    text = unicodedata.normalize("NFD", "|".join(woman))
    assert read(f"\ufeff{text}\r\n\x00".encode(), KEYRING) == _card_holder("048301000002", "T.T.Á.")


@pytest.mark.parametrize(
    ("index", "value", "field"),
    [
        (0, "04809000000", "number"),
        (0, "0480900000011", "number"),
        (0, "04809000000\u0661", "number"),
        (0, "048190000001", "number"),
        (0, "048290000001", "number"),
        (0, "048091000001", "number"),
        (1, "12345678", "old number"),
        (1, "12345678X", "old number"),
        (2, "", "name"),
        (2, "  ", "name"),
        (2, "12 34", "name"),
        (2, "A" * 101, "name"),
        (2, "<b>An</b>", "name"),
        (3, "30021990", "birth date"),
        (3, "01021991", "number"),
        (3, "1990-02-01", "birth date"),
        (4, "Nữ", "number"),
        (4, "male", "sex"),
        (4, "", "sex"),
        (6, "31042021", "issue date"),
        (6, "15041989", "issue date"),
        (6, "", "issue date"),
    ],
)
def test_a_broken_card_field_is_named(index: int, value: str, field: str) -> None:
    """A card with one broken field is malformed, and the refusal names that field."""
    refusal = _read_fields(_with_field(CARD, index, value))
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.scheme) == (Reason.MALFORMED, Scheme.CCCD)
    assert refusal.detail.startswith(f"{field}:")


def test_a_leap_day_birth_needs_a_leap_year() -> None:
    """29 February is a birth date in 2000 and not in 2001."""
    leap = _with_field(WOMAN, 0, "048300000002")
    assert _read_fields(leap) == _card_holder("048300000002", "T.T.B.")
    assert isinstance(_read_fields(_with_field(WOMAN, 3, "29022001")), Refusal)


def test_a_masked_national_code_is_known_by_its_qid() -> None:
    """Masked characters are normal; the platform's id then tells who it is."""
    assert _read_fields(NATIONAL) == _national("qid", "162900000000000000")


def test_a_readable_number_wins_over_the_qid() -> None:
    """An unmasked national code and the identity card of one person give one subject."""
    credential = _read_fields(_with_field(NATIONAL, 0, NUMBER))
    assert credential == _national("id", NUMBER)
    assert credential.subject == AN.subject


def test_an_old_card_number_is_another_identifier() -> None:
    """A nine-digit number is a subject of its own, and never the twelve-digit one's."""
    credential = _read_fields(_with_field(NATIONAL, 0, "123456789"))
    assert credential == _national("id", "123456789")
    assert credential.subject != AN.subject


def test_a_passport_number_leaves_the_qid_as_key() -> None:
    """A document number that is not a personal number does not identify; the QID does."""
    assert _read_fields(_with_field(NATIONAL, 0, "B1234567")) == _national("qid", "162900000000000000")


@pytest.mark.parametrize("ext", ["", "<", "<2", "162900000000000001<1", "<1<DN4010000000001<0900000000<x<y"])
def test_ext_may_be_short_or_longer_than_known(ext: str) -> None:
    """EXT is optional, may stop early and may grow."""
    assert _read_fields(_with_field(NATIONAL, 5, ext)) == _national("qid", "162900000000000000")


@pytest.mark.parametrize("born", ["1990-02-01", "1990-02-**", "1990-**-31", "1990-**-**"])
def test_every_masking_of_a_birth_date_is_read(born: str) -> None:
    """Month and day may be masked one by one."""
    assert _read_fields(_with_field(NATIONAL, 2, born)) == _national("qid", "162900000000000000")


def test_a_readable_number_needs_no_qid_but_a_masked_one_does() -> None:
    """Without QID only a readable personal number tells who it is."""
    without = _with_field(NATIONAL, 4, "")
    assert _read_fields(_with_field(without, 0, NUMBER)) == _national("id", NUMBER)
    assert isinstance(_read_fields(without), Refusal)


@pytest.mark.parametrize(
    ("index", "value", "field"),
    [
        (0, "", "document number"),
        (0, "******_00001", "document number"),
        (0, "048190000001", "document number"),
        (0, "048091000001", "document number"),
        (1, "", "name"),
        (1, "***", "name"),
        (2, "1990-13-01", "birth date"),
        (2, "1990-02-30", "birth date"),
        (2, "1990-02-29", "birth date"),
        (2, "1990-**-32", "birth date"),
        (2, "****-**-**", "birth date"),
        (2, "1790-**-**", "birth date"),
        (3, "2", "declared by"),
        (3, "", "declared by"),
        (4, "1629", "QID"),
        (4, "1629****00000000", "QID"),
        (5, "<3", "sex in EXT"),
    ],
)
def test_a_broken_national_field_is_named(index: int, value: str, field: str) -> None:
    """A national code with one broken field is malformed, and the refusal names that field."""
    refusal = _read_fields(_with_field(NATIONAL, index, value))
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.scheme) == (Reason.MALFORMED, Scheme.VN1405)
    assert refusal.detail.startswith(f"{field}:")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"|",
        b"||||||",
        b"hello",
        b"KIOSK:UNLOCK",
        b"CONFIG;mqtt=evil;restart",
        b"WIFI:T:WPA;S:door;P:secret;;",
        b"wifi:S:door;;",
        b"https://khaibaoyte.danang.gov.vn/?id=1",
        b"TKYT2:ABC",
        b"tkyt1:ABC",
        b"\xff\xfe" + "|".join(CARD).encode(),
        "|".join(CARD).encode("utf-16"),
        "|".join([*CARD, *["x"] * 7]).encode(),
        "|".join(CARD).encode() + b" " * 2954,
        b"1" * 2954,
        b"9" * 100_000,
    ],
)
def test_anything_else_is_an_unknown_format(payload: bytes) -> None:
    """Commands, settings, other people's formats and noise are all the same: not read here."""
    assert read(payload, KEYRING) == Refusal(
        reason=Reason.UNKNOWN_FORMAT, detail="payload: none of the formats this kiosk reads"
    )


def test_a_subject_is_keyed_and_namespaced() -> None:
    """The pseudonym differs by key and by kind of identifier, and is pinned so that the city's never drifts."""
    assert subject_of("id", NUMBER, KEY) == "dd75d69c42f9d091a7ae9b4f7d288d9a"
    assert subject_of("id", " 048 090 000001\n", KEY) == subject_of("id", NUMBER, KEY)
    assert subject_of("qid", "ab1", KEY) == subject_of("qid", "AB1", KEY)
    assert subject_of("qid", NUMBER, KEY) != subject_of("id", NUMBER, KEY)
    assert subject_of("id", NUMBER, b"l" * 32) != subject_of("id", NUMBER, KEY)


@pytest.mark.parametrize(
    ("name", "initials"),
    [
        ("Nguyễn Văn An", "N.V.A."),
        ("đặng thị ánh", "Đ.T.Á."),
        (unicodedata.normalize("NFD", "Ứng"), "Ứ."),
        ("Công Tằng Tôn Nữ Hoàng An", "C.T.T.N."),
        ("  Lê   Lợi ", "L.L."),
        ("- 'Ali 7", "A."),
        ("", ""),
    ],
)
def test_initials_are_the_capitals_of_at_most_four_words(name: str, initials: str) -> None:
    """Initials keep the diacritics, and no more than four letters of the name."""
    assert initials_of(name) == initials


def test_the_keyring_hides_its_subject_key() -> None:
    """A logged keyring gives no secret away."""
    secret = b"very secret key of thirty-two by"
    shown = repr(Keyring(subject_key=secret, issuers={}))
    assert "secret" not in shown
    assert secret.hex() not in shown


def test_a_short_subject_key_is_refused() -> None:
    """A key under 32 bytes would make the pseudonyms guessable."""
    with pytest.raises(ValueError, match="the subject key has 31 bytes; it needs 32"):
        Keyring(subject_key=b"k" * 31, issuers={})


def test_issuers_are_known_by_their_kid() -> None:
    """Every issuer key is found under 8 bytes of its own hash."""
    pems = [public_pem(new_key()), public_pem(new_key())]
    ring = Keyring.from_pem(subject_key=KEY, issuer_pems=pems)
    issuers = [issuer for some in ring.issuers.values() for issuer in some]
    assert {len(kid) for kid in ring.issuers} == {8}
    assert {issuer.uses for issuer in issuers} == {frozenset({Use.DECLARATION})}
    shown = [issuer.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for issuer in issuers]
    assert shown == pems


def test_an_issuer_key_of_the_wrong_kind_is_refused_by_position() -> None:
    """Only P-256 public keys are issuers; the text says which entry is wrong."""
    good = public_pem(new_key())
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()  # noqa: S505 - refused anyway
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    for key in (rsa_key, p384):
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(ValueError, match="issuer key 2 is not an elliptic-curve key on P-256"):
            Keyring.from_pem(subject_key=KEY, issuer_pems=[good, pem])
    for pem in (b"", b"not a key", new_key()):
        with pytest.raises(ValueError, match="issuer key 1 is not a PEM public key"):
            Keyring.from_pem(subject_key=KEY, issuer_pems=[pem])
