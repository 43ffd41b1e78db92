"""Writes the recorded cases anew: `python -m tests.replay.make_cases`.

It decides what happens in front of each simulated door; what the door did about it is recorded from the gate as it
is now, so look at the difference before committing it. The issuer's private key is made here and thrown away; people
are invented. Called by hand, when the journal's format or a law of the gate changes on purpose.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from city import risk
from city.declare import declaration_payload
from city.provision import new_secrets, provision
from city.signing import load_key, new_key
from kiosk import wire
from kiosk.city_data import kept
from kiosk.city_files import SNAPSHOT
from kiosk.clock import MS
from kiosk.config import load
from kiosk.credentials import subject_of
from kiosk.gate import Gate
from kiosk.messages import (
    AlertNews,
    AlertState,
    Answer,
    Answered,
    Command,
    Elapsed,
    Flag,
    Glimpse,
    Input,
    InputLine,
    LinkStatus,
    Order,
    Quad,
    Seen,
    Sensed,
    StageHealth,
    Symptom,
    Visit,
)
from kiosk.parts import gate_for
from kiosk.testing.clock import ManualClock
from tests.builders import START, sighting

CASES = Path(__file__).parent / "cases"
SUBJECT_KEY = b"synthetic key of the replay case"
FRAME_MS = 100
CARD = "048090000004||Nguyễn Văn An|01021990|Nam|Đà Nẵng|15042021".encode()
STRANGERS_CARD = "048090000007||Trần Thị Bình|01021990|Nam|Đà Nẵng|15042021".encode()
FOREIGN = b"https://example.vn/menu"

KIOSK_TOML = """\
rules_file = "../rules.toml"

[door]
device = "replayed"
direction = "{direction}"

[trust]
city_key = "../keys/city.pem"
bundle = "../keys/trust.bundle"
subject_key_file = "../keys/subject.key"

[city_data]
folder = "."
risk_list = "{risk_list}"
look_up = {look_up}
fresh_minutes = 1
limit_hours = 1

[lines]
pin_factory = "mock"

[inputs]
staff_override = 5
"""

Script = Sequence[tuple[int, Input | timedelta]]
"""What happens when; a time of day in ms, and an input or by how much somebody sets the wall clock."""
ASKING = {
    "a_card_is_looked_up_and_the_answer_in_time_is_judged",
    "an_answer_that_is_late_serves_the_next_showing",
}
"""The cases whose site asks the city about cards."""
NEEDS_LIST = "who_is_on_the_risk_list_is_stopped_whatever_they_declare"
"""The one case whose site goes by a risk list; the list lies in its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """Signed codes of five invented people, one whose signer nobody knows, and two cards' subjects."""

    an: bytes
    binh: bytes
    cougher: bytes
    traveller: bytes
    forged: bytes
    cardholder: bytes
    card_subject: str
    strangers_subject: str


def make_codes(private_pem: bytes) -> Codes:
    """Sign a declaration for each."""
    key = load_key(private_pem)

    def signed(number: int, symptoms: tuple[Symptom, ...] = (), visits: tuple[Visit, ...] = ()) -> bytes:
        subject = subject_of("id", f"04809000000{number}", SUBJECT_KEY)
        issued_at = START - timedelta(hours=1)
        return declaration_payload(
            key=key, sub=subject, initials="N.V.A.", issued_at=issued_at, symptoms=symptoms, visits=visits
        )

    stranger = load_key(new_key())
    subject = subject_of("id", "048090000009", SUBJECT_KEY)
    return Codes(
        an=signed(1),
        binh=signed(2),
        cougher=signed(3, symptoms=(Symptom.COUGH,)),
        traveller=signed(5, visits=(Visit(area="79783", left_on=date(2021, 11, 18)),)),
        cardholder=signed(4),
        card_subject=subject_of("id", "048090000004", SUBJECT_KEY),
        strangers_subject=subject_of("id", "048090000007", SUBJECT_KEY),
        forged=declaration_payload(key=stranger, sub=subject, initials="N.V.A.", issued_at=START),
    )


def held_up(from_ms: int, to_ms: int, *payloads: bytes) -> Script:
    """Frames with these codes, ten a second."""
    return [
        (ms, Seen(sightings=tuple(sighting(payload, ms) for payload in payloads)))
        for ms in range(from_ms, to_ms, FRAME_MS)
    ]


def glimpsed(from_ms: int, to_ms: int, quad: Quad, module_px: float) -> Script:
    """Frames with a code in them that cannot be read, ten a second."""
    return [
        (
            ms,
            Glimpse(
                captured_ns=ms * MS,
                quad=quad,
                module_px=module_px,
                dark=40,
                light=180,
                clipped=0.0,
                edge_px=1.6,
                banding=0.02,
                tilt=5.5,
            ),
        )
        for ms in range(from_ms, to_ms, FRAME_MS)
    ]


def scripts_of_the_city(codes: Codes) -> dict[str, tuple[str, Script]]:
    """Facts about alerts, commands and the clock."""

    def ordered(ms: int, number: int, order: Order, seconds: int = 0) -> tuple[int, Input]:
        return ms, Command(number=number, order=order, seconds=seconds)

    def news(ms: int, state: AlertState) -> tuple[int, Input]:
        return ms, AlertNews(ledger="ledger", sequence=1, state=state)

    def key(ms: int, *, pressed: bool) -> tuple[int, Input]:
        return ms, Sensed(line=InputLine.STAFF_OVERRIDE, active=pressed, at_ns=ms * MS)

    return {
        "an_alert_that_nobody_answers_is_told_again_and_louder": (
            "entry",
            [
                *held_up(500, 1500, codes.cougher),
                *(news(600, AlertState.RAISED), news(900, AlertState.DELIVERED)),
                *(news(130_000, AlertState.ACKNOWLEDGED), news(140_000, AlertState.CLOSED)),
            ],
        ),
        "an_unlocked_entry_opens_again_and_again_and_judges_who_comes": (
            "entry",
            [ordered(1000, 1, Order.UNLOCK, 4), *held_up(1500, 2500, codes.cougher)],
        ),
        "a_locked_entry_judges_nobody_until_its_release": (
            "entry",
            [
                key(0, pressed=False),
                ordered(1000, 1, Order.LOCK, 600),
                *held_up(2000, 2500, codes.an),
                ordered(4500, 2, Order.UNLOCK, 10),
                *(key(5000, pressed=True), key(5200, pressed=False)),
                ordered(8000, 3, Order.RELEASE),
                *held_up(9000, 9500, codes.an),
            ],
        ),
        "a_muted_door_still_calls_staff_to_somebody_at_risk": (
            "entry",
            [
                ordered(500, 1, Order.MUTE, 60),
                *held_up(1000, 1500, codes.an),
                *held_up(6000, 6500, codes.cougher),
            ],
        ),
        "the_clock_is_set_and_only_that_is_told": (
            "entry",
            [*held_up(500, 1000, codes.an), (5000, timedelta(seconds=-30)), *held_up(9000, 9500, codes.an)],
        ),
        "what_the_device_must_do_itself_is_carried_and_answered": (
            "exit",
            [
                ordered(500, 1, Order.DIAGNOSTICS),
                (700, Answered(number=1, order="diagnostics", done=True, detail="a report")),
                ordered(1000, 2, Order.LOCK, 60),
                ordered(1500, 3, Order.TEST),
            ],
        ),
    }


def scripts(codes: Codes) -> dict[str, tuple[str, Script]]:
    """Each fact's direction and what happens."""
    return {
        **scripts_of_the_city(codes),
        "a_visitor_at_risk_is_stopped_and_an_alert_recorded": (
            "entry",
            [*held_up(500, 1500, codes.cougher), *held_up(8000, 9000, codes.traveller)],
        ),
        "two_healthy_people_at_once_are_let_in_one_after_the_other": (
            "entry",
            held_up(500, 2000, codes.an, codes.binh),
        ),
        "the_same_person_again_within_the_window_is_held": (
            "entry",
            [
                *held_up(500, 1000, codes.an),
                *held_up(9000, 9500, codes.an),
                *held_up(19_000, 19_500, codes.an),
                *held_up(40_000, 40_500, codes.an),
            ],
        ),
        "the_camera_goes_dark_and_comes_back": (
            "entry",
            [
                (1000, StageHealth(stage="camera", fault="the picture is dark; switch a light on")),
                (7000, StageHealth(stage="camera", fault="")),
                *held_up(8000, 8500, codes.an),
            ],
        ),
        "an_exit_opens_for_everybody": (
            "exit",
            [
                *held_up(500, 1000, codes.an),
                *held_up(6000, 6500, codes.cougher),
                *held_up(14_000, 14_500, CARD),
                *held_up(20_000, 20_500, FOREIGN),
            ],
        ),
        "a_code_that_cannot_be_trusted_opens_nothing": (
            "entry",
            [*held_up(500, 1000, codes.forged), *held_up(6000, 6500, CARD), *held_up(12_000, 12_500, FOREIGN)],
        ),
        "a_code_held_badly_gets_advice_until_it_is_read": (
            "entry",
            [
                *glimpsed(500, 3000, ((600, 300), (673, 300), (673, 373), (600, 373)), 1.5),
                *glimpsed(3000, 5500, ((300, 20), (980, 20), (980, 700), (300, 700)), 13.9),
                *held_up(5500, 6000, codes.an),
                *glimpsed(6000, 6500, ((600, 300), (673, 300), (673, 373), (600, 373)), 1.5),
                *glimpsed(12_000, 13_000, ((600, 300), (796, 300), (796, 496), (600, 496)), 4.0),
            ],
        ),
        "a_card_is_looked_up_and_the_answer_in_time_is_judged": (
            "entry",
            [
                *held_up(500, 800, CARD),
                (800, Answer(asked=codes.card_subject, payload=codes.cardholder)),
                *held_up(6000, 6300, STRANGERS_CARD),
                (6300, Answer(asked=codes.strangers_subject, payload=b"")),
            ],
        ),
        "an_answer_that_is_late_serves_the_next_showing": (
            "entry",
            [
                *held_up(500, 1500, CARD),
                (2000, Answer(asked=codes.card_subject, payload=codes.cardholder)),
                *held_up(6000, 6500, CARD),
                (9000, LinkStatus(online=False, waiting=2)),
                *held_up(12_000, 12_500, STRANGERS_CARD),
            ],
        ),
        NEEDS_LIST: (
            "entry",
            [
                *held_up(500, 1000, codes.an),
                *held_up(8000, 8500, codes.binh),
                *held_up(125_000, 125_500, codes.binh),
                *held_up(3_601_000, 3_601_500, codes.cougher),
            ],
        ),
        "a_full_disk_holds_people_until_it_is_mended": (
            "entry",
            [
                (500, StageHealth(stage="outbox", fault="the disk is full; free some space")),
                *held_up(1000, 1500, codes.an),
                (6000, StageHealth(stage="outbox", fault="")),
                *held_up(8000, 8500, codes.an),
            ],
        ),
    }


def gate_of(config: Path) -> Gate:
    """The gate that a configuration and the files it names describe."""
    loaded = load(config)
    return gate_for(loaded, kept(loaded)[0])


def record(folder: Path, script: Script) -> None:
    """Play a script to the folder's gate, deadlines included, and write the journal."""
    gate, clock = gate_of(folder / "kiosk.toml"), ManualClock(START, monotonic_ns=0)
    lines: list[str] = []

    def step(happens: Input | timedelta, at_ns: int) -> None:
        now = clock.advance(at_ns - clock.now().monotonic_ns)
        given: Input = Elapsed() if isinstance(happens, timedelta) else happens
        if isinstance(happens, timedelta):
            now = clock.step_utc(happens)
        lines.append(wire.encode_entry(wire.Entry(now=now, given=given, effects=tuple(gate.step(given, now)))))

    def elapse_until(end_ns: int) -> None:
        while gate.deadline_ns is not None and gate.deadline_ns < end_ns:
            step(Elapsed(), gate.deadline_ns)

    step(LinkStatus(online=True, waiting=0), 0)
    for ms, given in sorted(script, key=lambda item: item[0]):
        elapse_until(ms * MS)
        step(given, ms * MS)
    elapse_until((script[-1][0] + 10_000) * MS)
    (folder / "input.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Write every case, with new keys."""
    held = replace(new_secrets(SUBJECT_KEY), authority_public=b"")  # a seal differs each time: a journal could not
    keys = CASES / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    provision(keys, held, START)
    flagged = {subject_of("id", "048090000001", SUBJECT_KEY): Flag.F1}
    listed = risk.snapshot(flagged, version=1, made_at=START, key=load_key(held.city))
    for fact, (direction, script) in scripts(make_codes(held.declaration)).items():
        folder = CASES / fact
        folder.mkdir(exist_ok=True)
        needs, asks = ("required" if fact == NEEDS_LIST else "none"), str(fact in ASKING).lower()
        text = KIOSK_TOML.format(direction=direction, risk_list=needs, look_up=asks)
        (folder / "kiosk.toml").write_text(text, encoding="utf-8")
        if fact == NEEDS_LIST:
            (folder / SNAPSHOT).write_bytes(listed)
        record(folder, script)


if __name__ == "__main__":
    main()
