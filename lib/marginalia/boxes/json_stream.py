"""A JSON file taken in blocks, its large arrays decoded a run of entries at a time."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import msgspec

BLOCK = 1 << 20  # bytes decoded at a time: larger blocks leave the processor's cache and were slower

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}"]', re.DOTALL)  # a lone quote: the string is cut off
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR = re.compile(rb"[^][{},\s]*")
_BETWEEN = re.compile(r"[ \t\r\n]*(,?)[ \t\r\n]*")
_SPACE = b" \t\r\n"
_STEP = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


class JsonStream:
    """A JSON text read from front to back, holding about one block of it; used in a `with`.

    `peek` looks at the next byte, `fields` walks the top object, `entries` decodes an array, `skip` passes
    over a value, `finish` checks that nothing follows. They raise ValueError naming the file and, when the
    text is cut off or broken, the last entry that was whole.
    """

    def __init__(self, path: Path, block: int = BLOCK):
        self.path, self.block = path, block
        self.buffer, self.ended = b"", False
        self.damage = ""  # what was wrong with the packing
        self.done = "before its first entry"

    def __enter__(self) -> JsonStream:
        self.file = self.path.open("rb")
        packed = self.file.peek(2)[:2] == b"\x1f\x8b"
        self.blocks = self._unpacked() if packed else iter(lambda: self.file.read(self.block), b"")
        self._more()
        self.buffer = self.buffer.removeprefix(b"\xef\xbb\xbf")  # Windows editors put this in front of UTF-8
        if not self.peek() and not self.damage:
            raise ValueError(f"{self.path}: the file is empty")
        return self

    def __exit__(self, *_):
        self.file.close()

    def peek(self) -> bytes:
        """The next byte that is not white space, or nothing at the end of the file."""
        self.buffer = self.buffer.lstrip(_SPACE)
        while not self.buffer and self._more():
            self.buffer = self.buffer.lstrip(_SPACE)
        return self.buffer[:1]

    def fields(self) -> Iterator[str]:
        """Keys of the object that starts here; the caller takes each value before asking for the next key."""
        self._take(b"{")
        while self.peek() != b"}":
            key = json.loads(self._string())
            self._take(b":")
            yield key
            if self.peek() != b"}":
                self._take(b",")
                if self.peek() == b"}":
                    self._fail(cut_off=False)
        self._take(b"}")
        self.finish()

    def entries(self, kind: type[msgspec.Struct], word: str) -> Iterator[list]:
        """Entries of the array that starts here, some at a time, as `kind`; `word` names one in messages."""
        decode = msgspec.json.Decoder(list[kind]).decode
        count = 0
        self.done = f"before its first {word}"
        self._take(b"[")
        while self.peek() != b"]":
            if count:
                self._take(b",")
            batch, end = self._run(decode, kind, f"{word} number", count)
            self.buffer = self.buffer[end:]
            count += len(batch)
            self.done = f"after {word} number {count}{_own_id(batch[-1])}"
            yield batch
        self._take(b"]")

    def skip(self):
        """Pass over the value that starts here, whatever it is."""
        start = self.peek()
        if start == b'"':
            self._string()
        elif start in _STEP:
            self._skip_nested()
        else:
            while (end := _SCALAR.match(self.buffer).end()) == len(self.buffer) and self._more():
                pass
            self.buffer = self.buffer[end:]

    def finish(self):
        """Check that the text ends here."""
        if self.peek() or self.damage:
            self._fail(cut_off=not self.buffer)

    def _run(self, decode, kind: type[msgspec.Struct], word: str, count: int) -> tuple[list, int]:
        """The next entries and where they end in the buffer.

        First try: end at the last `}, {` in the buffer. If that happens to lie inside a string or a nested
        list, the text before it has an open quote or bracket and cannot decode; so whatever decodes was cut
        rightly. Only otherwise are the brackets counted.
        """
        want = self.block
        while True:
            while len(self.buffer) < want and self._more():
                pass
            if not self.ended and (end := _last_boundary(self.buffer)):
                try:
                    return decode(b"[%b]" % self.buffer[:end]), end
                except msgspec.DecodeError:
                    pass
            end, closed = _count_brackets(self.buffer)
            run = self.buffer[:end]
            if run.strip(_SPACE):
                try:
                    return decode(b"[%b]" % run), end
                except (msgspec.DecodeError, RecursionError):
                    return _one_by_one(run, kind, f"{self.path}: {word}", count), end
            if closed or self.ended:
                self._fail(cut_off=not closed)
            want = 2 * len(self.buffer)  # one entry is longer than the block

    def _skip_nested(self):
        depth = 0
        while True:
            taken = len(self.buffer)
            for token in _TOKEN.finditer(self.buffer):
                if token[0] == b'"':
                    taken = token.start()  # this string goes on in the next block
                    break
                depth += _STEP.get(token[0], 0)
                if depth == 0:
                    self.buffer = self.buffer[token.end() :]
                    return
            self.buffer = self.buffer[taken:]
            if not self._more():
                self._fail(cut_off=True)

    def _string(self) -> bytes:
        """Take a string, quotes included."""
        if self.peek() != b'"':
            self._fail(cut_off=not self.buffer)
        while not (found := _STRING.match(self.buffer)):
            if not self._more():
                self._fail(cut_off=True)
        self.buffer = self.buffer[found.end() :]
        return found[0]

    def _take(self, mark: bytes):
        if self.peek() != mark:
            self._fail(cut_off=not self.buffer)
        self.buffer = self.buffer[1:]

    def _more(self) -> bool:
        """Append a block to the buffer; False at the end of the file."""
        try:
            block = next(self.blocks, b"")
        except (zlib.error, EOFError) as error:
            self.damage, block = f"its gzip packing is damaged: {error}", b""
        self.buffer += block
        self.ended = self.ended or not block
        return not self.ended

    def _unpacked(self) -> Iterator[bytes]:
        """Blocks of a gzip file, which may hold several packed parts one after another."""
        unpack = zlib.decompressobj(wbits=31)
        while packed := self.file.read(self.block):
            while packed:
                if unpack.eof:
                    packed = packed.lstrip(b"\0")  # the end may be padded
                    if not packed:
                        break
                    unpack = zlib.decompressobj(wbits=31)
                if block := unpack.decompress(packed, self.block):
                    yield block
                packed = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
        if block := unpack.flush():  # what the limit on the last block held back
            yield block
        if not unpack.eof:
            raise EOFError("it ends early")

    def _fail(self, cut_off: bool) -> NoReturn:
        what = "is cut off" if cut_off else "is not valid JSON"
        near = self.buffer[:40].decode(errors="replace")
        raise ValueError(
            f"{self.path}: the file {what} {self.done}"
            + (f", near {near!r}" if near else "")
            + (f" ({self.damage})" if self.damage else "")
            + "; fetch or export it again"
        )


def _last_boundary(text: bytes) -> int:
    """Position of the comma in the last `}, {` of the text, or 0 when there is none."""
    brace = len(text)
    while (brace := text.rfind(b"{", 0, brace)) > 0:
        # deeper indentation than 80 is left to the count of brackets
        before = text[max(brace - 80, 0) : brace].rstrip(_SPACE)
        if before[-1:] == b"," and before[:-1].rstrip(_SPACE)[-1:] == b"}":
            return max(brace - 80, 0) + len(before) - 1
    return 0


def _count_brackets(text: bytes) -> tuple[int, bool]:
    """Where the last whole object of an array ends, and whether the array is closed in this text.

    A closed array without objects ends at its bracket, so that what stands there meets the decoder.
    """
    depth = end = 0
    for token in _TOKEN.finditer(text):
        if token[0] == b'"':
            break
        depth += _STEP.get(token[0], 0)
        if depth < 0:
            return end or token.start(), True
        if depth == 0 and token[0] == b"}":
            end = token.end()
    return end, False


def _one_by_one(run: bytes, kind: type[msgspec.Struct], where: str, count: int) -> list:
    """Entries that the quick decoder refused, by Python's own, which knows NaN; errors name the entry."""
    entries, at = [], 0
    decoder = json.JSONDecoder()
    try:
        text = run.decode()
        at = len(text) - len(text.lstrip(" \t\r\n"))
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            entries.append(msgspec.convert(value, kind))
            between = _BETWEEN.match(text, at)
            at = between.end()
            if at < len(text) and not between[1]:
                raise ValueError(f"a comma is missing before it, near {text[at : at + 40]!r}")
    except msgspec.ValidationError as error:
        own = _own_id(value) if isinstance(value, dict) else ""
        raise ValueError(f"{where} {count + len(entries) + 1}{own}: {error}".replace("`", "")) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} {count + len(entries) + 1} is not valid JSON: {error}") from None
    return entries


def _own_id(entry) -> str:
    own = entry.get("id") if isinstance(entry, dict) else getattr(entry, "id", None)
    return "" if own is None else f" (id {own})"
