"""A connection to the broker for those who hear little and say little: several topics, retained messages, TLS.

Decides when to connect again. It gives out what came and whether the connection stands; it has no thread, and no
opinion on what the messages say. `city.subscriber` and `city.desk` use it; the ingest has a faster one of its own.
"""

import threading
from collections.abc import Callable, Sequence

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from kiosk.broker import Broker, tls_context

RECONNECT_S = 1.0
KEEP_ALIVE_S = 15
CONNECT_WITHIN_S = 5.0
MOST_AT_ONCE = 1000
"""Messages given out by one turn."""


class Session:
    """One client, connected again whenever its connection is lost.

    Args:
        broker: where to, and how to log in.
        client_id: who we are; two with one name throw each other out.
        topics: what to hear, each with its QoS. What is retained there comes at each connection.
        on_trouble: told one sentence about a connection that is no good, once however long it lasts.

    Raises:
        kiosk.errors.UplinkFault: a certificate cannot be used.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        topics: Sequence[tuple[str, int]],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._client_id = client_id
        self._topics = topics
        self._on_trouble = on_trouble
        self._tls = tls_context(broker) if broker.tls else None
        self._trouble = ""
        self._client: mqtt.Client | None = None
        self._up = False
        self._came: list[mqtt.MQTTMessage] = []
        self._taken: list[int] = []
        self._pause = threading.Event()

    @property
    def up(self) -> bool | None:
        """The broker has confirmed the subscriptions of this connection; None: it may yet, nothing has gone wrong."""
        return self._up or (False if self._trouble else None)

    def turn(self, within_s: float) -> list[mqtt.MQTTMessage]:
        """Wait at most so long (a connect may take longer); give what has come."""
        if self._client is None:
            if self._trouble:
                self._pause.wait(RECONNECT_S)
            self._connect()
        before, wait_s = -1, within_s
        while self._client and before < len(self._came) < MOST_AT_ONCE:
            before = len(self._came)
            if self._client.loop(wait_s) != MQTTErrorCode.MQTT_ERR_SUCCESS and self._client:
                self._lose(f"the connection to the broker at {self._broker.host}:{self._broker.port} is lost")
            wait_s = 0.0
        came, self._came = self._came, []
        return came

    def publish(self, topic: str, payload: str | bytes, *, retained: bool) -> int | None:
        """Say something with QoS 1; the answer is its number in `taken`, None while not connected."""
        if self._client is None or not self._up:
            return None
        return self._client.publish(topic, payload, qos=1, retain=retained).mid

    def taken(self) -> list[int]:
        """Give the numbers of what the broker has taken since the last time."""
        taken, self._taken = self._taken, []
        return taken

    def close(self) -> None:
        """Say good-bye."""
        if self._client:
            self._client.disconnect()
        self._client, self._up = None, False

    def _connect(self) -> None:
        self._taken.clear()  # numbers begin again
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        client.connect_timeout = CONNECT_WITHIN_S
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._tls:
            client.tls_set_context(self._tls)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_message = lambda _client, _user, message: self._came.append(message)
        client.on_publish = self._published
        try:
            client.connect(self._broker.host, self._broker.port, keepalive=KEEP_ALIVE_S)
        except (OSError, ValueError) as error:
            self._say(f"cannot reach the broker at {self._broker.host}:{self._broker.port} ({error})")
        else:
            self._client = client

    def _connected(
        self, client: mqtt.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:
            self._lose(f"the broker refuses {self._client_id}: {reason}")
        else:
            client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in self._topics])

    def _subscribed(
        self, _c: mqtt.Client, _u: object, _m: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        refused = [topic for (topic, _), reason in zip(self._topics, reasons, strict=True) if reason.is_failure]
        if refused:
            self._lose(f"the broker refuses the subscription {refused[0]}")
        else:
            self._up, self._trouble = True, ""

    def _published(self, _c: mqtt.Client, _u: object, number: int, reason: ReasonCode, _p: Properties | None) -> None:
        if reason.is_failure:
            self._say(f"the broker does not take what {self._client_id} says: {reason}")
        else:
            self._taken.append(number)

    def _lose(self, why: str) -> None:
        if self._client:
            self._client.disconnect()
        self._client, self._up = None, False
        self._say(why)

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._on_trouble(trouble)
        self._trouble = trouble
