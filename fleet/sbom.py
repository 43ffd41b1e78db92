"""PURE. What a release is made of, as a CycloneDX 1.5 document in JSON.

Written by hand: it is a list of names, versions, licences and digests, and the libraries that write CycloneDX bring ten
packages of their own. Called by `scripts/bundle.py`.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One package; `kind` is what package URLs call it: pypi or deb/debian."""

    kind: str
    name: str
    version: str
    licence: str
    sha256: str

    @property
    def url(self) -> str:
        """Its package URL."""
        return f"pkg:{self.kind}/{self.name}@{self.version.replace('+', '%2B').replace(':', '%3A')}"


def of_wheel(metadata: Message, sha256: str) -> Component:
    """A component from a wheel's METADATA. An old-style licence may be a whole text; its first line names it."""
    licence = metadata.get("License-Expression") or _classified(metadata) or (metadata.get("License") or "")
    return Component(
        kind="pypi",
        name=str(metadata["Name"]).lower().replace("_", "-"),
        version=str(metadata["Version"]),
        licence=str(licence).strip().splitlines()[0] if str(licence).strip() else "unknown",
        sha256=sha256,
    )


def _classified(metadata: Message) -> str:
    found = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    return str(found[0]).rsplit(" :: ", 1)[-1] if found else ""


def document(name: str, version: str, made_at: str, components: Iterable[Component]) -> dict[str, Any]:
    """The whole document; the same for the same release."""
    rows = [_row(component) for component in sorted(components, key=lambda component: component.url)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{name} {version}')}",
        "version": 1,
        "metadata": {
            "timestamp": made_at,
            "component": {"type": "firmware", "bom-ref": name, "name": name, "version": version},
        },
        "components": rows,
        "dependencies": [{"ref": name, "dependsOn": [row["bom-ref"] for row in rows]}],
    }


def _row(component: Component) -> Mapping[str, Any]:
    return {
        "type": "library",
        "bom-ref": component.url,
        "name": component.name,
        "version": component.version,
        "purl": component.url,
        "licenses": [{"license": {"name": component.licence}}],
        "hashes": [{"alg": "SHA-256", "content": component.sha256}],
    }
