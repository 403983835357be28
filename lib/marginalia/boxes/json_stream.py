"""A JSON file taken in blocks, its large arrays decoded a run of entries at a time."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np
from jaxtyping import Int

from .sources import UNPACKED_BYTES, LimitError

BLOCK = 1 << 20  # bytes decoded at a time: larger blocks leave the processor's cache and were slower
ENTRY_BYTES = 1 << 28  # the longest entry that is read; it must be in memory as a whole

_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?!")[^][{},\s]*', re.DOTALL)  # no match: an open string
_COMMA = re.compile(r"[ \t\r\n]*(,?)[ \t\r\n]*")
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_IS_MARK = bytes(byte in b'[]{}"' for byte in range(256))
_STEP = np.zeros(256, np.int8)  # how many more brackets are open behind a byte
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


class JsonStream:
    """A JSON text read from front to back, holding about one block of it; used in a `with`.

    `peek` looks at the next byte, `expect` checks the kind of the next value, `fields` walks the top object,
    `entries` decodes an array, `skip` passes over a value, `finish` checks that nothing follows. They raise
    ValueError naming the file and, when the text is cut off or broken, the last entry that was whole.
    The time is linear in the length of the text, however it is built.
    """

    def __init__(self, path: Path, block: int = BLOCK):
        self.path, self.block = path, block
        self.buffer, self.at = b"", 0  # what is in memory, and where in it the next byte to read stands
        self.read, self.ended = 0, False
        self.damage = ""  # what was wrong with the packing
        self.done = "before its first entry"

    def __enter__(self) -> JsonStream:
        with open(self.path, "rb") as file:
            self.packed = file.read(2) == b"\x1f\x8b"
        self.file = gzip.open(self.path) if self.packed else open(self.path, "rb")
        self._more()
        self.buffer = self.buffer.removeprefix(b"\xef\xbb\xbf")  # Windows editors put this in front of UTF-8
        if not self.peek() and not self.damage:
            self.file.close()
            raise ValueError(f"{self.path}: the file is empty")
        return self

    def __exit__(self, *_):
        self.file.close()

    def peek(self) -> bytes:
        """The next byte that is not white space, or nothing at the end of the file."""
        while True:
            self.at = _SPACE.match(self.buffer, self.at).end()
            if self.at < len(self.buffer) or not self._more():
                return self.buffer[self.at : self.at + 1]

    def expect(self, mark: bytes, what: str):
        """Check that the value that starts here begins with `mark`; `what` says what should be here."""
        if (first := self.peek()) != mark:
            found = {b"[": "a list", b"{": "an object"}.get(first) or self._scalar().decode(errors="replace")
            if not found:
                self._fail(cut_off=not first)
            raise ValueError(f"{self.path}: {what}, and here is {found:.60}")

    def fields(self) -> Iterator[str]:
        """Keys of the object that starts here; the caller takes each value before asking for the next key."""
        self._take(b"{")
        keys = set()
        while self.peek() != b"}":
            if keys:
                self._take(b",")
            if self.peek() != b'"':
                self._fail(cut_off=not self.peek())
            text = self._scalar()
            try:
                key = json.loads(text)
            except ValueError:
                self._fail(cut_off=False)
            if key in keys:
                raise ValueError(f"{self.path}: {key!r:.60} stands in the file twice; join the two parts")
            keys.add(key)
            self._take(b":")
            yield key
        self._take(b"}")
        self.finish()

    def entries(self, kind: type[msgspec.Struct], word: str, tidy: Callable) -> Iterator[list]:
        """Entries of the array that starts here, some at a time, as `kind`; `word` names one in messages.

        `tidy` is called with an entry as json.loads gives it, where it is not at once a `kind`.
        """
        decode = msgspec.json.Decoder(list[kind]).decode
        count = 0
        self.done = f"before its first {word}"
        self.expect(
            b"[", f"{word.removesuffix('y')}{'ies' if word.endswith('y') else 's'} are a list of objects"
        )
        self._take(b"[")
        while self.peek() != b"]":
            if count:
                self._take(b",")
            text = self._whole_entries()
            try:
                batch = decode(b"[%b]" % text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                batch = _one_by_one(text, kind, tidy, f"{self.path}: {word} number", count)
            count += len(batch)
            self.done = f"after {word} number {count}{_own_id(batch[-1])}"
            yield batch
        self._take(b"]")

    def skip(self):
        """Pass over the value that starts here, whatever it is."""
        if self.peek() not in (b"[", b"{"):
            self._scalar()
            return
        depth, window = 0, 1 << 12  # short at first, since a file may hold many short values
        while True:
            text = self.buffer[self.at : self.at + window]
            at, step, string = _brackets(text)
            (ends,) = np.nonzero(depth + np.cumsum(step) == 0)
            if len(ends):
                self.at += int(at[ends[0]]) + 1
                return
            if self.at + len(text) == len(self.buffer) and not self._more():
                self._fail(cut_off=True)
            depth += step.sum()
            self.at += string
            window = min(2 * window, self.block) if string else 2 * window

    def finish(self):
        """Check that the text ends here."""
        if self.peek() in (b"{", b"["):
            raise ValueError(
                f"{self.path}: more JSON follows the first value, as in JSON lines; put all into one "
                "COCO object, or one list of detections"
            )
        if self.peek() or self.damage:
            self._fail(cut_off=not self.peek())

    def _whole_entries(self) -> bytes:
        """Take the entries of this array that the buffer holds whole, after reading on to at least one."""
        if len(self.buffer) - self.at < self.block:
            self._more()
        while True:
            # up to the bracket that closes the array, if it is here
            text = self.buffer[self.at :]
            at, step, _ = _brackets(text)
            depth = np.cumsum(step)
            (closing,) = np.nonzero(depth < 0)
            inside = slice(closing[0] if len(closing) else None)
            # the last entry that ends; an array without objects and arrays in it ends at its own bracket
            ends = at[inside][(depth[inside] == 0) & (step[inside] < 0)] + 1
            ends = ends if len(ends) else at[closing[:1]]
            if len(ends) and (run := text[: ends[-1]].strip()):
                self.at += int(ends[-1])
                return run
            if len(closing) or not self._more():
                self._fail(cut_off=not len(closing))

    def _scalar(self) -> bytes:
        """Take a string, quotes included, or a number or word."""
        while not (found := _SCALAR.match(self.buffer, self.at)) or found.end() == len(self.buffer):
            if not self._more():
                break
        if not found:
            self._fail(cut_off=True)
        self.at += len(found[0])
        return found[0]

    def _take(self, mark: bytes):
        if (found := self.peek()) != mark:
            self._fail(cut_off=not found)
        self.at += 1

    def _more(self) -> bool:
        """Read on; False at the end of the file.

        As much is read as is there unread: whoever looks again at a value that did not end does so over twice
        as much text, and all its looks together cost no more than two over the whole.
        """
        if self.ended:
            return False
        blocks = [self.buffer[self.at :]]
        missing = max(self.block, len(blocks[0]))
        if len(blocks[0]) > ENTRY_BYTES:
            raise LimitError(
                f"{self.path}: more than {ENTRY_BYTES:,} bytes are one value, {self.done}; if that is right, "
                "set marginalia.boxes.json_stream.ENTRY_BYTES higher"
            )
        try:
            while missing > 0 and (block := self.file.read1(missing)):
                blocks.append(block)
                missing -= len(block)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            self.damage = f"its gzip packing is damaged: {error}"
        self.ended = missing > 0
        self.buffer, self.at = b"".join(blocks), 0
        self.read += sum(map(len, blocks[1:]))
        if self.packed and self.read > UNPACKED_BYTES:
            raise LimitError(f"{self.path} unpacks to more than {UNPACKED_BYTES:,} bytes; unpack it first")
        return len(blocks) > 1

    def _fail(self, cut_off: bool) -> NoReturn:
        what = "is cut off" if cut_off else "is not valid JSON"
        near = self.buffer[self.at : self.at + 40].decode(errors="replace")
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
    return at, np.where(in_string, 0, _STEP[marks]), int(end)


def _one_by_one(run: bytes, kind: type[msgspec.Struct], tidy: Callable, where: str, count: int) -> list:
    """Entries that the quick decoder refused, by Python's own, which knows NaN; errors name the entry."""
    entries, at = [], 0
    decoder = json.JSONDecoder()
    text = f",{run.decode(errors='surrogateescape')}"
    while at < len(text):
        which = f"{where} {count + len(entries) + 1}"
        try:
            comma = _COMMA.match(text, at)
            if not comma[1]:
                told = f"a comma is missing before it, near {text[at : at + 40]!r}"
                raise json.JSONDecodeError(told, text, at)
            value, at = decoder.raw_decode(text, comma.end())
            which += _own_id(value)
            entries.append(msgspec.convert(tidy(value), kind))
            msgspec.json.encode(entries[-1])  # fails on bytes that were not UTF-8
        except msgspec.ValidationError as error:
            raise ValueError(f"{which}: {error}".replace("`", "")) from None
        except UnicodeEncodeError:
            raise ValueError(f"{which} holds text that is not UTF-8; save the file as UTF-8") from None
        except RecursionError:
            raise ValueError(f"{which} is nested too deeply to be read") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{which} is not valid JSON: {error}") from None
        except (ValueError, OverflowError) as error:  # a number of too many digits
            raise ValueError(f"{which}: {error}") from None
    return entries


def _own_id(entry) -> str:
    own = entry.get("id") if isinstance(entry, dict) else getattr(entry, "id", None)
    return "" if own is None else f" (id {own!s:.60})"
