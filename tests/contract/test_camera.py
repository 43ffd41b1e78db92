"""One contract for everything that gives frames; what each kind adds follows it."""

import importlib.util
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk.camera import FrameSource, PiCamera, V4l2Camera, fitted, luma_of_picture, luma_of_rows, luma_of_v4l2
from kiosk.clock import MS, Now, S, SystemClock
from kiosk.errors import CameraFault
from kiosk.messages import Exposure
from kiosk.recordings import ImageFolder, VideoFile
from kiosk.settings import CameraSettings

SIZE = (320, 240)
FPS = 10
VIDEO_FRAMES = 12


class Tape:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.ns = 5 * S

    def now(self) -> Now:
        """The time on the tape."""
        return Now(monotonic_ns=self.ns, utc=datetime(2021, 11, 20, tzinfo=UTC), utc_trusted=True)

    def wait(self, seconds: float) -> bool:
        """Let it pass."""
        self.ns += round(seconds * S)
        return False


def grey_levels(count: int) -> list[int]:
    """Levels that survive JPEG: 15 apart."""
    return [20 + 15 * index for index in range(count)]


def write_video(path: Path, rate: float = FPS) -> Path:
    """A video whose frames tell their number by their grey level."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, SIZE)
    assert writer.isOpened()
    for level in grey_levels(VIDEO_FRAMES):
        writer.write(np.full((*SIZE[::-1], 3), level, dtype=np.uint8))
    writer.release()
    return path


def write_image(path: Path, picture: NDArray[np.uint8]) -> None:
    """Encode by suffix; imwrite cannot fail silently here."""
    assert cv2.imwrite(str(path), picture)


def video(folder: Path, tape: Tape) -> FrameSource:
    """A video with a name that shells and URLs stumble over."""
    return VideoFile(tape, write_video(folder / "door #2 50%d.avi"), wait=tape.wait)


def images(folder: Path, tape: Tape) -> FrameSource:
    """Two images, one of them with a hash sign in its name."""
    write_image(folder / "#1.png", np.full((50, 50), 10, dtype=np.uint8))
    write_image(folder / "b.JPG", np.full((480, 100), 240, dtype=np.uint8))
    (folder / "notes.txt").write_text("not an image")
    return ImageFolder(tape, folder, *SIZE, FPS, wait=tape.wait)


SOURCES: list[Callable[[Path, Tape], FrameSource]] = [video, images]


@pytest.fixture(params=SOURCES)
def tape_and_source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Tape, FrameSource]]:
    """Each source that needs no camera, on a tape."""
    tape = Tape()
    source: FrameSource = request.param(tmp_path, tape)
    yield tape, source
    source.close()


def test_frames_are_grey_numbered_stamped_and_read_only(tape_and_source: tuple[Tape, FrameSource]) -> None:
    """Every frame is read-only 8-bit grey of one size, numbered from 0, stamped by the clock in rising order."""
    tape, source = tape_and_source
    frames = list(source.frames())
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert {(frame.luma.dtype, frame.luma.shape, frame.luma.flags.writeable) for frame in frames} == {
        (np.dtype(np.uint8), SIZE[::-1], False)
    }
    stamps = [frame.captured_ns for frame in frames]
    assert stamps == [5 * S + index * S // FPS for index in range(len(frames))]
    assert stamps[-1] == tape.ns


def test_close_ends_the_frames(tape_and_source: tuple[Tape, FrameSource]) -> None:
    """After close() no further frame comes, and closing again changes nothing."""
    _, source = tape_and_source
    frames = source.frames()
    assert next(frames).number == 0
    source.close()
    source.close()
    assert list(frames) == []
    assert list(source.frames()) == []


def test_an_exposure_may_be_asked_for_at_any_time(tape_and_source: tuple[Tape, FrameSource]) -> None:
    """Before, between and after frames, and after close(); a source that cannot goes on and claims nothing."""
    _, source = tape_and_source
    asked = Exposure(exposure_us=5000, gain=2.0)
    source.expose(asked)
    frames = source.frames()
    assert next(frames).exposure is None
    source.expose(None)
    assert next(frames).exposure is None
    source.close()
    source.expose(asked)


def test_a_late_consumer_gets_the_newest_frame(tape_and_source: tuple[Tape, FrameSource]) -> None:
    """Frames that came due while the consumer was busy are dropped, not queued."""
    tape, source = tape_and_source
    frames = source.frames()
    next(frames)
    tape.ns += 450 * MS
    late = next(frames)
    assert (late.number, late.captured_ns) == (1, 5 * S + 450 * MS)
    assert next(frames).captured_ns == 5 * S + 500 * MS


def test_a_hopelessly_late_consumer_still_gets_frames(tmp_path: Path) -> None:
    """However far behind, a consumer is shown a frame for every fifteen that are skipped."""
    tape = Tape()
    frames = images(tmp_path, tape).frames()
    next(frames)
    tape.ns += 3600 * S
    assert [int(frame.luma[0, 160]) for frame in frames] == [240]


@pytest.mark.parametrize("source", ["video", "images"])
def test_close_wakes_a_source_that_waits(source: str, tmp_path: Path) -> None:
    """close() from another thread ends a wait for the next frame, even one of ten seconds."""
    made: FrameSource
    if source == "video":
        made = VideoFile(SystemClock(), write_video(tmp_path / "slow.avi", rate=1))
    else:
        images(tmp_path, Tape())
        made = ImageFolder(SystemClock(), tmp_path, *SIZE, 0.1, dwell_s=60)
    frames = made.frames()
    next(frames)
    threading.Timer(0.02, made.close).start()
    started_ns = SystemClock().now().monotonic_ns
    assert list(frames) == []
    assert SystemClock().now().monotonic_ns - started_ns < S // 2


def test_video_frames_keep_their_order(tmp_path: Path) -> None:
    """A video gives each of its frames once, in order, at the file's own rate."""
    tape = Tape()
    levels = [int(frame.luma[120, 160]) for frame in video(tmp_path, tape).frames()]
    assert [abs(level - wanted) <= 3 for level, wanted in zip(levels, grey_levels(VIDEO_FRAMES), strict=True)] == (
        [True] * VIDEO_FRAMES
    )


def test_images_are_held_up_in_order_of_name_with_gaps(tmp_path: Path) -> None:
    """Each image stays 1.2 s, then the door is empty for 0.3 s; other files are left alone."""
    levels = [int(frame.luma[120, 160]) for frame in images(tmp_path, Tape()).frames()]
    assert levels == [10] * 12 + [128] * 3 + [240] * 12 + [128] * 3


@pytest.mark.parametrize(
    ("shape", "box"),
    [((50, 50), (135, 95, 50, 50)), ((480, 100), (135, 0, 50, 240)), ((1, 4000), (0, 119, 320, 1))],
)
def test_an_image_is_fitted_and_centred(shape: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    """An image lies centred on grey, as it is or shrunk in proportion, and never narrower than a pixel."""
    left, top, width, height = box
    wanted = np.full(SIZE[::-1], 128, dtype=np.uint8)
    wanted[top : top + height, left : left + width] = 10
    assert np.array_equal(fitted(np.full(shape, 10, dtype=np.uint8), *SIZE), wanted)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nno more"])
def test_an_unreadable_image_is_named(content: bytes, tmp_path: Path) -> None:
    """A file that is no image ends the frames with a fault that names it."""
    (tmp_path / "broken #3.png").write_bytes(content)
    with pytest.raises(CameraFault, match=r"broken #3\.png is not an image"):
        next(ImageFolder(Tape(), tmp_path, *SIZE, FPS).frames())


def test_an_image_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A dangling link ends the frames with a fault that names it."""
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CameraFault, match=r"gone\.png cannot be read: No such file"):
        next(ImageFolder(Tape(), tmp_path, *SIZE, FPS).frames())


def test_a_folder_without_images_is_a_fault(tmp_path: Path) -> None:
    """An empty folder and a missing one are faults at once, and tell which folder it is."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CameraFault, match=f"{folder.name} holds no png"):
            ImageFolder(Tape(), folder, *SIZE, FPS)


def test_a_file_that_is_no_video_is_a_fault(tmp_path: Path) -> None:
    """Text, a folder and a missing file are faults at once, and tell which file it is."""
    (tmp_path / "text.avi").write_text("no video")
    (tmp_path / "folder.avi").mkdir()
    for name in ("text.avi", "folder.avi", "missing.avi"):
        with pytest.raises(CameraFault, match=f"{name} is not a video"):
            VideoFile(Tape(), tmp_path / name)


@pytest.mark.parametrize(
    ("device", "says"), [("/dev/video-none", "there is no /dev/video-none"), ("/dev/null", "/dev/null is no camera")]
)
def test_a_device_that_is_no_camera_is_a_fault(device: str, says: str) -> None:
    """A device that is absent or is no camera is a fault that names it."""
    with pytest.raises(CameraFault, match=says):
        V4l2Camera(SystemClock(), CameraSettings(source="v4l2", path=device))


@pytest.mark.skipif(importlib.util.find_spec("picamera2") is not None, reason="picamera2 is installed here")
def test_a_pi_camera_without_picamera2_says_what_to_install() -> None:
    """On a machine without picamera2 the fault names the package to install."""
    with pytest.raises(CameraFault, match="apt install python3-picamera2"):
        PiCamera(SystemClock(), CameraSettings())


def test_luma_is_cut_out_of_a_padded_buffer() -> None:
    """The luma plane is what comes first in the buffer, without the padding at the end of each row."""
    buffer = np.arange(24, dtype=np.uint8)
    luma = luma_of_rows(buffer, width=3, height=2, stride=8)
    assert luma.tolist() == [[0, 1, 2], [8, 9, 10]]
    assert not np.shares_memory(luma, buffer)


def test_luma_of_every_kind_of_v4l2_picture() -> None:
    """YUYV, BGR, MJPEG and grey pictures give the same grey; a damaged JPEG gives none."""
    grey = np.full((16, 8), 77, dtype=np.uint8)
    done, jpeg = cv2.imencode(".jpg", grey)
    assert done
    pictures = [np.dstack([grey, np.full_like(grey, 128)]), np.dstack([grey] * 3), jpeg.reshape(1, -1), grey]
    lumas = [luma_of_picture(picture) for picture in pictures]
    assert [None if luma is None else luma.tolist() for luma in lumas] == [grey.tolist()] * 4
    assert luma_of_picture(np.zeros((1, 100), dtype=np.uint8)) is None


@pytest.mark.parametrize(
    ("pixel_format", "frame"),
    [
        ("YUYV", [1, 9, 2, 9, 3, 9, 4, 9, 5, 9, 6, 9]),
        ("UYVY", [9, 1, 9, 2, 9, 3, 9, 4, 9, 5, 9, 6]),
        ("GREY", [1, 2, 3, 4, 5, 6]),
        ("YU12", [1, 2, 3, 4, 5, 6, 9, 9, 9]),
        ("BGR3", [9, 1, 9, 9, 2, 9, 9, 3, 9, 9, 4, 9, 9, 5, 9, 9, 6, 9]),
    ],
)
def test_luma_is_cut_out_of_a_frame_that_came_as_one_row(pixel_format: str, frame: list[int]) -> None:
    """OpenCV gives an uncompressed frame as a row of bytes, as it gives a JPEG; a short one is damaged."""
    row = np.array([frame], dtype=np.uint8)
    luma = luma_of_v4l2(row, pixel_format, (3, 2))
    assert luma is not None
    assert luma.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert luma_of_v4l2(row[:, :5], pixel_format, (3, 2)) is None


def test_a_compressed_v4l2_frame_is_read_as_a_picture() -> None:
    """MJPEG comes as a row of bytes too."""
    grey = np.full((16, 8), 77, dtype=np.uint8)
    luma = luma_of_v4l2(cv2.imencode(".jpg", grey)[1].reshape(1, -1), "MJPG", (8, 16))
    assert luma is not None
    assert luma.tolist() == grey.tolist()
