from pathlib import Path

import pytest

from kiosk.config import load_rules
from kiosk.languages import Language, lacking, read_language
from tests.builders import REPOSITORY

RULES = load_rules(REPOSITORY / "config" / "rules.toml")


def test_the_shipped_language_says_what_the_page_says_most() -> None:
    """Every text in it is one of the shipped rules', and the door's own screens and hints are among them."""
    korean = read_language(REPOSITORY / "config" / "languages" / "ko.toml")
    assert isinstance(korean, Language)
    english = set(lacking(Language(code="xx", texts={}), RULES))
    assert (korean.code, korean.texts.keys() - english) == ("ko", set())
    needed = {wording.en for wording in RULES.screens.values()} | {"Please stop", "Please come in"}
    assert needed - korean.texts.keys() == set()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("language =", "cannot be read as TOML"),
        ("[texts]", 'language: give its code, such as language = "ko"'),
        ('language = "Korean"\n[texts]', 'language: give its code, such as language = "ko"'),
        ('language = "ko"', 'texts: give a table of "English text" = "translation"'),
        ('language = "ko"\n[texts]\nGoodbye = 1', 'texts: give a table of "English text" = "translation"'),
    ],
)
def test_a_file_with_a_mistake_is_told(tmp_path: Path, content: str, says: str) -> None:
    """Which file, which key, and what to do."""
    path = tmp_path / "xx.toml"
    path.write_text(content, encoding="utf-8")
    mistakes = read_language(path)
    assert isinstance(mistakes, list)
    assert [mistake.startswith(f"{path}: {says}") for mistake in mistakes] == [True]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With the one to take as a pattern."""
    mistakes = read_language(tmp_path / "gone.toml")
    assert isinstance(mistakes, list)
    assert [mistake.endswith("take config/languages/ko.toml as a pattern") for mistake in mistakes] == [True]
