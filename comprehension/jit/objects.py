"""What an object file needs from outside: its undefined symbols, read from its own symbol table.

In: the bytes of a 64-bit little-endian ELF or Mach-O object.  Out: names, without the platform's prefix.
Invariant: every read is bounds-checked; bytes that are not such an object raise `BadObject`, whatever they are.
"""

from __future__ import annotations

import struct

_ELF_SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size
_ELF_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, address, offset, size, link, info, align, entry
_ELF_SYMTAB = 2
_MACHO_SYMBOL = struct.Struct("<IBBHQ")  # name, type, section, description, value
_MACHO_LC_SYMTAB = 2
_MACHO_STAB, _MACHO_TYPE = 0xE0, 0x0E


class BadObject(Exception):
    """Not an object file of a kind that we make."""


def undefined_symbols(data: bytes) -> frozenset[str]:
    """The names that the object refers to and does not define.

    >>> undefined_symbols(b"not an object")
    Traceback (most recent call last):
    ...
    comprehension.jit.objects.BadObject: neither ELF nor Mach-O: it begins with b'not an o'
    """
    try:
        if data[:6] == b"\x7fELF\x02\x01":
            names = _elf_undefined(data)
        elif data[:4] == b"\xcf\xfa\xed\xfe":
            names = [name.removeprefix("_") for name in _macho_undefined(data)]
        else:
            raise BadObject(f"neither ELF nor Mach-O: it begins with {data[:8]!r}")
    except (struct.error, IndexError, ValueError) as reason:
        raise BadObject(f"the object's symbol table does not read: {reason}") from reason
    return frozenset(names) - {"", "GLOBAL_OFFSET_TABLE_", "_GLOBAL_OFFSET_TABLE_"}


def _elf_undefined(data: bytes) -> list[str]:
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [_ELF_SECTION.unpack_from(data, table + i * entry) for i in range(count)]
    names: list[str] = []
    for _, kind, _, _, offset, size, link, _, _, _ in sections:
        if kind != _ELF_SYMTAB:
            continue
        strings = sections[link][4]
        for at in range(offset, offset + size, _ELF_SYMBOL.size):
            name, _, _, section, _, _ = _ELF_SYMBOL.unpack_from(data, at)
            if section == 0:
                names.append(_text(data, strings + name))
    return names


def _macho_undefined(data: bytes) -> list[str]:
    (commands,) = struct.unpack_from("<I", data, 16)
    names: list[str] = []
    at = 32
    for _ in range(commands):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == _MACHO_LC_SYMTAB:
            symbols, count, strings, _ = struct.unpack_from("<IIII", data, at + 8)
            for i in range(count):
                name, flags, _, _, _ = _MACHO_SYMBOL.unpack_from(data, symbols + i * _MACHO_SYMBOL.size)
                if not flags & _MACHO_STAB and not flags & _MACHO_TYPE:
                    names.append(_text(data, strings + name))
        at += size
    return names


def _text(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode("ascii", "backslashreplace")
