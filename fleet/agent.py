"""The part that runs on a door (`fleet.on_device`), as one file that any Python 3.11 starts."""

import io
import zipfile
from functools import cache
from importlib import resources

MAIN = b"import sys\n\nfrom fleet.on_device.__main__ import main\n\nsys.exit(main(sys.argv[1:]))\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)


@cache
def agent() -> bytes:
    """The zip, the same bytes for the same source."""
    whole = io.BytesIO()
    folder = resources.files("fleet")
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo("__main__.py", LONG_AGO), MAIN)
        packed.writestr(zipfile.ZipInfo("fleet/__init__.py", LONG_AGO), b"")
        for file in sorted(folder.joinpath("on_device").iterdir(), key=lambda file: file.name):
            if file.name.endswith((".py", ".service")):
                packed.writestr(zipfile.ZipInfo(f"fleet/on_device/{file.name}", LONG_AGO), file.read_bytes())
    return whole.getvalue()
