"""Unpacking gzip without letting a small input become a large one."""

import zlib
from collections.abc import Iterable, Iterator

_PIECE_BYTES = 64 * 1024
_GZIP = 31


def inflate(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """The content of a gzip stream in small pieces; raises ValueError where it is broken or exceeds `max_bytes`."""
    unpacker = zlib.decompressobj(_GZIP)
    total = taken = 0
    for chunk in chunks:
        taken += len(chunk)
        for piece in _pieces(unpacker, chunk):
            total += len(piece)
            if total > max_bytes:
                raise ValueError(f"more than {max_bytes:,} bytes")
            yield piece
        if unpacker.unused_data:
            raise ValueError("bytes behind the end of the gzip stream")
    if taken and not unpacker.eof:
        raise ValueError("a gzip stream that ends early")


def gunzip(body: bytes, max_bytes: int, max_ratio: int) -> bytes:
    """The content of a gzip document; raises ValueError beyond `max_bytes`, or beyond `max_ratio` times its size."""
    return b"".join(inflate([body], min(max_bytes, max_ratio * len(body))))


def _pieces(unpacker: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    try:
        piece = unpacker.decompress(chunk, _PIECE_BYTES)
        while piece:
            yield piece
            piece = unpacker.decompress(unpacker.unconsumed_tail, _PIECE_BYTES)
    except zlib.error:
        raise ValueError("bytes that are no gzip stream") from None
