"""More languages for the page: files that say in another one what is said in English.

Decides what such a file is, and which texts it lacks. A text that it lacks is left out on the page; Vietnamese and
English stand there always. The command line reads the files, once, at start; the screen puts them beside each view.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kiosk.messages import Wording
from kiosk.risk import Rules

_CODE = re.compile(r"[a-z]{2,3}(-[A-Z][A-Za-z]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One more language. `code` is BCP 47 ("ko", "zh-Hans"); `texts` has each English text's translation."""

    code: str
    texts: Mapping[str, str]


def read_language(path: Path) -> Language | list[str]:
    """Read a file, or name its mistakes."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return [f"{path}: cannot be read as TOML ({error}); take config/languages/ko.toml as a pattern"]
    code, texts = content.get("language"), content.get("texts")
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return [f'{path}: language: give its code, such as language = "ko"']
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        return [f'{path}: texts: give a table of "English text" = "translation"']
    return Language(code=code, texts=texts)


def lacking(language: Language, rules: Rules) -> list[str]:
    """English texts of these rules that the file does not have."""
    return sorted(set(_texts(rules)) - language.texts.keys())


def _texts(rules: Rules) -> Iterable[str]:
    wordings: list[Wording] = [rule.wording for rule in rules.reasons.values()]
    wordings += [*rules.screens.values(), *rules.exits.values(), *rules.hints.values()]
    return (text for wording in wordings for text in (wording.en, wording.en_do) if text)
