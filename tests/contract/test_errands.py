"""What a door does for the city beside being a door: in its own thread, one after the other, each answered."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest
from cryptography import x509

from city.certificates import new_authority, new_device, sign_request
from kiosk.device_keys import DeviceKeys
from kiosk.errands import NO_CERTIFICATE, Errands
from kiosk.messages import Answered, Command, Order
from kiosk.testing.clock import ManualClock
from tests.builders import START

YEAR = timedelta(days=365)
DEVICES = new_authority("devices", START - YEAR, 9 * YEAR)


class Worker:
    """Errands in their thread."""

    def __init__(self, folder: Path, *, certificate: bool = True) -> None:
        files = [str(folder / name) if certificate else "" for name in ("door.pem", "door.key")]
        if certificate:
            for name, content in zip(files, new_device(DEVICES, "door-01", START - YEAR, 2 * YEAR), strict=True):
                Path(name).write_bytes(content)
        self.own = folder / "var"
        self.own.mkdir()
        self.asked: SimpleQueue[Callable[[str], None]] = SimpleQueue()
        self.answers: SimpleQueue[Answered] = SimpleQueue()
        self.errands = Errands(
            DeviceKeys(self.own, "door-01", certificate_file=files[0], key_file=files[1], ca_file=""),
            ManualClock(START),
            diagnose=lambda: "well",
            resync=self.asked.put,
            on_answer=self.answers.put,
        )
        self._thread = threading.Thread(target=self.errands.run)
        self._thread.start()

    def orders(self, order: Order, text: str = "") -> None:
        """The gate hands a command on."""
        self.errands.do(Command(number=7, order=order, text=text))

    def answer(self) -> Answered:
        """The next one."""
        return self.answers.get(timeout=10.0)

    def close(self) -> None:
        """End, at once."""
        self.errands.close()
        self._thread.join(10.0)
        assert not self._thread.is_alive()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Errands of a door that logs in with a certificate."""
    made = Worker(tmp_path)
    yield made
    made.close()


def answered(order: Order, detail: str, *, done: bool = True) -> Answered:
    """An outcome."""
    return Answered(number=7, order=order, done=done, detail=detail)


def test_each_errand_is_answered_in_its_turn(worker: Worker) -> None:
    """Restart only answers here: the process ends once the answer is stored."""
    worker.orders(Order.DIAGNOSTICS)
    worker.orders(Order.RESTART)
    assert worker.answer() == answered(Order.DIAGNOSTICS, "well")
    assert worker.answer() == answered(Order.RESTART, "restarting")


def test_a_resync_is_answered_when_everything_has_come(worker: Worker) -> None:
    """Not when it was asked for."""
    worker.orders(Order.RESYNC)
    told = worker.asked.get(timeout=10.0)
    assert worker.answers.empty()
    told("trust bundle version 7, risk list version 12")
    assert worker.answer() == answered(Order.RESYNC, "trust bundle version 7, risk list version 12")


def test_an_errand_that_waits_for_the_city_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """The process ends although the city never answers; what waited behind stays undone."""
    worker = Worker(tmp_path)
    worker.orders(Order.RESYNC)
    worker.asked.get(timeout=10.0)
    worker.orders(Order.DIAGNOSTICS)
    worker.close()
    detail = "bundle and list have not both come within 60 s; what comes later is still taken"
    assert worker.answer() == answered(Order.RESYNC, detail, done=False)
    assert worker.answers.empty()


def test_a_key_is_rotated_by_two_orders(worker: Worker) -> None:
    """The first answers with a request, the second takes the city's certificate for it into use."""
    worker.orders(Order.ROTATE_KEY)
    request = worker.answer()
    assert (request.done, request.detail.startswith("-----BEGIN CERTIFICATE REQUEST-----\n")) == (True, True)
    _, certificate = sign_request(request.detail.encode(), DEVICES, START, YEAR)
    for expected in (
        answered(Order.INSTALL_CERTIFICATE, f"in use, until {START - timedelta(hours=1) + YEAR:%Y-%m-%d}"),
        answered(Order.INSTALL_CERTIFICATE, "no key waits for a certificate: order rotate_key first", done=False),
    ):
        worker.orders(Order.INSTALL_CERTIFICATE, certificate.decode())
        ends = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
        assert f"{ends:%Y-%m-%d}" in expected.detail or not expected.done
        assert worker.answer() == expected


def test_a_disk_that_refuses_is_an_answer(worker: Worker) -> None:
    """And no crash."""
    worker.own.rmdir()
    worker.orders(Order.ROTATE_KEY)
    assert worker.answer() == answered(Order.ROTATE_KEY, "the disk refuses (No such file or directory)", done=False)


def test_a_door_with_a_password_has_no_key_to_rotate(tmp_path: Path) -> None:
    """It says so, and makes none."""
    worker = Worker(tmp_path, certificate=False)
    for order in (Order.ROTATE_KEY, Order.INSTALL_CERTIFICATE):
        worker.orders(order, "x")
        assert worker.answer() == answered(order, NO_CERTIFICATE, done=False)
    worker.close()
    assert list(worker.own.iterdir()) == []
