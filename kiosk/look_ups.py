"""PURE. Asking the city about somebody whose code only says who they are.

Decides whom to ask, how long to wait, and what an answer is worth. An answer is the person's own signed declaration, as
a phone would show it: the kiosk checks it like any other, so that a forged answer is worth no more than a forged code.
The gate calls it; it judges one person at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeGuard

from kiosk.clock import MS, Now, S
from kiosk.messages import Answer, Credential, Refusal
from kiosk.risk import LookUp

WAIT_NS = 800 * MS
"""Issue 4: beyond this a visitor would wonder; staff decide instead."""
KEPT_NS = 600 * S
"""An answer serves again for so long: people leave something in the car. It carries its own time of issue. One that
cannot be read, or has expired, serves once: whoever puts it right is asked about anew."""
KEPT_NONE_NS = 20 * S
"""That there is no declaration: somebody sent back to declare is soon here again."""
MOST_KEPT = 512

Read = Callable[[bytes], Credential | Refusal]


def names_only(read: Credential | Refusal) -> TypeGuard[Credential]:
    """Whether a code says who somebody is and nothing about their health."""
    return isinstance(read, Credential) and read.declaration is None and read.certificate is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What to judge by. `look_up` is UNAVAILABLE where nobody answered."""

    credential: Credential
    look_up: LookUp


@dataclass(frozen=True, slots=True)
class _Pending:
    credential: Credential
    until_ns: int


class LookUps:
    """One look-up at a time, and the answers to those before."""

    def __init__(self) -> None:
        self._pending: _Pending | None = None
        self._answers: dict[str, tuple[bytes, int]] = {}

    @property
    def pending(self) -> bool:
        """Whether somebody waits at the door for an answer."""
        return self._pending is not None

    @property
    def deadline_ns(self) -> int | None:
        """When to stop waiting."""
        return self._pending.until_ns if self._pending else None

    def begin(self, credential: Credential, now_ns: int, *, online: bool) -> bool:
        """Have somebody wait; whether the city must be asked. If not, `take` has the result at once."""
        self._forget(now_ns)
        ask = online and credential.subject not in self._answers
        self._pending = _Pending(credential, now_ns + (WAIT_NS if ask else 0))
        return ask

    def note(self, answer: Answer, now_ns: int) -> None:
        """Keep an answer, whoever still waits for it."""
        self._answers[answer.asked] = answer.payload, now_ns
        while len(self._answers) > MOST_KEPT:
            del self._answers[next(iter(self._answers))]

    def take(self, now: Now, read: Read) -> Found | None:
        """The result for who waits, once it is there or the time is over."""
        if self._pending is None:
            return None
        credential = self._pending.credential
        answer = self._answers.get(credential.subject)
        if answer is None and now.monotonic_ns < self._pending.until_ns:
            return None
        self._pending = None
        if answer is None:
            return Found(credential=credential, look_up=LookUp.UNAVAILABLE)
        found = _found(credential, answer[0], read)
        declared = found.credential.declaration
        if answer[0] and (declared is None or declared.expires_at <= now.utc):
            del self._answers[credential.subject]
        return found

    def _forget(self, now_ns: int) -> None:
        self._answers = {
            asked: (payload, at_ns)
            for asked, (payload, at_ns) in self._answers.items()
            if now_ns - at_ns <= (KEPT_NS if payload else KEPT_NONE_NS)
        }


def _found(credential: Credential, payload: bytes, read: Read) -> Found:
    if not payload:
        return Found(credential=credential, look_up=LookUp.NOT_NEEDED)
    declared = read(payload)
    if isinstance(declared, Refusal) or declared.declaration is None:
        return Found(credential=credential, look_up=LookUp.UNAVAILABLE)
    # The person the city says it is: another pseudonym where the code bears another number than the declaration.
    whole = replace(credential, subject=declared.subject, declaration=declared.declaration)
    return Found(credential=whole, look_up=LookUp.NOT_NEEDED)
