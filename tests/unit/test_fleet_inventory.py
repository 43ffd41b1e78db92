"""The inventory: doors from TOML and CSV, and every mistake in a technician's words."""

import tomllib

import pytest

from fleet.errors import InventoryError
from fleet.inventory import Door, read
from kiosk.settings import Settings

TOML = """
[defaults]
user = "technician"

[settings.uplink]
host = "broker.city.example"

[sites.mall]
camera = { region = [0.25, 0.25, 0.5] }

[[doors]]
device = "mall-1"
host = "mall-1.example"
site = "mall"
place = "place-0042"
access_point = "main"
direction = "entry"

[[doors]]
device = "desk-1"
host = "desk-1.example"
place = "place-0042"
access_point = "desk"
direction = "exit"
hardware = "simulated"
settings = { camera = { path = "/srv/showings.json" }, lines = { hold = ["exit_relay"] } }
"""
ROW = "device,host,place,access_point,direction\n"


def nothing(name: str) -> str:
    """No other file is named."""
    raise AssertionError(name)


def mistakes_of(name: str, text: str) -> list[str]:
    """What is wrong with an inventory."""
    with pytest.raises(InventoryError) as refused:
        read(name, text, nothing)
    return refused.value.mistakes


def test_a_door_s_settings_are_hardware_s_then_everybody_s_then_the_site_s_then_its_own() -> None:
    """The last word wins, key by key."""
    mall, desk = read("doors.toml", TOML, nothing)
    assert (mall.user, mall.port, mall.hardware) == ("technician", 22, "pi")
    assert mall.settings["camera"] == {"source": "picamera2", "region": [0.25, 0.25, 0.5]}
    assert desk.settings["camera"] == {"source": "visitors", "path": "/srv/showings.json"}
    assert desk.settings["lines"] == {"pin_factory": "mock", "hold": ["exit_relay"]}


def test_the_kiosk_toml_of_a_door_is_read_by_the_kiosk() -> None:
    """It says who the door is, and names the files that kiosk-fleet puts there."""
    mall, _ = read("doors.toml", TOML, nothing)
    settings = Settings.model_validate(tomllib.loads(mall.kiosk_toml()))
    assert (settings.door.device, settings.door.place, settings.door.access_point) == ("mall-1", "place-0042", "main")
    assert (settings.uplink.host, settings.uplink.certificate_file) == ("broker.city.example", "keys/device.pem")
    assert mall.kiosk_toml().startswith("# Written whole by kiosk-fleet")


def test_a_csv_is_an_inventory() -> None:
    """Its heading names the keys; what is left empty has its default."""
    (door,) = read(
        "doors.csv", "device,host,port,place,access_point,direction\na-1,192.0.2.7,,p-1,main,exit\n", nothing
    )
    assert (door.device, door.host, door.port, door.direction) == ("a-1", "192.0.2.7", 22, "exit")


def test_a_toml_inventory_may_leave_the_rows_to_a_csv() -> None:
    """Defaults and sites stand in the TOML, doors in the spreadsheet."""
    rows = {"doors.csv": ROW + "a-1,192.0.2.7,p-1,main,exit\n"}
    (door,) = read("doors.toml", 'doors_file = "doors.csv"\n[defaults]\nuser = "ann"\n', rows.__getitem__)
    assert (door.device, door.user) == ("a-1", "ann")


def test_all_mistakes_are_told_at_once_with_door_key_and_fix() -> None:
    """A technician mends them in one go."""
    text = """
[[doors]]
device = "a-1"
host = "192.0.2.7"
place = "p"
acess_point = "main"
direction = "inwards"

[[doors]]
device = "a-2"
host = "192.0.2.8"
place = "p"
access_point = "main"
direction = "entry"
hardware = "pie"
"""
    assert mistakes_of("doors.toml", text) == [
        "doors.toml: door 1 (a-1): access_point: missing; every door needs it",
        "doors.toml: door 1 (a-1): direction: Input should be 'entry' or 'exit' (got 'inwards')",
        "doors.toml: door 1 (a-1): acess_point: unknown; did you mean 'access_point'?",
        "doors.toml: door 2 (a-2): hardware: 'pie' is no kind of door; did you mean 'pi'?",
    ]


def test_what_the_kiosk_would_refuse_is_refused_on_the_laptop() -> None:
    """kiosk.toml of every door is checked by the kiosk's own rules before any door is touched."""
    text = TOML.replace('hold = ["exit_relay"]', "green = 17, amber = 17")
    assert mistakes_of("doors.toml", text) == [
        "doors.toml: door 2 (desk-1): settings: lines: GPIO 17 is used by green and amber: give each line its own"
    ]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("d.csv", "", "d.csv: no door in it; write a [[doors]] table, or a row below the heading of a CSV"),
        ("d.csv", ROW + "a,b\n", "d.csv: line 2: not as many fields as the heading has; is a comma missing?"),
        ("d.toml", "[doors]\n", "d.toml: doors: write each as a [[doors]] table"),
        ("d.toml", "[defautls]\n", "d.toml: defautls: unknown; did you mean 'defaults'?"),
        (
            "d.toml",
            TOML.replace('site = "mall"', 'site = "maul"'),
            "d.toml: door 1 (mall-1): site: there is no [sites.maul]; did you mean 'mall'?",
        ),
        (
            "d.toml",
            TOML.replace("desk-1", "mall-1"),
            "d.toml: device: 'mall-1' stands 2 times; every door has its own name at the broker",
        ),
    ],
)
def test_a_broken_inventory_is_told_in_a_sentence(name: str, text: str, told: str) -> None:
    """File, place, and what to write instead."""
    assert told in mistakes_of(name, text)


def test_a_password_in_the_settings_is_not_shown() -> None:
    """A door's own text has it, because the door needs it; a mistake beside it does not repeat it."""
    text = TOML.replace('host = "broker.city.example"', "password = 7")
    assert mistakes_of("doors.toml", text)[0] == (
        "doors.toml: door 1 (mall-1): settings: uplink.password: Input should be a valid string"
    )


def test_a_door_without_tls_gets_no_certificate_files() -> None:
    """Only a broker on the door itself is spoken to without."""
    text = TOML.replace('host = "broker.city.example"', 'host = "localhost"\ntls = false')
    doors: list[Door] = read("doors.toml", text, nothing)
    assert [door.settings["uplink"] for door in doors] == [{"host": "localhost", "tls": False}] * 2
