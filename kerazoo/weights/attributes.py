"""String attributes of HDF5 files, read without the HDF5 library.

The library believes the length that a file gives for a string, up to 4 GB, and loops forever over an object of no size.
Both took one damaged byte. Names follow the HDF5 File Format Specification, version 3.0.
"""
import struct

from kerazoo.weights.readers import broken, refused

CONTINUATION, ATTRIBUTE = 0x10, 0x0C
MAX_MESSAGES, MAX_OBJECTS, MAX_LENGTH = 1000, 100_000, 1000


def string_attribute(data, address, wanted):
    """Read an attribute of the object whose header is at `address`; None if there is none of that name."""
    for kind, begin, end in messages(data, address):
        if kind != ATTRIBUTE:
            continue
        version, _, name_size, type_size, space_size = struct.unpack_from("<BBHHH", data, begin)
        # Version 1 fills up to eight bytes; version 3 has a byte for the encoding of the name.
        step = 8 if version == 1 else 1
        name = begin + (9 if version == 3 else 8)
        datatype = name + up(name_size, step)
        space = datatype + up(type_size, step)
        value = space + up(space_size, step)
        if version not in (1, 2, 3) or value > end:
            raise broken("an attribute in it is damaged")
        if data[name:name + name_size].rstrip(b"\0") == wanted:
            return string(data, datatype, space, value, end).decode()
    return None


def string(data, datatype, space, value, end):
    kind, detail, size = data[datatype] & 15, data[datatype + 1] & 15, struct.unpack_from("<I", data, datatype + 4)[0]
    if data[space + 1] or (kind, detail) != (9, 1) and kind != 3:
        raise refused("a name in it is no string")
    if kind == 3:
        if size > MAX_LENGTH or value + size > end:
            raise refused(f"a name in it is {size} bytes long")
        return data[value:value + size].rstrip(b"\0")
    if value + 16 > end:
        raise broken("an attribute in it is damaged")
    return heap_object(data, *struct.unpack_from("<IQI", data, value))


def heap_object(data, length, heap, wanted):
    """Read an object of a global heap, where strings of any length are kept."""
    if length > MAX_LENGTH:
        raise refused(f"a name in it is {length} bytes long")
    if heap + 16 > len(data) or data[heap:heap + 4] != b"GCOL":
        raise broken("a name in it is not where it should be")
    position, end = heap + 16, min(len(data), heap + struct.unpack_from("<Q", data, heap + 8)[0])
    for _ in range(MAX_OBJECTS):
        if position + 16 > end:
            break
        index, size = struct.unpack_from("<H6xQ", data, position)
        if index == 0:
            break
        if index == wanted and length <= size <= end - position - 16:
            return data[position + 16:position + 16 + length]
        position += 16 + up(size, 8)
    raise broken("a name in it is not where it should be")


def messages(data, address):
    """List the messages in an object's header -> kind, begin, end of each. Headers are of version 1 or 2."""
    if data[address:address + 5] == b"OHDR\x02":
        flags = data[address + 5]
        begin = address + 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
        width = 1 << (flags & 3)
        blocks = [(begin + width, int.from_bytes(data[begin:begin + width], "little"))]
        head, layout = 6 if flags & 4 else 4, "<BHB"
    elif data[address:address + 1] == b"\x01":
        blocks = [(address + 16, struct.unpack_from("<I", data, address + 8)[0])]
        flags, head, layout = None, 8, "<HHB"
    else:
        raise broken("a group in it has no header")
    count = 0
    while blocks:
        position, size = blocks.pop(0)
        end = position + size
        if end > len(data):
            raise broken("a header in it reaches behind its end")
        while position + head <= end:
            kind, length, _ = struct.unpack_from(layout, data, position)
            begin, position = position + head, position + head + length
            count += 1
            if position > end or count > MAX_MESSAGES:
                raise broken("a header in it is damaged")
            if kind == CONTINUATION:
                place, size = struct.unpack_from("<QQ", data, begin)
                # In version 2 a signature stands before, and a checksum behind.
                blocks.append((place, size) if flags is None else (place + 4, max(size - 8, 0)))
            yield kind, begin, position


def up(size, step):
    return -(-size // step) * step
