"""A Raspberry Pi in a box: the whole firmware on real kernel interfaces under emulation (docs/pibox.md)."""
