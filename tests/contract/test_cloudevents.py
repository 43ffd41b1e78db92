"""An independent reader, the CloudEvents project's own, finds in our payloads what we put in."""

from datetime import UTC, datetime

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from kiosk import wire
from kiosk.messages import Alert, CheckIn, Decision, Direction, Event, Fault, Reason, Scheme, StoredEvent

AT = datetime(2021, 11, 20, 8, 30, 15, 250_000, tzinfo=UTC)
ORIGIN = wire.Origin(device="door-01", place="cổng chính", access_point="main")
EVENTS: tuple[Event, ...] = (
    CheckIn(
        at=AT,
        utc_trusted=True,
        direction=Direction.ENTRY,
        decision=Decision.DENIED,
        reasons=(Reason.AT_RISK_SYMPTOM, Reason.DECLARATION_EXPIRED),
        scheme=Scheme.DECLARATION,
        subject="0f" * 16,
        data_age_s=90_000,
    ),
    Alert(
        at=AT,
        utc_trusted=False,
        direction=Direction.EXIT,
        reasons=(Reason.AT_RISK_CONTACT,),
        scheme=None,
        subject=None,
        late_record=True,
    ),
    Fault(at=AT, utc_trusted=True, stage="lines", recovered=True, detail='GPIO 17: "đứt dây"'),
)


@pytest.mark.parametrize("event", EVENTS, ids=wire.kind_of)
def test_the_cloudevents_reader_accepts_every_kind_and_finds_every_attribute(event: Event) -> None:
    """Version 1.0, structured JSON; it refuses what lacks a required attribute or has an unlawful one."""
    payload = wire.encode_event(StoredEvent(ledger="9f2c64d01b7ae358", sequence=7, event=event), ORIGIN)
    read = JSONFormat().read(CloudEvent, payload)
    kind = wire.kind_of(event)
    assert read.get_attributes() == {
        "specversion": "1.0",
        "id": "9f2c64d01b7ae358.7",
        "source": "/kiosk/v1/door-01",
        "type": f"vn.danang.kiosk.{kind}.v1",
        "time": AT,
        "datacontenttype": "application/json",
    }
    assert read.get_data() == {
        "ledger": "9f2c64d01b7ae358",
        "sequence": 7,
        "place": "cổng chính",
        "access_point": "main",
        "boot_id": "",
        **wire.body_of(event),
    }
