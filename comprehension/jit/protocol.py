"""What the program and its compiler process say to each other: framed messages without pickles.

In: a JSON-able header and named files (bytes).  Out: the same on the other side of a pipe.
Invariant: a message is read whole or not at all; nothing in it is ever executed by the reader.

    frame := magic(4) header_length(u32, little endian) header(JSON, UTF-8) file*
    header := {..., "files": [[name, length], ...]}

A request carries `kind` ("comprehension" or "source") and its fields; a response carries `error` (None or a
record) and the artifact's files.  Each side trusts the other's lengths only up to `MAX_BYTES`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import IO, Any

MAGIC = b"TC1\n"
MAX_BYTES = 1 << 30
_PREFIX = struct.Struct("<4sI")


class ProtocolError(Exception):
    """The other side closed the pipe in the middle of a message, or wrote something else into it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A header and named blobs."""

    header: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


def write_message(stream: IO[bytes], message: Message) -> None:
    """Writes one frame and flushes.

    >>> import io
    >>> pipe = io.BytesIO()
    >>> write_message(pipe, Message({"kind": "ping"}, {"a": b"1"}))
    >>> _ = pipe.seek(0)
    >>> read_message(pipe)
    Message(header={'kind': 'ping'}, files={'a': b'1'})
    """
    listed = [[name, len(data)] for name, data in message.files.items()]
    header = json.dumps({**message.header, "files": listed}).encode()
    stream.write(_PREFIX.pack(MAGIC, len(header)) + header)
    for data in message.files.values():
        stream.write(data)
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """Reads one frame; None where the stream ended before it began.

    Raises ProtocolError for anything else that is not a whole message.
    """
    prefix = stream.read(_PREFIX.size)
    if not prefix:
        return None
    if len(prefix) < _PREFIX.size:
        raise ProtocolError("the stream ended inside a message's prefix")
    magic, length = _PREFIX.unpack(prefix)
    if magic != MAGIC or length > MAX_BYTES:
        raise ProtocolError(f"expected a message, found {prefix!r}")
    try:
        header = json.loads(_exactly(stream, length))
        listed = [(str(name), int(size)) for name, size in header.pop("files")]
    except (ValueError, KeyError, TypeError, AttributeError) as reason:
        raise ProtocolError(f"the header of a message does not read: {reason}") from reason
    if any(size < 0 for _, size in listed) or sum(size for _, size in listed) > MAX_BYTES:
        raise ProtocolError("a message announces more than it may hold")
    return Message(header, {name: _exactly(stream, size) for name, size in listed})


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ProtocolError(f"the stream ended after {len(data)} of {size} bytes")
    return data
