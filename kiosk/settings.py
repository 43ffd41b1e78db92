"""PURE. What a technician may write in kiosk.toml: every key, its default, its range, and what contradicts what.

config/kiosk.toml shows the same, and a test keeps the two equal. `kiosk.config` reads the file.
"""

from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from kiosk.messages import RELAYS, Direction, Line


class Section(BaseModel):
    """One table of kiosk.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _is_topic_level(text: str) -> str:
    if not text.isascii() or not text.replace("-", "").isalnum() or text != text.lower():
        raise ValueError("use lower-case letters, digits and dashes only: it becomes an MQTT topic level")
    return text


NO_LINE = -1
"""TOML has no null: this in place of a GPIO says that the door lacks the line."""

FileName = Annotated[str, Field(min_length=1)]
Gpio = Annotated[int, Field(ge=NO_LINE, le=27)]
"""A Broadcom GPIO number on the 40-pin header, or `NO_LINE`."""


class DoorSettings(Section):
    """[door] who and where this kiosk is."""

    device: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_is_topic_level)] = "door-01"
    place: Annotated[str, Field(min_length=1, max_length=64)] = "place-0001"
    access_point: Annotated[str, Field(min_length=1, max_length=64)] = "main"
    direction: Literal["entry", "exit"] = "entry"
    absence_ms: Annotated[int, Field(ge=200, le=10_000)] = 1500
    repeat_window_s: Annotated[int, Field(ge=0, le=3600)] = 30


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


class LineSettings(Section):
    """[lines] what hangs on which GPIO."""

    pin_factory: Literal["lgpio", "rpigpio", "mock"] = "lgpio"
    green: Gpio = 17
    amber: Gpio = 27
    red: Gpio = 22
    buzzer: Gpio = 23
    entry_relay: Gpio = 24
    exit_relay: Gpio = 25
    active_low: list[Literal["green", "amber", "red", "buzzer", "entry_relay", "exit_relay"]] = []
    relay_pulse_ms: Annotated[int, Field(ge=100, le=5000)] = 500

    def gpios(self) -> dict[Line, int]:
        """Every line this door has, and its GPIO."""
        return {line: gpio for line in Line if (gpio := getattr(self, line.value)) != NO_LINE}

    @model_validator(mode="after")
    def _no_clash(self) -> Self:
        by_gpio: dict[int, list[str]] = {}
        for line, gpio in self.gpios().items():
            by_gpio.setdefault(gpio, []).append(line.value)
        clashes = [f"GPIO {gpio} is used by {' and '.join(names)}" for gpio, names in by_gpio.items() if len(names) > 1]
        if clashes:
            raise ValueError("; ".join(clashes) + ": give each line its own")
        return self


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

    @model_validator(mode="after")
    def _limit_is_later(self) -> Self:
        if self.fresh_minutes > self.limit_hours * 60:
            raise ValueError("limit_hours: must not be less than fresh_minutes; data is fresh first, then old")
        return self


class OutboxSettings(Section):
    """[outbox] the durable queue."""

    path: FileName = "/var/lib/kiosk/outbox.sqlite3"


class UplinkSettings(Section):
    """[uplink] the city's broker."""

    host: Annotated[str, Field(min_length=1, max_length=253)] = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 8883
    username: str = ""
    password: SecretStr = SecretStr("")
    tls: bool = True
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.tls and not _is_loopback(self.host):
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
    trust: TrustSettings = TrustSettings()
    city_data: CityDataSettings = CityDataSettings()
    outbox: OutboxSettings = OutboxSettings()
    uplink: UplinkSettings = UplinkSettings()
    screen: ScreenSettings = ScreenSettings()
    clock: ClockSettings = ClockSettings()
    journal: JournalSettings = JournalSettings()

    @model_validator(mode="after")
    def _no_play_at_a_real_door(self) -> Self:
        if self.camera.source == "visitors" and self.lines.pin_factory != "mock":
            raise ValueError("lines.pin_factory: simulated visitors must not move a real door; use 'mock'")
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
