"""Every exception the firmware raises on purpose.

    KioskError
    ├── ConfigError      a file a technician wrote cannot be used; carries every mistake at once
    └── StageFault       an adapter's driver failed; wrapped once, at the edge
        ├── CameraFault
        ├── LineFault
        ├── OutboxFault
        ├── CityFilesFault
        └── UplinkFault

A bad QR never raises: a refusal is a value (`kiosk.messages.Refusal`). Anything that is not a `KioskError` is a
bug: it ends the process, and systemd starts it again.
"""


class KioskError(Exception):
    """Something this firmware can name. Its text is one sentence for a technician: what, where, what to do."""


class ConfigError(KioskError):
    """A configuration that cannot be used.

    Args:
        mistakes: one line each, every one naming file, key and fix.
    """

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class StageFault(KioskError):
    """A driver failed below one stage; the stage goes to its rest state and the others go on."""


class CameraFault(StageFault):
    """The camera cannot be opened or stopped giving frames."""


class LineFault(StageFault):
    """A GPIO line cannot be claimed, or a level cannot be set."""


class OutboxFault(StageFault):
    """The outbox file cannot be opened, read or written."""


class CityFilesFault(StageFault):
    """What the city sent cannot be kept or read."""


class UplinkFault(StageFault):
    """The broker cannot be used as configured."""
