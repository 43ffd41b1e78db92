"""What can be wrong, in a technician's words.

FleetError
├── InventoryError   the inventory cannot be used; carries every mistake at once
├── BundleError      a release on this laptop cannot be used
└── DoorFault        one door cannot be worked on; the others go on
    └── Unreachable  nothing was done there at all
"""


class FleetError(Exception):
    """Its text is a sentence: what, where, what to do."""


class InventoryError(FleetError):
    """An inventory with mistakes.

    Args:
        mistakes: one line each, naming file, door or row, key and fix.
    """

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class BundleError(FleetError):
    """A release that is damaged, not signed by the right key, or not for this kind of door."""


class DoorFault(FleetError):
    """One door's trouble."""


class Unreachable(DoorFault):
    """No connection, no log-in, or a host key that is not known."""
