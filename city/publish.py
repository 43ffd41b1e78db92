"""Puts the city's signed documents where every kiosk finds them.

Publishes what it is given, once a kiosk would take it. All are retained: a kiosk that comes back learns at once what
it has missed. Called by `city.cli`, the demo and the tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from city.worker import identify
from kiosk import wire
from kiosk.broker import Broker
from kiosk.risk_list import Issuers, read_update
from kiosk.trust import read_bundle

SEND_WITHIN_S = 30.0
"""For one document; a list of a million people over 3 Mbit/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document and where it goes. `said` tells a person about it."""

    topic: str
    payload: bytes
    said: str


def trust_bundle(content: bytes, city: Issuers) -> Document:
    """A trust bundle, to be published. Raises ValueError for one that kiosks would refuse."""
    bundle = read_bundle(content, city)
    if isinstance(bundle, str):
        raise ValueError(f"not a trust bundle that kiosks would take: {bundle}")  # noqa: TRY004 - the file is wrong
    said = f"trust bundle, version {bundle.version}, {len(bundle.issuers)} kids, {len(content)} bytes"
    return Document(topic=wire.TRUST_TOPIC, payload=content, said=said)


def risk_list(content: bytes, city: Issuers) -> Document:
    """A snapshot or a delta, to be published. Raises ValueError for one that kiosks would refuse."""
    update = read_update(content, city)
    if isinstance(update, str):
        raise ValueError(f"not a risk list that kiosks would take: {update}")  # noqa: TRY004 - the file is wrong
    what = f"changes of version {update.base}" if update.base else "whole"
    said = f"risk list, version {update.version}, {what}, {len(update.keys)} entries, {len(content)} bytes"
    return Document(topic=wire.DELTA_TOPIC if update.base else wire.SNAPSHOT_TOPIC, payload=content, said=said)


def send(documents: Sequence[Document], broker: Broker, *, client_id: str = "city-publish") -> None:
    """Publish in this order, retained, and wait until the broker has them all.

    Publish a snapshot before the delta of the same version: who has missed one then finds the whole list.

    Raises:
        OSError: the broker cannot be reached, or does not take one.
    """
    refusals: list[str] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    client.on_connect = lambda _c, _u, _f, reason, _p: _note(reason, refusals)
    client.on_publish = lambda _c, _u, _m, reason, _p: _note(reason, refusals)
    identify(client, broker)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        for document in documents:
            sent = client.publish(document.topic, document.payload, qos=1, retain=True)
            sent.wait_for_publish(SEND_WITHIN_S)
            if refusals or not sent.is_published():
                raise OSError(f"{document.topic}: the broker does not take it: {', '.join(refusals) or 'no answer'}")
    finally:
        client.disconnect()
        client.loop_stop()


def _note(reason: ReasonCode, refusals: list[str]) -> None:
    if reason.is_failure:
        refusals.append(str(reason))
