"""What the gate judges by, put together from the site's files and what the city sent."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from city import risk, signing, trust
from city.declare import declaration_payload
from city.provision import BUNDLE, CITY_PEM, SUBJECT_KEY, Secrets, first_bundle, new_secrets, provision
from kiosk.city_data import NO_BUNDLE, city_data, files_of, kept
from kiosk.config import Loaded, load
from kiosk.credentials import subject_of
from kiosk.messages import Credential, Flag, Reason, Refusal
from kiosk.risk import EpidemicArea
from kiosk.trust import Bundle
from tests.builders import REPOSITORY, RULES, START

SECRETS: Secrets = new_secrets(bytes(range(32)))
KEY = signing.load_key(SECRETS.city)
NUMBER = "048090000001"
SUBJECT = subject_of("id", NUMBER, SECRETS.subject)
CODE = declaration_payload(
    key=signing.load_key(SECRETS.declaration), sub=SUBJECT, initials="N.V.A.", issued_at=START - timedelta(hours=1)
)
CARD = f"{NUMBER}||Nguyễn Văn An|01011990|Nam|Đà Nẵng|15042021".encode()
RULES_TOML = (REPOSITORY / "config" / "rules.toml").read_text(encoding="utf-8")
FIRST = first_bundle(SECRETS, START)
AREAS = (EpidemicArea(code="92", since=date(2021, 11, 1)),)


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """A kiosk as provisioning leaves it, with a folder of its own for what the city sends."""
    (tmp_path / "keys").mkdir()
    provision(tmp_path / "keys", SECRETS, START)
    (tmp_path / "rules.toml").write_text(RULES_TOML, encoding="utf-8")
    (tmp_path / "kiosk.toml").write_text('[city_data]\nfolder = "."\n', encoding="utf-8")
    return load(tmp_path / "kiosk.toml")


def _folder(loaded: Loaded) -> Path:
    return Path(loaded.settings.city_data.folder)


def _newer(**changes: object) -> Bundle:
    return replace(FIRST, version=2, **changes)  # type: ignore[arg-type]


def test_a_kiosk_as_provisioned_reads_what_the_city_signs(loaded: Loaded) -> None:
    """With the site's rules, without a risk list; a card bears its seal to the health authority."""
    data, troubles = kept(loaded)
    read, card = data.read(CODE), data.read(CARD)
    assert isinstance(read, Credential)
    assert isinstance(card, Credential)
    assert (data.trusting, data.rules, data.risk_list, troubles) == (True, RULES, None, [])
    assert (read.subject, card.subject, bool(card.sealed)) == (SUBJECT, SUBJECT, True)


def test_a_kiosk_without_a_bundle_says_so_and_trusts_nobody(loaded: Loaded) -> None:
    """Cards still say who somebody is, so that an exit's record has its subject."""
    (_folder(loaded) / "keys" / BUNDLE).unlink()
    data, troubles = kept(loaded)
    read, card = data.read(CODE), data.read(CARD)
    assert isinstance(read, Refusal)
    assert isinstance(card, Credential)
    assert (data.trusting, data.rules, troubles) == (False, RULES, [NO_BUNDLE])
    assert (read.reason, card.subject, card.sealed) == (Reason.ISSUER_UNKNOWN, SUBJECT, "")


def test_the_newer_bundle_of_provisioning_and_network_counts(loaded: Loaded) -> None:
    """Whichever file it lies in; an old one put back in its place changes nothing."""
    files, _ = files_of(loaded)
    held = files.take(None, trust.signed(_newer(areas=AREAS), key=KEY))
    assert isinstance(held, Bundle)
    assert kept(loaded)[0].rules.areas == AREAS
    third = trust.signed(replace(FIRST, version=3, areas=()), key=KEY)
    (_folder(loaded) / "keys" / BUNDLE).write_bytes(third)
    assert kept(loaded)[0].rules.areas == ()


def test_the_list_of_the_files_is_the_gates(loaded: Loaded) -> None:
    """Snapshot and delta, as the city numbered them."""
    _, files = files_of(loaded)
    held = files.take(None, risk.snapshot({}, version=1, made_at=START, key=KEY))
    assert not isinstance(held, str)
    files.take(held, risk.delta({SUBJECT: Flag.F1}, (), base=1, version=2, made_at=START, key=KEY))
    listed = kept(loaded)[0].risk_list
    assert listed is not None
    assert (listed.version, listed.flag_of(SUBJECT)) == (2, Flag.F1)


def test_the_citys_areas_win_over_the_sites(loaded: Loaded) -> None:
    """Also an empty list of them; none given leaves them to the rules."""
    areas = [city_data(loaded, _newer(areas=said), None)[0].rules.areas for said in (AREAS, (), None)]
    assert areas == [AREAS, (), RULES.areas]


def test_the_citys_rules_win_over_the_sites(loaded: Loaded) -> None:
    """And the bundle's areas over those in the city's rules."""
    sent = RULES_TOML.replace('version = "2021-11-22"', 'version = "the city\'s"').replace(
        "admit = true", "admit = false"
    )
    data, trouble = city_data(loaded, _newer(rules_toml=sent, areas=AREAS), None)
    expected = replace(RULES, version="the city's", certificates=replace(RULES.certificates, admit=False), areas=AREAS)
    assert (data.rules, trouble) == (expected, "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("look_back_days = 21", "look_back_days = = 21", "the city's rules are not TOML: "),
        ("test_days = 3", "test_day = 3", "the city's rules: certificates.test_day: unknown key"),
        (
            '[reasons."at_risk.contact"]\ndecision = "denied"',
            '[reasons."at_risk.contact"]\ndecision = "granted"',
            'the city\'s rules: reasons."at_risk.contact": must be decision = "denied" and alarm = true',
        ),
    ],
)
def test_bad_rules_of_the_city_leave_the_sites_in_force(loaded: Loaded, old: str, new: str, said: str) -> None:
    """What is wrong is told; the rest of the bundle counts, its areas too."""
    assert old in RULES_TOML
    data, trouble = city_data(loaded, _newer(rules_toml=RULES_TOML.replace(old, new), areas=AREAS), None)
    assert (data.rules, data.trusting, isinstance(data.read(CODE), Credential)) == (
        replace(RULES, areas=AREAS),
        True,
        True,
    )
    assert trouble.startswith(said)


def test_an_authority_key_that_cannot_seal_is_told(loaded: Loaded) -> None:
    """Codes are read all the same, without a seal."""
    data, trouble = city_data(loaded, _newer(authority_pem=b"no key"), None)
    card = data.read(CARD)
    assert isinstance(card, Credential)
    assert (card.sealed, bool(trouble)) == ("", True)


def test_a_file_of_another_city_is_told_and_not_used(loaded: Loaded) -> None:
    """The kiosk then has no bundle, and says both."""
    stranger = signing.load_key(signing.new_key())
    path = _folder(loaded) / "keys" / BUNDLE
    path.write_bytes(trust.signed(FIRST, key=stranger))
    data, troubles = kept(loaded)
    assert data.trusting is False
    assert [troubles[0].startswith(f"{path}: not by the city: "), troubles[1:]] == [True, [NO_BUNDLE]]


def test_provisioning_writes_what_the_configuration_names(loaded: Loaded) -> None:
    """The city's key, its bundle, and the key of the pseudonyms, which nobody else may read."""
    trusted = loaded.settings.trust
    names = [Path(path) for path in (trusted.city_key, trusted.bundle, trusted.subject_key_file)]
    assert [path.name for path in names] == [CITY_PEM, BUNDLE, SUBJECT_KEY]
    assert (names[2].read_bytes(), oct(names[2].stat().st_mode & 0o777)) == (SECRETS.subject, "0o600")
