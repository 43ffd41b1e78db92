"""What the city has sent, kept on this device: the trust bundle and the risk list.

Decides how they survive a power cut: each file is written beside itself, synced, and renamed, so that it is the old
one or the new one. A file that does not check out is reported and left as it is; nothing is trusted because it lies
here. Called by the daemon's uplink thread for what arrives, and once at start.
"""

import os
from pathlib import Path

from kiosk.errors import CityFilesFault
from kiosk.risk_list import Issuers, RiskList, Update, applied, read_update
from kiosk.trust import Bundle, follows, read_bundle

BUNDLE = "trust.bundle"
SNAPSHOT = "risk-list.snapshot"
DELTA = "risk-list.{version}.delta"


def write_whole(path: Path, content: bytes) -> None:
    """Write so that a power cut leaves the old file or the new one, never part of one."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _keep(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise CityFilesFault(f"{path}: cannot be written ({error.strerror}); free some space") from error


class TrustFiles:
    """The newest bundle of two files: the one from provisioning and the one that came over the network since.

    Args:
        folder: exists, and is this kiosk's own.
        provisioned: what the technician brought.
        city: the city's keys.
    """

    def __init__(self, folder: Path, provisioned: Path, city: Issuers) -> None:
        self._kept = folder / BUNDLE
        self._provisioned = provisioned
        self._city = city

    def load(self) -> tuple[Bundle | None, list[str]]:
        """The bundle to go by, and a sentence for each file that could not be used."""
        held: Bundle | None = None
        troubles: list[str] = []
        for path in (self._provisioned, self._kept):
            try:
                bundle = read_bundle(path.read_bytes(), self._city)
            except FileNotFoundError:
                continue
            except OSError as error:
                bundle = f"cannot be read ({error.strerror}); check its owner and mode"
            if isinstance(bundle, str):
                troubles.append(f"{path}: {bundle}")
            elif not follows(held, bundle):
                held = bundle
        return held, troubles

    def take(self, held: Bundle | None, content: bytes) -> Bundle | str:
        """Check a bundle that arrived, keep it, and give it; or a sentence, and nothing has changed.

        Raises:
            CityFilesFault: the disk refuses.
        """
        bundle = read_bundle(content, self._city)
        if isinstance(bundle, str):
            return bundle
        if objection := follows(held, bundle):
            return objection
        _keep(self._kept, content)
        return bundle


def _read(path: Path, city: Issuers) -> Update | str:
    try:
        return read_update(path.read_bytes(), city)
    except OSError as error:
        return f"cannot be read ({error.strerror}); check its owner and mode"


class RiskFiles:
    """A snapshot and the deltas that came after it, in one folder.

    Args:
        folder: exists, and is this kiosk's own.
        city: the city's keys.
    """

    def __init__(self, folder: Path, city: Issuers) -> None:
        self._folder = folder
        self._city = city

    def load(self) -> tuple[RiskList | None, list[str]]:
        """The list as it was last held, and a sentence for each file that could not be used."""
        held: RiskList | None = None
        troubles: list[str] = []
        for path in self._files():
            update = _read(path, self._city)
            after = applied(held, update) if isinstance(update, Update) else update
            if isinstance(after, RiskList):
                held = after
            elif not (isinstance(update, Update) and held is not None and update.version <= held.version):
                troubles.append(f"{path}: {after}")
        return held, troubles

    def take(self, held: RiskList | None, content: bytes) -> RiskList | str:
        """Check an update that arrived, keep it, and give the new list; or a sentence, and nothing has changed.

        Raises:
            CityFilesFault: the disk refuses.
        """
        update = read_update(content, self._city)
        if isinstance(update, str):
            return update
        after = applied(held, update)
        if isinstance(after, RiskList):
            self._keep(update, content)
        return after

    def _keep(self, update: Update, content: bytes) -> None:
        if update.base:
            _keep(self._folder / DELTA.format(version=update.version), content)
            return
        _keep(self._folder / SNAPSHOT, content)
        for delta in self._deltas():  # `load` passes over one that a power cut leaves behind: it is older
            delta.unlink(missing_ok=True)

    @property
    def deltas(self) -> int:
        """Files that a start has to go through, about 10 ms each with a million on the list."""
        return len(self._deltas())

    def _files(self) -> list[Path]:
        snapshot = self._folder / SNAPSHOT
        return ([snapshot] if snapshot.exists() else []) + self._deltas()

    def _deltas(self) -> list[Path]:
        found = self._folder.glob(DELTA.format(version="*"))
        return sorted(found, key=lambda path: (len(path.name), path.name))
