"""Answers the kiosks' look-ups: the newest declaration of a person, as their phone would show it, or nothing.

Each kiosk gets its answers at its own topic, which the broker lets no other kiosk read; a request that names another
one is reported and gets no answer. Several workers share the requests. The command line runs it.
"""

from collections.abc import Callable

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from city.store import Store
from city.worker import Worker
from kiosk import wire
from kiosk.broker import Broker
from kiosk.questions import ANSWER_WITHIN_S

LOOK_UPS_TOPIC = f"{wire.ROOT}/+/lookup"


class LookUps:
    """One worker.

    Args:
        broker: where from.
        store: where declarations are.
        on_ready: told when the broker has confirmed the subscription.
        on_trouble: told one sentence about a request or a connection that is no good.
        client_id: several workers need several.
    """

    def __init__(
        self,
        broker: Broker,
        store: Store,
        *,
        on_ready: Callable[[], None],
        on_trouble: Callable[[str], None],
        client_id: str = "city-lookup",
    ) -> None:
        self._store = store
        self._on_trouble = on_trouble
        self._worker = Worker(
            broker,
            topic=store.shared(LOOK_UPS_TOPIC),
            client_id=client_id,
            settle=self._settle,
            on_ready=on_ready,
            on_trouble=on_trouble,
        )

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Serve until `stopped(seconds)`, which waits that long and tells whether to end, says so."""
        self._worker.run(stopped)

    def _settle(self, client: mqtt.Client, came: list[mqtt.MQTTMessage]) -> None:
        for message in came:
            client.ack(message.mid, message.qos)
            self._answer(client, message)

    def _answer(self, client: mqtt.Client, message: mqtt.MQTTMessage) -> None:
        asked = wire.decode_look_up(message.topic, bytes(message.payload))
        if isinstance(asked, wire.Unreadable):
            self._on_trouble(f"{message.topic}: not answered: {asked.why}")
            return
        there = wire.answer_topic(asked.device)
        if getattr(message.properties, "ResponseTopic", "") != there:
            self._on_trouble(f"{message.topic}: not answered: its response topic is not {there}")
            return
        about = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        about.CorrelationData = getattr(message.properties, "CorrelationData", b"")
        about.MessageExpiryInterval = ANSWER_WITHIN_S
        client.publish(there, self._store.declaration_of(asked.subject), qos=0, properties=about)
