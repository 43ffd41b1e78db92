"""Undoes the packing of certificates' codes, with a bound on what comes out. Called by the formats that are packed."""

import zlib

MAX_INFLATED = 16_384
"""Bytes. A code holds 2,953, and deflate could make 3 MB of them; the largest EU test certificate has 748."""


def inflate(packed: bytes, *, raw: bool) -> bytes | None:
    """Decompress one whole zlib stream, or a raw DEFLATE one; None where it is broken, too large, or not all of it."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(packed, MAX_INFLATED)
    except zlib.error:
        return None
    return inflated if stream.eof and not stream.unused_data else None
