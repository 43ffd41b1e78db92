"""Names the holder of a certificate by pseudonym. Certificates bear no number: name and birth date have to do.

Called by the formats of certificates.
"""

import re
import unicodedata

from kiosk.credentials.subject import subject_of

DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def holder_of(*, family: str, given: str, born: str, certificate: str, key: bytes) -> str | None:
    """Give the subject of this name and birth date, the same from every certificate that has them; None for no name.

    Of the names only the letters count, without diacritics. A birth date that is not a whole date is too little to
    tell people apart: then the certificate's own id counts too.
    """
    names = f"{_letters(family)}|{_letters(given)}"
    if names == "|":
        return None
    day = DAY.match(born)
    return subject_of("cert", f"{names}|{day[0] if day else f'{born}#{certificate}'}", key)


def _letters(name: str) -> str:
    spread = unicodedata.normalize("NFKD", name.upper().replace("Đ", "D"))
    return "".join(character for character in spread if character.isalpha())
