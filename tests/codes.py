"""QR codes as pictures, for the suites of engines and ladder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import segno
from numpy.typing import NDArray

from kiosk.camera import IMAGE_SUFFIXES, fitted, luma_of_file
from kiosk.engines import Engine, ReadPyzbar, deblurred, lifted, read_zxing, repaired, sharpened

Luma = NDArray[np.uint8]
SAMPLES = Path(__file__).parents[2] / "shared" / "corpora" / "qr-samples"
ENGINES: dict[str, Callable[[], Engine]] = {
    "zxing-cpp": lambda: read_zxing,
    "sharpened": lambda: repaired(sharpened),
    "lifted": lambda: repaired(lifted),
    "deblurred": lambda: repaired(deblurred),
    "pyzbar": ReadPyzbar,
}


def drawn(made: segno.QRCode, scale: int = 4, border: int = 4) -> Luma:
    """Black on white, `scale` pixels a module."""
    modules = 255 * (1 - np.array(made.matrix, dtype=np.uint8))
    quiet = np.pad(modules, border, constant_values=255)
    return quiet.repeat(scale, axis=0).repeat(scale, axis=1)


def code(payload: bytes, scale: int = 4, border: int = 4, error: str = "l") -> Luma:
    """A byte-mode QR code."""
    return drawn(segno.make_qr(payload, mode="byte", error=error, boost_error=False), scale, border)


def placed(*pictures: Luma, ground: int = 180, size: tuple[int, int] = (720, 1280)) -> Luma:
    """Pictures side by side on an even ground."""
    luma = np.full(size, ground, dtype=np.uint8)
    left = 60
    for picture in pictures:
        luma[40 : 40 + picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + 20
    return luma


def sample_lumas(folder: str) -> dict[Path, Luma]:
    """The pictures of a folder, as a camera of 1280x720 would see them; those OpenCV cannot decode are left out."""
    if not SAMPLES.is_dir():
        pytest.skip("the QR samples are not beside this checkout")
    files = [file for file in sorted((SAMPLES / folder).iterdir()) if file.suffix in IMAGE_SUFFIXES]
    lumas = {file: luma_of_file(np.frombuffer(file.read_bytes(), dtype=np.uint8)) for file in files}
    return {file: fitted(luma, 1280, 720) for file, luma in lumas.items() if luma is not None}
