"""On the door, in a release's environment: makes the device key and asks for its certificate.

`python -m fleet.device_key FILE DEVICE`. The key never leaves the door; the request goes to standard output. A key that
is there is asked for again. `kiosk.device_keys` renews the pair later, from where the door runs.
"""

import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from city.certificates import key_pem, request_pem
from city.signing import load_key


def request(file: Path, device: str) -> bytes:
    """A certificate request (PEM) for `device`, by the key in `file`, which is made if there is none.

    Raises:
        ValueError: the file holds no P-256 key.
    """
    if not file.exists():
        part = file.with_name(f".{file.name}.new")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(key_pem(ec.generate_private_key(ec.SECP256R1())))
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
    return request_pem(device, load_key(file.read_bytes()))


if __name__ == "__main__":
    sys.stdout.buffer.write(request(Path(sys.argv[1]), sys.argv[2]))
