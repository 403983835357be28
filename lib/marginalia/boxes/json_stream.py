"""A JSON file taken in blocks, its large arrays decoded a run of entries at a time."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np
from jaxtyping import Int

BLOCK = 1 << 20  # bytes decoded at a time: larger blocks leave the processor's cache and were slower

_SPACE = b" \t\r\n"
_SCALAR = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|(?!")[^][{},\s]*', re.DOTALL)  # no match: an open string
_COMMA = re.compile(r"[ \t\r\n]*(,?)[ \t\r\n]*")
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_IS_MARK = bytes(byte in b'[]{}"' for byte in range(256))
_STEP = np.zeros(256, np.int8)  # how many more brackets are open behind a byte
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


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
        with open(self.path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        self.file = gzip.open(self.path) if packed else open(self.path, "rb")
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
        key = None
        while self.peek() != b"}":
            if key is not None:
                self._take(b",")
            if self.peek() != b'"':
                self._fail(cut_off=not self.buffer)
            key = json.loads(self._scalar())
            self._take(b":")
            yield key
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
            text = self._whole_entries()
            try:
                batch = decode(b"[%b]" % text)
            except (msgspec.DecodeError, RecursionError):
                batch = _one_by_one(text, kind, f"{self.path}: {word} number", count)
            count += len(batch)
            self.done = f"after {word} number {count}{_own_id(batch[-1])}"
            yield batch
        self._take(b"]")

    def skip(self):
        """Pass over the value that starts here, whatever it is."""
        if self.peek() not in (b"[", b"{"):
            self._scalar()
            return
        depth = 0
        while True:
            at, step, string = _brackets(self.buffer)
            (ends,) = np.nonzero(depth + np.cumsum(step) == 0)
            if len(ends):
                self.buffer = self.buffer[at[ends[0]] + 1 :]
                return
            depth += step.sum()
            self.buffer = self.buffer[string:]
            if not self._more():
                self._fail(cut_off=True)

    def finish(self):
        """Check that the text ends here."""
        if self.peek() or self.damage:
            self._fail(cut_off=not self.buffer)

    def _whole_entries(self) -> bytes:
        """Take the entries of this array that the buffer holds whole, after reading on to at least one."""
        want = self.block
        while True:
            while len(self.buffer) < want and self._more():
                pass
            # up to the bracket that closes the array, if it is here
            at, step, _ = _brackets(self.buffer)
            depth = np.cumsum(step)
            (closing,) = np.nonzero(depth < 0)
            inside = slice(closing[0] if len(closing) else None)
            # the last entry that ends; an array without objects and arrays in it ends at its own bracket
            ends = at[inside][(depth[inside] == 0) & (step[inside] < 0)] + 1
            ends = ends if len(ends) else at[closing[:1]]
            if len(ends) and (text := self.buffer[: ends[-1]].strip(_SPACE)):
                self.buffer = self.buffer[ends[-1] :]
                return text
            if len(closing) or self.ended:
                self._fail(cut_off=not len(closing))
            want = 2 * len(self.buffer)  # one entry is longer than the block

    def _scalar(self) -> bytes:
        """Take a string, quotes included, or a number or word."""
        while not (found := _SCALAR.match(self.buffer)) or found.end() == len(self.buffer):
            if not self._more():
                break
        if not found:
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
            block = b"" if self.ended else self.file.read1(self.block)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            self.damage, block = f"its gzip packing is damaged: {error}", b""
        self.buffer += block
        self.ended = not block
        return not self.ended

    def _fail(self, cut_off: bool) -> NoReturn:
        what = "is cut off" if cut_off else "is not valid JSON"
        near = self.buffer[:40].decode(errors="replace")
        raise ValueError(
            f"{self.path}: the file {what} {self.done}"
            + (f", near {near!r}" if near else "")
            + (f" ({self.damage})" if self.damage else "")
            + "; fetch or export it again"
        )


def _brackets(text: bytes) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"], int]:
    """Where brackets and quotes are, what each does to the number of open brackets, and where text ends.

    Brackets in strings, and quotes, do nothing. A string that is not closed in this text begins at its end.
    """
    plain = _ESCAPED.sub(b"  ", text) if b"\\" in text else text
    at = np.flatnonzero(np.frombuffer(plain.translate(_IS_MARK), bool))
    marks = np.frombuffer(plain, np.uint8)[at]
    quotes = marks == ord('"')
    in_string = np.cumsum(quotes) % 2 == 1
    end = at[quotes][-1] if in_string[-1:].any() else len(text)
    return at, np.where(in_string, 0, _STEP[marks]), end


def _one_by_one(run: bytes, kind: type[msgspec.Struct], where: str, count: int) -> list:
    """Entries that the quick decoder refused, by Python's own, which knows NaN; errors name the entry."""
    entries, at = [], 0
    decoder = json.JSONDecoder()
    try:
        text = f",{run.decode()}"
        while at < len(text):
            comma = _COMMA.match(text, at)
            if not comma[1]:
                raise ValueError(f"a comma is missing before it, near {text[at : at + 40]!r}")
            value, at = decoder.raw_decode(text, comma.end())
            entries.append(msgspec.convert(value, kind))
    except msgspec.ValidationError as error:
        which = f"{where} {count + len(entries) + 1}{_own_id(value)}"
        raise ValueError(f"{which}: {error}".replace("`", "")) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} {count + len(entries) + 1} is not valid JSON: {error}") from None
    return entries


def _own_id(entry) -> str:
    own = entry.get("id") if isinstance(entry, dict) else getattr(entry, "id", None)
    return "" if own is None else f" (id {own})"
