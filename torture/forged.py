"""Commands that are none: at a real uplink, outbox and command desk, by somebody with the city's login but not its key.

The door's desk has a clock that can be moved on, because it tells of refusals once a minute only: a forger must not
fill the outbox. Called by `torture/intruder.py`.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric import ec
from siege import VICTIM, Siege, until

from city.signing import load_key, new_key, public_pem, sign1
from kiosk import wire
from kiosk.clock import S, SystemClock
from kiosk.command_desk import CommandDesk, limits_of
from kiosk.commands import MOST_BYTES, Said, encoded
from kiosk.credentials.cose import kid_of
from kiosk.events import stamp
from kiosk.exchange import Hears
from kiosk.messages import Answered, Command, CommandAnswer, Order
from kiosk.outbox import Outbox
from kiosk.settings import CommandSettings
from kiosk.testing.clock import ManualClock
from kiosk.trust import Bundle
from kiosk.uplink import Uplink

MINUTE_NS = 61 * S
LIFE_S = 300


class Door:
    """door-02 for real: what it would do, and what it reports to the city."""

    def __init__(self, siege: Siege, folder: Path, command_pem: bytes) -> None:
        self.carried: list[Command] = []
        self.clock = ManualClock(SystemClock().now().utc)
        bundle = Bundle(
            version=1, made_at=self.clock.now().utc - timedelta(days=1), issuers={}, command_pem=command_pem
        )
        origin = wire.Origin(device=VICTIM, place="place-0001", access_point="main")
        self._outbox = Outbox(folder / "outbox.sqlite3", origin, on_health=lambda _: None, on_change=self._changed)
        (folder / "desk").mkdir()
        self.desk = CommandDesk(
            folder / "desk",
            VICTIM,
            limits_of(CommandSettings()),
            self.clock,
            boot_id="boot",
            bundle=lambda: bundle,
            on_command=self.carried.append,
            on_answer=self._report,
        )
        self.status = threading.Event()
        hears = Hears(
            on_status=lambda status: self.status.set() if status.online else None,
            on_trouble=lambda _: None,
            on_command=self.desk.receive,
        )
        self._uplink = Uplink(
            [siege.broker(VICTIM)], origin, self._outbox, SystemClock(), hears, version="torture", random=Random(1)
        )
        self._threads = [
            threading.Thread(target=self._outbox.write, args=(lambda: None,), daemon=True),
            threading.Thread(target=self._uplink.run, args=(lambda: None,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End it in order."""
        self._uplink.close()
        self._threads[1].join()
        self._outbox.close()
        self._threads[0].join()

    def _changed(self) -> None:
        self._uplink.nudge()

    def _report(self, answer: Answered) -> None:
        said = CommandAnswer(
            number=answer.number, order=answer.order, done=answer.done, detail=answer.detail, **stamp(self.clock.now())
        )
        self._outbox.append([said])


def forgeries(said: Said, key: bytes, genuine: bytes) -> dict[str, bytes]:
    """What is sent, by what is wrong with it; `said` would be good. `genuine` was sent before."""
    own, other = load_key(key), load_key(new_key())
    signed = sign1(encoded(said), key=own)

    def changed(**changes: object) -> bytes:
        return sign1(encoded(replace(said, **changes)), key=own)  # type: ignore[arg-type]

    return {
        "signed by another key": sign1(encoded(said), key=other),
        "signed by another key, with the name of ours": sign1(encoded(said), key=other, kid=_kid(own)),
        "one bit of the signature changed": signed[:-1] + bytes([signed[-1] ^ 1]),
        "one bit of the content changed": signed.replace(b"mute", b"mutf"),
        "not signed": encoded(said),
        "no CBOR": b"unlock, please",
        "longer than any command": b"\xd2" * (MOST_BYTES + 1),
        "the key's own signature under something else": sign1(b"\xa1\x01\x65other", key=own),
        "said before, byte for byte": genuine,
        "said before, signed anew": changed(number=1),
        "for the intruder's kiosk": changed(device="door-01"),
        "for all kiosks": changed(device="+"),
        "expired": changed(issued=said.issued - 2 * LIFE_S, expires=said.issued - LIFE_S),
        "from tomorrow": changed(issued=said.issued + 86_400, expires=said.issued + 86_400 + LIFE_S),
        "good for a year": changed(expires=said.issued + 365 * 86_400),
        "good before it was made": changed(expires=said.issued - 1),
        "an order that there is not": changed(order="open_everything"),
        "unlock for a day": changed(number=said.number + 1, order="unlock", seconds=86_400),
        "unlock for no time": changed(number=said.number + 2, order="unlock", seconds=0),
        "a text that it does not have": changed(number=said.number + 3, text="x"),
    }


def commands(siege: Siege, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Send each; what went wrong, by name. A genuine command before and after shows that the way is open."""
    siege.victim.close()
    key = new_key()
    door = Door(siege, folder, public_pem(key))
    try:
        if not door.status.wait(20.0):
            yield "the door", ["it does not come online"]
            return
        genuine = sign1(encoded(_said(door, 1)), key=load_key(key))
        yield "genuine", _genuine(siege, door, genuine, 1)
        for at, name in enumerate(forgeries(_said(door, 1), key, genuine)):
            payload = forgeries(_said(door, 10 + 10 * at), key, genuine)[name]
            yield name, _forged(siege, door, payload)
        last = sign1(encoded(_said(door, 10_000)), key=load_key(key))
        yield "genuine, after all these", _genuine(siege, door, last, 2)
    finally:
        door.close()


def _genuine(siege: Siege, door: Door, payload: bytes, carried: int) -> list[str]:
    siege.commander.say(wire.command_topic(VICTIM), payload)
    return [] if until(lambda: len(door.carried) == carried) else ["a good command is not carried out"]


def _forged(siege: Siege, door: Door, payload: bytes) -> list[str]:
    before, carried = len(_answers(siege)), len(door.carried)
    siege.commander.say(wire.command_topic(VICTIM), payload)
    seen = until(lambda: len(_answers(siege)) > before)
    faults = ["it was carried out"] if len(door.carried) > carried else []
    if not seen:
        return [*faults, "the city does not hear of it"]
    return [*faults, "the city hears that it was done"] if _answers(siege)[-1]["done"] else faults


def _answers(siege: Siege) -> list[dict[str, object]]:
    return [
        json.loads(body) for device, _, _, kind, body in siege.events() if (device, kind) == (VICTIM, "command-answer")
    ]


def _said(door: Door, number: int) -> Said:
    """A good command of now; a minute has passed since the last."""
    now = int(door.clock.advance(MINUTE_NS).utc.timestamp())
    return Said(device=VICTIM, number=number, issued=now, expires=now + LIFE_S, order=Order.MUTE, seconds=60)


def _kid(key: ec.EllipticCurvePrivateKey) -> bytes:
    return kid_of(key.public_key())
