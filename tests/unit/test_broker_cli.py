import argparse

import pytest

from city.broker_cli import PASSWORD, add_broker, broker_of
from kiosk.broker import Broker

WORD = "a password"


def told(monkeypatch: pytest.MonkeyPatch, *words: str, password: str = "") -> Broker:
    """What the command line makes of these words."""
    monkeypatch.setenv(PASSWORD, password)
    return broker_of(add_broker(argparse.ArgumentParser()).parse_args(words))


def test_without_options_it_is_this_machine_s_broker_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in the environment goes with a name only."""
    assert told(monkeypatch, password=WORD) == Broker(host="localhost", port=1883, tls=False)


def test_an_authority_means_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's, or the system's; our own certificate beside it, or a name and a password."""
    assert told(
        monkeypatch, "--broker", "[::1]:8883", "--ca", "ca.pem", "--certificate", "a.pem", "--key", "a.key"
    ) == (Broker(host="::1", port=8883, tls=True, ca_file="ca.pem", certificate_file="a.pem", key_file="a.key"))
    assert told(monkeypatch, "--broker", "b:1", "--ca", "system", "--username", "me", password=WORD) == Broker(
        host="b", port=1, tls=True, username="me", password=WORD
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--broker", "city"), "HOST:PORT"),
        (("--broker", "city:x"), "HOST:PORT"),
        (("--ca", "ca.pem", "--key", "a.key"), "go together"),
        (("--certificate", "a.pem", "--key", "a.key"), "needs --ca"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match=said):
        told(monkeypatch, *words)
