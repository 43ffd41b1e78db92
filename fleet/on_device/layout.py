"""Where things stand on a door. Every other module of this folder asks here."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders below `root`, which is / on a door."""

    root: Path = Path("/")

    @property
    def home(self) -> Path:
        """Everything that is installed."""
        return self.root / "opt/kiosk"

    @property
    def store(self) -> Path:
        """Files of releases by their SHA-256, verified once and kept for the next release."""
        return self.home / "store"

    @property
    def releases(self) -> Path:
        """One folder a release: its environment, units and documents; whole when `release.json` is in it."""
        return self.home / "releases"

    @property
    def current(self) -> Path:
        """A symbolic link to the release that runs."""
        return self.home / "current"

    @property
    def signers(self) -> Path:
        """Whose releases this door takes, as ssh-keygen's allowed signers."""
        return self.home / "release-signers"

    @property
    def agent(self) -> Path:
        """This program, for systemd."""
        return self.home / "agent.pyz"

    @property
    def change(self) -> Path:
        """The change under way: `wanted`, `before`, `undo`, `result.json`."""
        return self.home / "change"

    @property
    def config(self) -> Path:
        """What /etc/kiosk/kiosk.toml and its neighbours are."""
        return self.root / "etc/kiosk"

    def at(self, path: str) -> Path:
        """An absolute path of the door."""
        return self.root / path.lstrip("/")

    def release_now(self) -> str | None:
        """The name of the release that `current` leads to."""
        return Path(self.current.readlink()).name if self.current.is_symlink() else None

    def whole(self, release: str) -> bool:
        """Whether a release was installed to its end."""
        return (self.releases / release / "release.json").exists()
