"""The list of what a release is made of, as CycloneDX."""

from email.parser import Parser

import pytest

from fleet.sbom import Component, document, of_wheel

DIGEST = "ab" * 32
DEB = Component(kind="deb/debian", name="libzbar0", version="0.23.92-7+deb12u1", licence="LGPL", sha256=DIGEST)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: Apache-2.0\nLicense: other\n", "Apache-2.0"),
        ("License: MIT\nClassifier: License :: OSI Approved :: BSD License\n", "BSD License"),
        ("License: MIT\n        and a whole text\n", "MIT"),
        ("Summary: x\n", "unknown"),
    ],
)
def test_a_wheel_s_licence_is_the_clearest_word_for_it(metadata: str, licence: str) -> None:
    """An expression before a classifier, and that before a text."""
    told = Parser().parsestr(f"Metadata-Version: 2.1\nName: Zxing_Cpp\nVersion: 3.1.1\n{metadata}\n")
    wanted = Component(kind="pypi", name="zxing-cpp", version="3.1.1", licence=licence, sha256=DIGEST)
    assert of_wheel(told, DIGEST) == wanted


def test_the_document_names_every_component_by_its_package_url() -> None:
    """In an order that does not change, and the same for the same release."""
    pypi = Component(kind="pypi", name="numpy", version="1.24.2", licence="BSD", sha256=DIGEST)
    made = document("door-kiosk", "1.0-aaaa", "1970-01-01T00:00:00+00:00", [pypi, DEB])
    assert [row["purl"] for row in made["components"]] == [
        "pkg:deb/debian/libzbar0@0.23.92-7%2Bdeb12u1",
        "pkg:pypi/numpy@1.24.2",
    ]
    assert made["dependencies"] == [{"ref": "door-kiosk", "dependsOn": [row["purl"] for row in made["components"]]}]
    assert made == document("door-kiosk", "1.0-aaaa", "1970-01-01T00:00:00+00:00", [DEB, pypi])
