"""The list of a zip file, checked as a whole before anything is taken out; nothing is ever written to disk."""
import struct
import zlib
from typing import NamedTuple

from kerazoo.weights.readers import broken, inflated_limit, quote, refused

MAX_ENTRIES = 20_000


class Entry(NamedTuple):
    name: str
    begin: int
    stored: int
    size: int
    crc: int
    deflated: bool


class Archive:
    """The entries of a zip file: `archive[name]` is the content, a view of the file where it is not compressed.

    Attributes:
        entries: {name: Entry}.
    """

    def __init__(self, data):
        self.data, self.entries, self.inflated = data, {}, 0
        count, position, end = directory(data)
        for _ in range(count):
            entry, position = read_entry(data, position, end)
            if entry.name in self.entries:
                raise broken(f"entry {quote(entry.name)} is there twice")
            self.entries[entry.name] = entry
        behind = 0
        for entry in sorted(self.entries.values(), key=lambda entry: entry.begin):
            if entry.begin < behind:
                raise broken(f"entry {quote(entry.name)} overlaps another")
            behind = entry.begin + entry.stored

    def __getitem__(self, name):
        if name not in self.entries:
            raise broken(f"entry {quote(name)} is missing")
        entry = self.entries[name]
        content = memoryview(self.data)[entry.begin:entry.begin + entry.stored]
        if entry.deflated:
            self.inflated += entry.size
            if self.inflated > inflated_limit(len(self.data)):
                raise refused(f"with entry {quote(name)} it unpacks to {self.inflated} bytes, too much for its size")
            content = memoryview(zlib.decompressobj(-15).decompress(content, entry.size + 1))
            if len(content) != entry.size:
                raise broken(f"entry {quote(name)} does not unpack to {entry.size} bytes")
        # PyTorch can be told not to compute checksums, and writes zeros then.
        if entry.crc and zlib.crc32(content) != entry.crc:
            raise broken(f"the checksum of entry {quote(name)} is wrong")
        return content


def directory(data):
    """Find the central directory -> number of entries, begin, end. It stands at the end, before a comment."""
    last = data.rfind(b"PK\x05\x06", max(0, len(data) - 65557))
    if last < 0 or last + 22 > len(data):
        raise broken("its list of entries is missing, as at the end of an interrupted download")
    count, size, begin = struct.unpack_from("<HII", data, last + 10)
    if data[max(0, last - 20):last - 16] == b"PK\x06\x07":
        big, = struct.unpack_from("<Q", data, last - 12)
        if big + 56 > last or data[big:big + 4] != b"PK\x06\x06":
            raise broken("its list of entries is damaged")
        count, size, begin = struct.unpack_from("<QQQ", data, big + 32)
    if count > MAX_ENTRIES:
        raise refused(f"it has {count} entries; the limit is {MAX_ENTRIES}")
    if begin + size > last:
        raise broken("its list of entries reaches behind its end")
    return count, begin, begin + size


def read_entry(data, position, end):
    """Read one line of the central directory -> Entry, position of the next."""
    if position + 46 > end or data[position:position + 4] != b"PK\x01\x02":
        raise broken("its list of entries is damaged")
    flags, method, crc, stored, size = struct.unpack_from("<HH4xIII", data, position + 8)
    name_size, extra_size, comment_size = struct.unpack_from("<HHH", data, position + 28)
    begin, = struct.unpack_from("<I", data, position + 42)
    extra = position + 46 + name_size
    behind = extra + extra_size + comment_size
    if behind > end:
        raise broken("its list of entries is damaged")
    raw_name = data[position + 46:extra]
    size, stored, begin = wide(data[extra:extra + extra_size], size, stored, begin)
    name = raw_name.decode()
    if not name.isprintable() or name[:1] in ("", "/") or "\\" in name or ".." in name.split("/"):
        raise refused(f"it has an entry called {quote(name)}")
    if flags & 1 or method not in (0, 8):
        raise refused(f"entry {quote(name)} is encrypted or packed with an unknown method")
    if data[begin:begin + 4] != b"PK\x03\x04" or data[begin + 30:begin + 30 + name_size] != raw_name:
        raise broken(f"entry {quote(name)} is not where the list says")
    start = begin + 30 + sum(struct.unpack_from("<HH", data, begin + 26))
    if start + stored > len(data) or (method == 0 and stored != size):
        raise broken(f"entry {quote(name)} has another size than the list says")
    return Entry(name, start, stored, size, crc, method == 8), behind


def wide(extra, *values):
    """Replace values of all ones by those of 8 bytes that a large file keeps behind the name."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            large = [value for value, in struct.iter_unpack("<Q", extra[position + 4:position + 4 + length // 8 * 8])]
            return [large.pop(0) if value == 0xFFFFFFFF and large else value for value in values]
        position += 4 + length
    return values
