"""Takes one kind of message off the broker, and comes back when the broker does.

Decides when to connect again. What to do with the messages is its owner's: `city.lookup`.
"""

from collections.abc import Callable

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from kiosk.broker import Broker, tls_context

TURN_S = 0.5
"""Longest wait for a message; also how soon the end is noticed."""
RECONNECT_S = 1.0


def identify(client: mqtt.Client, broker: Broker) -> None:
    """Give a client what it logs in with. Raises UplinkFault for certificates that cannot be used."""
    if broker.tls:
        client.tls_set_context(tls_context(broker))
    if broker.username:
        client.username_pw_set(broker.username, broker.password or None)


class Worker:
    """One subscriber; it has no thread.

    Args:
        broker: where from.
        topic: what to subscribe to, with QoS 1. A message is acknowledged to the broker only by `settle`.
        client_id: several workers need several.
        settle: gets the connection and what came since the last time, at least one message.
        on_ready: told when the broker has confirmed the subscription.
        on_trouble: told one sentence about a connection that is no good.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        topic: str,
        client_id: str,
        settle: Callable[[mqtt.Client, list[mqtt.MQTTMessage]], None],
        on_ready: Callable[[], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._client_id = client_id
        self._settle = settle
        self._on_ready = on_ready
        self._on_trouble = on_trouble
        self._came: list[mqtt.MQTTMessage] = []

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Serve until `stopped(seconds)`, which waits that long and tells whether to end, says so."""
        while not stopped(0):
            client = self._client()
            self._came.clear()  # the broker gives again what was not acknowledged on the old connection
            try:
                client.connect(self._broker.host, self._broker.port, keepalive=15)
                while not stopped(0) and client.loop(TURN_S) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                    came, self._came = self._came, []
                    if came:
                        self._settle(client, came)
                client.disconnect()
            except OSError as error:
                self._on_trouble(f"cannot reach the broker at {self._broker.address} ({error})")
            if stopped(RECONNECT_S):
                return

    def _client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=mqtt.MQTTv5, manual_ack=True
        )
        identify(client, self._broker)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        return client

    def _connected(
        self, client: mqtt.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:
            self._on_trouble(f"the broker refuses {self._client_id}: {reason}")
            return
        client.subscribe(self._topic, qos=1)

    def _subscribed(
        self,
        _c: mqtt.Client,
        _u: object,
        _m: int,
        reasons: list[ReasonCode],
        _p: Properties | None,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._on_trouble(f"the broker refuses the subscription {self._topic}: {reasons[0]}")
        else:
            self._on_ready()

    def _received(self, _c: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        self._came.append(message)
