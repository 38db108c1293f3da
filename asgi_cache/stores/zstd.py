"""Bodies at rest, made smaller by Zstandard (RFC 8878) where that helps.

What the client sees is never changed: a body is stored small, and read as it was. Nothing of what
lies in a store is believed: the size that a head says is the most that is ever inflated, and the
window that a frame may ask for is bounded.

What must not be here: which bodies those are (``bodies``), and Content-Encoding, which is the
app's.
"""

from __future__ import annotations

import sys
from typing import Final

from asgi_cache.errors import CorruptRecord

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 3
SAMPLE_BYTES: Final = 16 * 1024
"""So much of a body is tried first: what is compressed already (images, gzip) costs no more."""
WORTH: Final = 0.9
"""Share of its size that a body may have left, to be stored so."""
_WINDOW_LOG: Final = 21
"""Frames of level 3 have windows of 2 MiB at most; a forged one could ask for 128."""


def deflated(body: bytes) -> bytes:
    """*body* as one frame; as it is where that would not be worth it."""
    size = len(body)
    middle = (size - SAMPLE_BYTES) // 2
    sample = body[middle : middle + SAMPLE_BYTES] if middle > 0 else body
    if len(zstd.compress(sample, LEVEL)) > WORTH * len(sample):
        return body
    frame = zstd.compress(body, LEVEL)
    return frame if len(frame) <= WORTH * size else body


def inflated(data: bytes, size: int) -> bytes:
    """The *size* bytes that *data* is one whole frame of; CorruptRecord for all else."""
    decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    )
    try:
        # One byte more than there should be, so that a longer one is seen.
        body = decompressor.decompress(data, max_length=size + 1)
    except zstd.ZstdError as error:
        raise CorruptRecord(f"not a frame: {error}") from error
    if len(body) != size or not decompressor.eof or decompressor.unused_data:
        raise CorruptRecord("a frame of another size")
    return body
