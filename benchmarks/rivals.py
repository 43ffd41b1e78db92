"""The readers that the kiosk is measured against, each as its users call it.

Decides how a rival is set up. Each is `(luma) -> [(payload, quad), ...]`, as `kiosk.engines.Engine`; what a rival does
to the bytes on their way stays done. Called by the benchmarks.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zxingcpp
from pyzbar.pyzbar import ZBarSymbol, decode

from kiosk.engines import Engine, Luma, Read, quad_of, repaired

WECHAT_MODELS = ("detect.prototxt", "detect.caffemodel", "sr.prototxt", "sr.caffemodel")
NAMES = ("pyzbar", "zxing", "recipe", "opencv", "wechat")
USUAL = NAMES[:4]
"""Those that need no file that we may not ship."""


def pyzbar(luma: Luma) -> list[Read]:
    """Read as most Pi projects do."""
    return [
        (found.data, quad_of(found.polygon if len(found.polygon) == 4 else _box(*found.rect)))
        for found in decode(luma, symbols=[ZBarSymbol.QRCODE])
    ]


def _box(left: int, top: int, width: int, height: int) -> list[tuple[float, float]]:
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]


def zxing(luma: Luma) -> list[Read]:
    """zxing-cpp alone, for Model 2 as the kiosk asks."""
    formats = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)
    reads = []
    for found in zxingcpp.read_barcodes(luma, formats=formats):
        at = found.position
        corners = (at.top_left, at.top_right, at.bottom_right, at.bottom_left)
        reads.append((found.bytes, quad_of((corner.x, corner.y) for corner in corners)))
    return reads


def _clahe(luma: Luma) -> Luma:
    return np.asarray(cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(luma), dtype=np.uint8)


def _adaptive(luma: Luma) -> Luma:
    binary = cv2.adaptiveThreshold(luma, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, 51, 5)
    return np.asarray(binary, dtype=np.uint8)


def _doubled(luma: Luma) -> Luma:
    return np.asarray(cv2.resize(luma, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


_RECIPE: tuple[Engine, ...] = (pyzbar, zxing, repaired(_clahe), repaired(_adaptive), repaired(_doubled))


def recipe(luma: Luma) -> list[Read]:
    """Read as the common recipe does: pyzbar, then zxing-cpp on the frame and on three repairs, until one reads."""
    return next((reads for engine in _RECIPE if (reads := engine(luma))), [])


def opencv() -> Engine:
    """OpenCV's default detector; one code a frame."""
    detector = cv2.QRCodeDetector()

    def read(luma: Luma) -> list[Read]:
        try:
            text, corners, _ = detector.detectAndDecode(luma)
            return [(text.encode(), quad_of(corners.reshape(-1, 2)[:4].tolist()))] if text else []
        except (cv2.error, UnicodeDecodeError):
            return []

    return read


def wechat(models: Path) -> Engine:
    """WeChat's detector of OpenCV's contributed modules, version 4."""
    detector: Any = vars(cv2)["wechat_qrcode"].WeChatQRCode(*(str(models / name) for name in WECHAT_MODELS))

    def read(luma: Luma) -> list[Read]:
        texts, corners = detector.detectAndDecode(luma)
        return [
            (text.encode(), quad_of(quad.reshape(-1, 2)[:4].tolist()))
            for text, quad in zip(texts, corners, strict=True)
            if text
        ]

    return read


def lacking_for_wechat(models: Path | None) -> str:
    """Say what keeps WeChat's detector from running; empty when nothing does."""
    if not hasattr(cv2, "wechat_qrcode"):
        return (
            f"wechat: OpenCV {cv2.__version__} here has no wechat_qrcode; it is in opencv-contrib-python-headless 4.x"
        )
    absent = [name for name in WECHAT_MODELS if models is None or not (models / name).exists()]
    where = "give --wechat-models FOLDER with them" if models is None else f"not in {models.name}"
    return (
        f"wechat: its models carry no clear licence and are not shipped: {', '.join(absent)}: {where}" if absent else ""
    )


def engines(names: Sequence[str], models: Path | None) -> tuple[dict[str, Engine], list[str]]:
    """Give the rivals asked for, and a sentence for each that cannot run."""
    made: dict[str, Callable[[], Engine]] = {
        "pyzbar": lambda: pyzbar,
        "zxing": lambda: zxing,
        "recipe": lambda: recipe,
        "opencv": opencv,
        "wechat": lambda: wechat(models or Path()),
    }
    lacking = {"wechat": lacking_for_wechat(models)} if "wechat" in names else {}
    able = [name for name in names if not lacking.get(name)]
    return {name: made[name]() for name in able}, [sentence for sentence in lacking.values() if sentence]
