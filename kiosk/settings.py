"""PURE. What a technician may write in kiosk.toml: every key, its default, its range, and what contradicts what.

config/kiosk.toml shows the same, and a test keeps the two equal. `kiosk.config` reads the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from kiosk.messages import RELAYS, Direction, InputLine, Line, Order
from kiosk.risk import Freshness


class Section(BaseModel):
    """One table of kiosk.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _is_topic_level(text: str) -> str:
    if not text.isascii() or not text.replace("-", "").isalnum() or text != text.lower():
        raise ValueError("use lower-case letters, digits and dashes only: it becomes an MQTT topic level")
    if text.startswith("city-"):
        raise ValueError("names that begin with city- are the city's own users at the broker; choose another")
    return text


NO_LINE = -1
"""TOML has no null: this in place of a GPIO says that the door lacks the line."""

FileName = Annotated[str, Field(min_length=1)]
Gpio = Annotated[int, Field(ge=NO_LINE, le=27)]
"""A Broadcom GPIO number on the 40-pin header, or `NO_LINE`."""


def _is_time(text: str) -> str:
    try:
        time.fromisoformat(text)
    except ValueError as error:
        raise ValueError('write hours and minutes, such as "22:00"') from error
    return text


def _is_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host.strip("[]") or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:  # noqa: PLR2004
        raise ValueError('write HOST:PORT, such as "broker2.example.vn:8883" or "[::1]:8883"')
    return text


class DoorSettings(Section):
    """[door] who and where this kiosk is."""

    device: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_is_topic_level)] = "door-01"
    place: Annotated[str, Field(min_length=1, max_length=64)] = "place-0001"
    access_point: Annotated[str, Field(min_length=1, max_length=64)] = "main"
    direction: Literal["entry", "exit"] = "entry"
    absence_ms: Annotated[int, Field(ge=200, le=10_000)] = 1500
    repeat_window_s: Annotated[int, Field(ge=0, le=3600)] = 30
    pass_within_s: Annotated[int, Field(ge=1, le=60)] = 5
    alarm: Literal["timed", "until_acknowledged"] = "timed"
    opens_without: list[Literal["camera", "outbox"]] = []


US_PER_S = 1_000_000
LEAST_SIDE = 0.2
"""Of the view: the ISP enlarges what is smaller, and no module gets sharper."""
WHOLE_VIEW = (0.0, 0.0, 1.0)
"""As a region: left, top and side, in shares of the view."""
Share = Annotated[float, Field(ge=0, le=1)]


class CameraSettings(Section):
    """[camera] where frames come from, and how the Pi's camera is set."""

    source: Literal["picamera2", "v4l2", "video", "images", "visitors"] = "picamera2"
    path: str = ""
    width: Annotated[int, Field(ge=320, le=4608)] = 1280
    height: Annotated[int, Field(ge=240, le=2592)] = 720
    fps: Annotated[int, Field(ge=5, le=60)] = 30
    longest_exposure_us: Annotated[int, Field(ge=500, le=33_000)] = 10_000
    lens_position: Annotated[float, Field(ge=0, le=15)] = 0.0
    region: Annotated[list[Share], Field(min_length=3, max_length=3)] = list(WHOLE_VIEW)

    @model_validator(mode="after")
    def _path_belongs(self) -> Self:
        if self.source != "picamera2" and not self.path:
            raise ValueError(f"path: source {self.source!r} needs one (the device, file or folder)")
        return self

    @model_validator(mode="after")
    def _exposure_fits_frame(self) -> Self:
        if self.longest_exposure_us * self.fps > US_PER_S:
            raise ValueError(
                f"longest_exposure_us: a frame at fps = {self.fps} lasts {US_PER_S // self.fps} us; shorten one of them"
            )
        return self

    @model_validator(mode="after")
    def _region_inside(self) -> Self:
        left, top, side = self.region
        if side < LEAST_SIDE or max(left, top) + side > 1:
            raise ValueError(f"region: left, top and side must stay within 1, and side be at least {LEAST_SIDE}")
        return self


LineName = Literal["green", "amber", "red", "buzzer", "entry_relay", "exit_relay", "spare_1", "spare_2"]
InputName = Literal[
    "entry_passage", "exit_passage", "fire", "tamper", "staff_override", "request_to_exit", "emergency_stop"
]
Pull = Literal["up", "down", "none"]
PULLED_UP = frozenset({2, 3})
"""GPIOs with 1.8 kΩ to 3.3 V on the board (I2C); no resistor of ours moves them."""
DEBOUNCE_MS = 30
"""Contacts of relays and push-buttons bounce for a few milliseconds; passage contacts close for 100 and more."""


class LineSettings(Section):
    """[lines] what the kiosk drives, and on which GPIO."""

    pin_factory: Literal["lgpio", "rpigpio", "mock"] = "lgpio"
    green: Gpio = 17
    amber: Gpio = 27
    red: Gpio = 22
    buzzer: Gpio = 23
    entry_relay: Gpio = 24
    exit_relay: Gpio = 25
    spare_1: Gpio = NO_LINE
    spare_2: Gpio = NO_LINE
    active_low: list[LineName] = []
    relay_pulse_ms: Annotated[int, Field(ge=100, le=5000)] = 500
    hold: list[Literal["entry_relay", "exit_relay"]] = []
    relay_hold_ms: Annotated[int, Field(ge=1000, le=30_000)] = 5000
    fire_on: list[Literal["entry_relay", "exit_relay", "spare_1", "spare_2"]] = []
    buzzer_kind: Literal["active", "passive"] = "active"
    buzzer_hz: Annotated[int, Field(ge=100, le=10_000)] = 2700
    quiet_hours: Annotated[list[Annotated[str, AfterValidator(_is_time)]], Field(max_length=2)] = []

    def quiet(self) -> tuple[time, time] | None:
        """From when to when the buzzer rests."""
        if not self.quiet_hours:
            return None
        begins, ends = map(time.fromisoformat, self.quiet_hours)
        return begins, ends

    @model_validator(mode="after")
    def _hours_in_pairs(self) -> Self:
        if len(self.quiet_hours) == 1:
            raise ValueError('quiet_hours: say from when to when: ["22:00", "06:00"]; or [] for none')
        return self

    def relay_ms(self, relay: Line) -> int:
        """How long one opening drives this relay."""
        return self.relay_hold_ms if relay.value in self.hold else self.relay_pulse_ms

    def gpios(self) -> dict[Line, int]:
        """Every line this door has, and its GPIO."""
        return {line: gpio for line in Line if (gpio := getattr(self, line.value)) != NO_LINE}

    @model_validator(mode="after")
    def _no_clash(self) -> Self:
        _refuse_clashes({line.value: gpio for line, gpio in self.gpios().items()}, "line")
        return self

    @model_validator(mode="after")
    def _relays_rest_on_this_board(self) -> Self:
        for relay in RELAYS.values():
            if getattr(self, relay.value) in PULLED_UP and relay.value not in self.active_low:
                raise ValueError(
                    f"{relay}: the board pulls GPIO 2 and 3 up, so the relay would be on while no program runs;"
                    " take another GPIO"
                )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How one input is wired. Its level must hold for `debounce_ms` before it counts."""

    gpio: int
    active_high: bool
    pull: Pull
    debounce_ms: int


class InputSettings(Section):
    """[inputs] what the kiosk senses, and on which GPIO."""

    entry_passage: Gpio = NO_LINE
    exit_passage: Gpio = NO_LINE
    fire: Gpio = NO_LINE
    tamper: Gpio = NO_LINE
    staff_override: Gpio = NO_LINE
    request_to_exit: Gpio = NO_LINE
    emergency_stop: Gpio = NO_LINE
    active_high: list[InputName] = ["fire", "tamper", "emergency_stop"]
    pull: dict[InputName, Pull] = {}
    debounce_ms: dict[InputName, Annotated[int, Field(ge=10, le=300)]] = {}

    def contacts(self) -> dict[InputLine, Contact]:
        """Every input this door has, and how it is wired."""
        return {line: self._contact(line) for line in InputLine if getattr(self, line.value) != NO_LINE}

    def _contact(self, line: InputLine) -> Contact:
        name: InputName = line.value
        return Contact(
            gpio=getattr(self, name),
            active_high=name in self.active_high,
            pull=self.pull.get(name, "up"),
            debounce_ms=self.debounce_ms.get(name, DEBOUNCE_MS),
        )

    @model_validator(mode="after")
    def _no_clash(self) -> Self:
        _refuse_clashes({line.value: contact.gpio for line, contact in self.contacts().items()}, "input")
        return self

    @model_validator(mode="after")
    def _wired_as_the_board_is(self) -> Self:
        for line, contact in self.contacts().items():
            if contact.gpio in PULLED_UP and contact.pull != "up":
                raise ValueError(f'pull: the board pulls GPIO 2 and 3 up; {line} needs pull "up" or another GPIO')
        return self

    @model_validator(mode="after")
    def _broken_wire_is_a_fire(self) -> Self:
        contact = self._contact(InputLine.FIRE)
        if contact.pull != ("up" if contact.active_high else "down"):
            raise ValueError(
                'fire: a broken wire must count as fire: keep it in active_high with pull "up" (a contact that opens in'
                ' a fire, to ground), or take it out with pull "down" (the same to 3.3 V)'
            )
        return self


def _refuse_clashes(gpios: Mapping[str, int], each: str) -> None:
    by_gpio: dict[int, list[str]] = {}
    for name, gpio in gpios.items():
        by_gpio.setdefault(gpio, []).append(name)
    clashes = [f"GPIO {gpio} is used by {' and '.join(names)}" for gpio, names in by_gpio.items() if len(names) > 1]
    if clashes:
        raise ValueError("; ".join(clashes) + f": give each {each} its own")


class TrustSettings(Section):
    """[trust] the city's own key, what it last said whom to believe, and the key that makes pseudonyms."""

    city_key: FileName = "keys/city.pem"
    bundle: FileName = "keys/trust.bundle"
    subject_key_file: FileName = "keys/subject.key"


class CityDataSettings(Section):
    """[city_data] what the city sends, and how old it may be."""

    folder: FileName = "/var/lib/kiosk"
    risk_list: Literal["required", "none"] = "required"
    fresh_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    limit_hours: Annotated[int, Field(ge=1, le=168)] = 24
    look_up: bool = True

    def freshness(self) -> Freshness | None:
        """The ages in seconds; None at a site that goes without the list."""
        wanted = self.risk_list == "required"
        return Freshness(fresh_s=self.fresh_minutes * 60, limit_s=self.limit_hours * 3600) if wanted else None

    @model_validator(mode="after")
    def _limit_is_later(self) -> Self:
        if self.fresh_minutes > self.limit_hours * 60:
            raise ValueError("limit_hours: must not be less than fresh_minutes; data is fresh first, then old")
        return self


class OutboxSettings(Section):
    """[outbox] the durable queue."""

    path: FileName = "/var/lib/kiosk/outbox.sqlite3"
    most_events: Annotated[int, Field(ge=1000, le=1_000_000)] = 100_000
    most_days: Annotated[int, Field(ge=1, le=365)] = 30


class AlertSettings(Section):
    """[alerts] what happens while nobody at the health authority has acknowledged an alert."""

    escalate_after_s: Annotated[int, Field(ge=10, le=3600)] = 60
    most_escalations: Annotated[int, Field(ge=0, le=10)] = 3


OrderName = Literal[
    "unlock",
    "lock",
    "release",
    "mute",
    "test",
    "resync",
    "restart",
    "rotate_key",
    "install_certificate",
    "diagnostics",
]


class CommandSettings(Section):
    """[commands] what the city may command here, and how much of it."""

    allow: list[OrderName] = [order.value for order in Order]
    longest_unlock_s: Annotated[int, Field(ge=1, le=600)] = 60
    longest_lock_s: Annotated[int, Field(ge=60, le=86_400)] = 43_200
    longest_mute_s: Annotated[int, Field(ge=60, le=86_400)] = 3600


class UplinkSettings(Section):
    """[uplink] the city's broker."""

    host: Annotated[str, Field(min_length=1, max_length=253)] = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 8883
    others: Annotated[list[Annotated[str, AfterValidator(_is_address)]], Field(max_length=8)] = []
    heartbeat_s: Annotated[int, Field(ge=10, le=3600)] = 60
    spread_s: Annotated[int, Field(ge=1, le=600)] = 72
    username: str = ""
    password: SecretStr = SecretStr("")
    tls: bool = True
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        hosts = [self.host, *(address.rpartition(":")[0].strip("[]") for address in self.others)]
        if not self.tls and not all(map(_is_loopback, hosts)):
            raise ValueError("tls: without TLS only a broker on this machine is allowed; set tls = true")
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file go together; set both or neither")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ScreenSettings(Section):
    """[screen] the page at the door; always on loopback."""

    mirror: bool = True
    languages: Annotated[list[FileName], Field(max_length=2)] = []
    port: Annotated[int, Field(ge=0, le=65535)] = 8080


class ClockSettings(Section):
    """[clock] when UTC is believed."""

    trust: Literal["timesyncd", "always"] = "timesyncd"


class JournalSettings(Section):
    """[journal] a trace of inputs and effects, for replay; it holds what codes say, so never with live people."""

    path: str = ""


class Settings(Section):
    """kiosk.toml, whole. `rules_file` and all other relative paths start at the file's own folder."""

    rules_file: FileName = "rules.toml"
    door: DoorSettings = DoorSettings()
    camera: CameraSettings = CameraSettings()
    lines: LineSettings = LineSettings()
    inputs: InputSettings = InputSettings()
    trust: TrustSettings = TrustSettings()
    city_data: CityDataSettings = CityDataSettings()
    outbox: OutboxSettings = OutboxSettings()
    uplink: UplinkSettings = UplinkSettings()
    alerts: AlertSettings = AlertSettings()
    commands: CommandSettings = CommandSettings()
    screen: ScreenSettings = ScreenSettings()
    clock: ClockSettings = ClockSettings()
    journal: JournalSettings = JournalSettings()

    @model_validator(mode="after")
    def _no_play_at_a_real_door(self) -> Self:
        if self.camera.source == "visitors" and self.lines.pin_factory != "mock":
            raise ValueError("lines.pin_factory: simulated visitors must not move a real door; use 'mock'")
        return self

    @model_validator(mode="after")
    def _no_line_is_an_input(self) -> Self:
        lines = {f"lines.{line}": gpio for line, gpio in self.lines.gpios().items()}
        inputs = {f"inputs.{line}": contact.gpio for line, contact in self.inputs.contacts().items()}
        _refuse_clashes(lines | inputs, "of them")
        return self

    @model_validator(mode="after")
    def _contact_for_staff(self) -> Self:
        if self.door.alarm == "until_acknowledged" and self.inputs.staff_override == NO_LINE:
            raise ValueError("door.alarm: staff acknowledge with inputs.staff_override, which this door lacks")
        if self.inputs.request_to_exit != NO_LINE and self.lines.exit_relay == NO_LINE:
            raise ValueError("inputs.request_to_exit: needs lines.exit_relay, which it opens")
        return self

    @model_validator(mode="after")
    def _journal_without_people(self) -> Self:
        if self.journal.path and self.camera.source in {"picamera2", "v4l2"}:
            raise ValueError("journal.path: a journal holds what codes say; remove it, or play a recording")
        return self

    @model_validator(mode="after")
    def _relay_for_direction(self) -> Self:
        relay = RELAYS[Direction(self.door.direction)]
        if relay not in self.lines.gpios():
            raise ValueError(f"lines.{relay}: a door whose direction is {self.door.direction!r} needs its relay")
        return self
