"""`kiosk/rest_lines.py` as it stands, before a kernel that has a board for a GPIO chip: `resting.py PROGRAM NOTE TOML`.

Only the ioctl is another: a line that is claimed at a level is that level on the board (torture/board.py). Run as the
unit runs the program, `python -I -S`, and hence without an import that would change how long that takes.
"""

import os
import struct
import sys
import time

CHIPINFO, LEVEL = struct.Struct("32s32sI"), struct.Struct("=QBB")


def ioctl(_chip: int, request: int, data: bytearray) -> int:
    """As linux/gpio.h has it; offsets are those of struct gpio_v2_line_request."""
    if request == 0x8044B401:
        data[:] = CHIPINFO.pack(b"gpiochip0", b"pinctrl-bcm2711", 54)
        return 0
    (gpio,) = struct.unpack_from("I", data, 0)
    (value,) = struct.unpack_from("Q", data, 328)
    board = os.open(os.environ["BOARD"], os.O_WRONLY | os.O_APPEND)
    os.write(board, LEVEL.pack(time.clock_gettime_ns(time.CLOCK_BOOTTIME), gpio, value))
    struct.pack_into("i", data, 588, board)
    return 0


program = {"__name__": "rest_lines"}
with open(sys.argv[1], encoding="utf-8") as source:  # noqa: PTH123 - pathlib is slow to load
    exec(compile(source.read(), sys.argv[1], "exec"), program)  # noqa: S102 - the program under torture
sys.exit(program["main"](sys.argv[2:], ioctl=ioctl, devices=os.environ["DEVICES"]))  # type: ignore[operator]
