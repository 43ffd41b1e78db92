"""The firmware of the check-in kiosk. Start reading at `kiosk.gate`; `docs/architecture.md` walks one scan."""

__version__ = "0.1.0"
