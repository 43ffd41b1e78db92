"""Puts together what serves the city's commands: the desk where they arrive, the errands, the door's own keys.

Decides nothing. The daemon hands it what comes and what is to be carried out, and gets inputs for the gate.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from kiosk import __version__
from kiosk.city_feed import CityFeed
from kiosk.clock import Clock
from kiosk.command_desk import CommandDesk, limits_of
from kiosk.device_keys import DeviceKeys
from kiosk.diagnostics import Holdings, report
from kiosk.errands import Errands
from kiosk.machine import Machine
from kiosk.messages import Answered, Command, CommandAnswer, Event, Order
from kiosk.settings import Settings


class Commanding:
    """The city's orders at one door.

    Args:
        settings: the site's.
        clock: the door's.
        boot_id: of this boot.
        feed: what the city has sent.
        machine: this computer.
        waiting: how many events the city has not acknowledged.
        faults: by stage; empty texts for those that work.
        on_input: gets what the gate must hear of, from any thread.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        boot_id: str,
        feed: CityFeed,
        machine: Machine,
        waiting: Callable[[], int],
        faults: Callable[[], Mapping[str, str]],
        on_input: Callable[[Command | Answered], None],
    ) -> None:
        folder, uplink = Path(settings.city_data.folder), settings.uplink
        self._clock = clock
        self._boot_id = boot_id
        self._feed = feed
        self._machine = machine
        self._waiting = waiting
        self._faults = faults
        self._keys = DeviceKeys(
            folder,
            settings.door.device,
            certificate_file=uplink.certificate_file,
            key_file=uplink.key_file,
            ca_file=uplink.ca_file,
        )
        self._desk = CommandDesk(
            folder,
            settings.door.device,
            limits_of(settings.commands),
            clock,
            boot_id=boot_id,
            bundle=lambda: feed.bundle,
            on_command=on_input,
            on_answer=on_input,
        )
        self._errands = Errands(self._keys, clock, diagnose=self._report, resync=feed.resync, on_answer=on_input)
        self.receive = self._desk.receive
        """Takes what came at this door's topic of commands; in the uplink's thread."""
        self.carry = self._errands.do
        self.run = self._errands.run
        self.close = self._errands.close
        if standing := self._desk.standing():
            on_input(standing)

    @property
    def renewed_file(self) -> str:
        """Where a renewed key and certificate stand, for the broker."""
        return self._keys.renewed_file

    def recorded(self, events: Iterable[Event]) -> None:
        """What the gate has answered is what a restart goes by. From any thread; returns at once."""
        for event in events:
            if isinstance(event, CommandAnswer):
                self._errands.later(partial(self._desk.settled, event))

    def _report(self) -> str:
        bundle, risk_list, certificate = self._feed.bundle, self._feed.risk_list, self._keys.certificate
        holdings = Holdings(
            trust_version=bundle.version if bundle else 0,
            risk_list_version=risk_list.version if risk_list else 0,
            risk_list_made=risk_list.made_at if risk_list else None,
            certificate_until=certificate.not_valid_after_utc if certificate else None,
            waiting=self._waiting(),
            last_command=self._desk.last_number,
        )
        return report(
            self._clock.now(),
            version=__version__,
            boot_id=self._boot_id,
            faults=dict(self._faults()),
            vitals=asdict(self._machine.vitals()),
            holdings=holdings,
        )


def asks_for_restart(given: object) -> bool:
    """Whether this input is the answer to an order to restart, after which the process ends."""
    return isinstance(given, Answered) and given.done and given.order == Order.RESTART
