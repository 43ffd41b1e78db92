"""Stands for the display library that picamera2 imports and that a kiosk never uses."""


class AnyFormat:
    """Any name is one."""

    def __getattr__(self, name: str) -> str:
        return name


PixelFormat = AnyFormat()
