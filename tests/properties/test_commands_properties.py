import cbor2
from hypothesis import given
from hypothesis import strategies as st

from city.signing import sign1
from kiosk.commands import NUMBER, Said, encoded, permitted, read_command
from kiosk.messages import Answered, Command, Order
from tests.builders import at_ms
from tests.commands import DEVICE, KEY, LIMITS, PUBLIC, SAID, signed

SIGNED = signed()
NOW = at_ms(1000)

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(-9, 9) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def read(payload: bytes, last_number: int = 0) -> Said | Answered:
    """What a door makes of it."""
    return read_command(payload, PUBLIC, device=DEVICE, now=NOW, last_number=last_number)


def test_no_bit_of_a_command_can_be_changed() -> None:
    """Nor can one be cut short or be longer; each is refused as a stranger's."""
    assert read(SIGNED) == SAID
    for bit in range(8 * len(SIGNED)):
        changed = bytearray(SIGNED)
        changed[bit // 8] ^= 1 << bit % 8
        answer = read(bytes(changed))
        assert isinstance(answer, Answered), bit
        assert (answer.number, answer.done) == (None, False), bit
    for length in range(len(SIGNED)):
        assert isinstance(read(SIGNED[:length]), Answered), length
    assert isinstance(read(SIGNED + b"\x00"), Answered)


@given(st.binary(max_size=400))
def test_no_bytes_of_a_stranger_are_taken_or_raise(payload: bytes) -> None:
    """Whatever comes at the topic, the door refuses it and goes on."""
    answer = read(payload)
    assert isinstance(answer, Answered)
    assert (answer.number, answer.order, answer.done) == (None, None, False)


@given(st.dictionaries(st.integers(1, 9), ANY, max_size=9))
def test_no_content_under_the_city_s_own_signature_raises(changes: dict[int, object]) -> None:
    """A mistaken program of the city's gets an answer."""
    content = cbor2.loads(encoded(SAID)) | changes
    answer = read(sign1(cbor2.dumps(content), key=KEY))
    if isinstance(answer, Said):
        assert (answer.device, answer.number) == (DEVICE, content[NUMBER])
        assert isinstance(permitted(answer, LIMITS), Command | Answered)


@given(
    number=st.integers(0, 20),
    last_number=st.integers(0, 20),
    issued=st.integers(-700, 700),
    valid=st.integers(-10, 700),
    order=st.sampled_from([order.value for order in Order]),
    seconds=st.integers(0, 4000),
)
def test_what_is_passed_on_was_new_in_time_and_within_limits(
    *, number: int, last_number: int, issued: int, valid: int, order: str, seconds: int
) -> None:
    """Nothing that is repeated, late, early or beyond the site's limits reaches the door; all else does."""
    at = SAID.issued + 1
    text = "x" if order == "install_certificate" else ""
    given = Said(
        device=DEVICE,
        number=number,
        issued=at + issued,
        expires=at + issued + valid,
        order=order,
        seconds=seconds,
        text=text,
    )
    said = read(sign1(encoded(given), key=KEY), last_number)
    longest = {"unlock": 60, "lock": 3600, "mute": 600}.get(order, 0)
    counts = number > last_number and valid > 0 and issued <= 300 and issued + valid >= 0
    assert (said == given) is counts
    if isinstance(said, Said):
        within = min(1, longest) <= seconds <= longest
        assert isinstance(permitted(said, LIMITS), Command) is within
