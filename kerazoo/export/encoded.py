"""Encoded images to pixels, in the TensorFlow graph: a server decodes JPEG, PNG, GIF, BMP and WebP as training does.

Pillow, as `kerazoo.data.images.read_image` uses it, is the reference. TensorFlow's decoders differ from it in what they
make of EXIF orientation, 16 bits, palettes, transparency and partial frames, and not all can be trusted with whatever a
client sends. So the header is read here first, and only then does a decoder see the bytes.
"""
import dataclasses
import numbers
import typing

import tensorflow as tf

# A few bytes of header can ask for gigabytes of memory; the largest cameras take 150 million pixels.
MOST_PIXELS = 200_000_000
# Nor does any file need as many parts before its pixels; a step through them takes tens of microseconds.
MOST_STEPS = 10_000

# The kinds of files by name, and how each begins; `kind_of` gives the index.
KINDS = ("unknown", "JPEG", "PNG", "GIF", "BMP", "WebP")
MAGIC = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF")
# Why a string is refused before a decoder sees it, for `Header.problem`.
FINE, DAMAGED, EMPTY, UNKNOWN, SIZE, ANIMATED, RARE_BMP = range(7)

# Numbers beyond the end of a string are zeros, so that reading a header never fails.
PADDING = b"\0" * 16
# Of positions and sizes: chunks of a PNG may claim 4 GB.
INT = tf.int64

# EXIF orientations 0 (none) to 8: whether rows and columns are swapped, then left and right, then top and bottom.
SWAPPED = (False, False, False, False, False, True, True, True, True)
MIRRORED = (False, False, True, True, False, False, True, True, False)
TURNED_OVER = (False, False, False, True, True, False, False, True, True)

# In a BMP, where the bits of red, green and blue are: six of green or five; any of four bytes.
MASKS_16 = ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F))
MASKS_32 = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)

# Of red, green and blue in gray (ITU-R 601), in 65536ths, as Pillow rounds them.
GRAY = (19595, 38470, 7471)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image of any size becomes the pixels of a network, as in `kerazoo.data.images.read_image`.

    Args:
        size: (height, width) of the result, in pixels.
        resize: make the shorter side so many pixels first and then crop `size` out of the middle; at least as large as
            `size`. None: the crop is as large as fits, then resized.
        interpolation: "bilinear" or "bicubic"; both antialiased.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> Preprocessing((224, 224), resize=256)  # most of ImageNet's published accuracies
        Preprocessing(size=(224, 224), resize=256, interpolation='bilinear')
    """

    size: tuple[int, int]
    resize: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self):
        if not (isinstance(self.size, tuple) and len(self.size) == 2 and all(map(is_positive, self.size))):
            raise ValueError(f"size must be (height, width), two positive integers of pixels; got {self.size!r}.")
        if self.resize is not None and not (is_positive(self.resize) and self.resize >= max(self.size)):
            raise ValueError(
                "resize must be None or the pixels of the shorter side, at least as many as size has; got "
                f"{self.resize!r} with size={self.size!r}."
            )
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(f"interpolation must be 'bilinear' or 'bicubic'; got {self.interpolation!r}.")


def is_positive(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value > 0


@tf.autograph.experimental.do_not_convert
def decode_batch(strings, channels, preprocessing):
    """Decode, turn upright, resize and crop a batch of encoded images, inside a `tf.function`.

    The images may differ in format and size: JPEG, PNG, BMP, the first frame of a GIF, WebP without animation. They are
    converted to gray or RGB, transparency is dropped, EXIF orientation (of JPEG, PNG and WebP) is honored. They are
    decoded in parallel, and without Python, so that a SavedModel can hold it.

    Args:
        strings: the contents of image files, a tf.string tensor of shape (batch,); the batch may be empty.
        channels: 1 (gray) or 3 (RGB), of the result.
        preprocessing: a `Preprocessing`.

    Returns:
        uint8 pixels (batch, height, width, channels), values 0 to 255.

    Raises:
        TypeError, ValueError: if the arguments are not as above.
        tf.errors.InvalidArgumentError: when it runs, if an image cannot be decoded or has more than 200 million
            pixels; the message names the position of the first such image.

    Example:
        >>> @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        ... def pixels(strings):
        ...     return decode_batch(strings, 3, Preprocessing((224, 224), resize=256))
        >>> pixels([pathlib.Path("cat.jpg").read_bytes()]).shape
        TensorShape([1, 224, 224, 3])
    """
    if not isinstance(preprocessing, Preprocessing):
        raise TypeError(f"preprocessing must be a Preprocessing; got {preprocessing!r}.")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (gray) or 3 (RGB); got {channels!r}.")
    strings = tf.convert_to_tensor(strings)
    if strings.dtype != tf.string or strings.shape.rank != 1:
        raise ValueError(
            "strings must be the contents of image files, a tf.string tensor of shape (batch,); got "
            f"{strings.dtype.name} of shape {strings.shape}."
        )
    shape = (*preprocessing.size, channels)
    with tf.device("CPU:0"):  # nearly all of it runs on no other device, and the many small steps would suffer there
        count = tf.size(strings, out_type=INT)
        positions, headers, images = decode_all(strings, count, shape, preprocessing)
        fine = (tf.size(positions, out_type=INT) == count + 1) & tf.reduce_all(headers[:, -1] == FINE)
        images = tf.cond(fine, lambda: images[:count], lambda: refuse(strings, positions, headers, shape))
    return tf.ensure_shape(images, (*strings.shape, *shape))


def decode_all(strings, count, shape, preprocessing):
    """Positions, headers and pixels of all images whose decoder did not fail, and a blank one behind them, at `count`.

    A dataset is the one place in a graph where a step that fails need not end all others.
    """

    def decode(position, string):
        header, pixels = decode_one(string, shape[2], preprocessing)
        return position, header, pixels

    images = tf.data.Dataset.from_tensor_slices((tf.range(count), strings))
    images = images.map(decode, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    # Without the blank one there might be none, and nothing to make a batch of.
    blank = tf.data.Dataset.from_tensors((count, tf.stack(Header.of()), tf.zeros(shape, tf.uint8)))
    # Optimizing a dataset that lives for one call takes longer than it could save.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return images.concatenate(blank).batch(count + 1).with_options(options).get_single_element()


def refuse(strings, positions, headers, shape):
    """Raise for the first image with a problem, or which is missing."""
    count = tf.size(strings, out_type=INT)
    missing = tf.tile(tf.stack(Header.of(problem=DAMAGED))[None], [count + 1, 1])
    headers = tf.tensor_scatter_nd_update(missing, positions[:, None], headers)
    first = tf.argmax(tf.cast(headers[:, -1] != FINE, tf.int32))
    message = tf.strings.join([
        "image ", tf.as_string(first + 1), " of ", tf.as_string(count), " (index ", tf.as_string(first),
        ") cannot be decoded: ", reason(strings[first], headers[first]),
    ])  # fmt: skip
    with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
        return tf.zeros((0, *shape), tf.uint8)


def reason(string, header):
    """A sentence about a string that was not decoded."""
    header = Header(*tf.unstack(header))
    damaged = ["its ", tf.gather(KINDS, kind_of(Bytes(string))), " data are damaged or cut short."]
    empty = ["it is empty; wanted the content of an image file."]
    unknown = [
        "its ", tf.as_string(tf.strings.length(string)), " bytes do not begin as an image does; wanted the content of "
        "a JPEG, PNG, GIF, BMP or WebP file (not its path, and not Base64).",
    ]  # fmt: skip
    size = [
        "its header says ", tf.as_string(header.height), " x ", tf.as_string(header.width), " pixels (height x width); "
        f"wanted at least one and at most {MOST_PIXELS // 10**6} million.",
    ]  # fmt: skip
    animated = ["it is an animated WebP; wanted a still image."]
    rare_bmp = ["it is a BMP of a rare kind; wanted uncompressed pixels of 1, 4, 8, 16, 24 or 32 bits."]
    reasons = damaged, damaged, empty, unknown, size, animated, rare_bmp
    return tf.stack([tf.strings.join(parts) for parts in reasons])[header.problem]


def decode_one(string, channels, preprocessing):
    """The header of one image, and its pixels; blank ones if the header has a problem."""
    data = Bytes(string)
    kind = kind_of(data)
    header = read_header(data, kind)
    decoders = (decode_jpeg, decode_png, decode_gif, decode_bmp, decode_webp)
    decode = [
        lambda: tf.zeros((1, 1, 3), tf.uint8),
        *(lambda decoder=decoder: decoder(data, header) for decoder in decoders),
    ]
    pixels = tf.switch_case(tf.cast(tf.where(header.problem == FINE, kind, 0), tf.int32), decode)
    orientation = tf.cond(header.tiff > 0, lambda: read_orientation(data, header.tiff), lambda: tf.constant(0, INT))
    pixels = fit(tf.ensure_shape(pixels, (None, None, 3)), orientation, channels, preprocessing)
    return tf.stack(header), pixels


# Reading headers


class Bytes:
    """The bytes of a string, and unsigned integers out of them."""

    def __init__(self, string):
        self.string = string
        self.size = tf.cast(tf.strings.length(string), INT)
        self.padded = tf.strings.join([string, PADDING])
        self.values = tf.io.decode_raw(self.padded, tf.uint8)

    def slice(self, start, length):
        return tf.slice(self.values, [tf.clip_by_value(tf.cast(start, INT), 0, self.size)], [length])

    def numbers(self, start, count, size, little=False):
        """A list of integers of `size` bytes each; `little` is whether the lowest comes first, a bool or a tensor."""
        weights = tf.constant([256**power for power in range(size)], INT)
        weights = tf.where(little, weights, tf.reverse(weights, [0]))
        values = tf.reshape(tf.cast(self.slice(start, count * size), INT), (count, size))
        return tf.unstack(tf.reduce_sum(values * weights, axis=1))

    def byte(self, start):
        return tf.cast(self.slice(start, 1)[0], INT)

    def short(self, start, little=False):
        return self.numbers(start, 1, 2, little)[0]

    def long(self, start, little=False):
        return self.numbers(start, 1, 4, little)[0]

    def text(self, start, length):
        """Bytes as a string; fewer at the end."""
        return tf.strings.substr(self.padded, tf.clip_by_value(tf.cast(start, INT), 0, self.size), length)


class Header(typing.NamedTuple):
    """What is known before decoding, int64 tensors."""

    height: tf.Tensor  # before it is turned upright
    width: tf.Tensor
    tiff: tf.Tensor  # where the EXIF data begin; 0: none
    special: tf.Tensor  # what the decoder of this kind wants to know
    problem: tf.Tensor  # the last, so that headers[:, -1] are the problems

    @classmethod
    def of(cls, height=0, width=0, tiff=0, special=0, problem=FINE):
        return cls(*(tf.cast(value, INT) for value in (height, width, tiff, special, problem)))


def kind_of(data):
    """The index in KINDS."""
    begins = [tf.strings.substr(data.padded, 0, len(magic)) == magic for magic in MAGIC]
    begins[KINDS.index("WebP")] &= data.text(8, 4) == b"WEBP"
    # The last that fits: all begin as "unknown" does.
    return tf.reduce_max(tf.where(tf.stack(begins), tf.range(len(KINDS), dtype=INT), 0))


def read_header(data, kind):
    """The `Header` of any bytes; it does not fail."""

    def unknown():
        return Header.of(problem=tf.where(data.size == 0, EMPTY, UNKNOWN))

    readers = (read_jpeg, read_png, read_gif, read_bmp, read_webp)
    read = [unknown, *(lambda reader=reader: Header.of(*reader(data)) for reader in readers)]
    header = tf.switch_case(tf.cast(kind, tf.int32), read)
    too_large = (header.problem == FINE) & ~affordable(header.height, header.width)
    return header._replace(problem=tf.where(~too_large, header.problem, SIZE))


def affordable(height, width):
    # The sides first, as their product may overflow.
    sides = (height > 0) & (height <= MOST_PIXELS) & (width > 0) & (width <= MOST_PIXELS)
    return sides & (height * width <= MOST_PIXELS)


def loop(condition, step, *start):
    """Booleans and integers, changed by `step` while `condition` holds, `MOST_STEPS` times at most."""
    start = [value if isinstance(value, bool) else tf.convert_to_tensor(value, INT) for value in start]
    return tf.while_loop(condition, step, start, maximum_iterations=MOST_STEPS)


def read_jpeg(data):
    """Special: 1 if it has four colors and does not say how they are stored."""

    def step(more, position, height, width, layers, tiff, adobe):
        _, code, *after = tf.unstack(tf.cast(data.slice(position, 10), INT))
        length, said_height, said_width = (256 * after[i] + after[i + 1] for i in (0, 3, 5))
        # Start of frame: C0 to CF without the tables (C4, CC) and the reserved C8.
        frame = (code >= 0xC0) & (code <= 0xCF) & (code != 0xC4) & (code != 0xC8) & (code != 0xCC)
        exif = (code == 0xE1) & (tiff == 0) & (data.text(position + 4, 6) == b"Exif\0\0")
        following = position + tf.where(code != 0xFF, 2 + length, 1)  # FF may fill
        return (
            # Up to the first scan (DA) or the end (D9).
            (data.byte(following) == 0xFF) & (code != 0xDA) & (code != 0xD9) & (code != 0),
            following,
            tf.where(frame, said_height, height),
            tf.where(frame, said_width, width),
            tf.where(frame, after[7], layers),
            tf.where(exif, position + 10, tiff),
            adobe | ((code == 0xEE) & (data.text(position + 4, 5) == b"Adobe")),
        )

    _, _, height, width, layers, tiff, adobe = loop(lambda more, *_: more, step, True, 2, 0, 0, 0, 0, False)
    # Without a frame there is nothing to decode, and no telling how much memory it takes.
    return height, width, tiff, (layers == 4) & ~adobe, tf.where(layers == 0, DAMAGED, FINE)


def read_png(data):
    """Special: 1 if it is gray of 16 bits."""

    def step(more, position, tiff):
        length, kind = data.numbers(position, 2, 4)
        exif = kind == int.from_bytes(b"eXIf", "big")
        tiff = tf.where(exif, position + 8, tiff)
        position = position + 12 + length
        return ~exif & (position < data.size), position, tiff

    _, _, tiff = loop(lambda more, *_: more, step, True, 8, 0)
    gray16 = (data.byte(24) == 16) & (data.byte(25) == 0)
    return data.long(20), data.long(16), tiff, gray16, tf.where(data.text(12, 4) == b"IHDR", FINE, DAMAGED)


def read_gif(data):
    """Special: where its first image begins."""
    image, _ = first_image(data)
    # The canvas grows with an image beyond it.
    height = tf.maximum(data.short(8, True), data.short(image + 3, True) + data.short(image + 7, True))
    width = tf.maximum(data.short(6, True), data.short(image + 1, True) + data.short(image + 5, True))
    return height, width, 0, image, tf.where(data.byte(image) == 0x2C, FINE, DAMAGED)


def first_image(data):
    """Where the first image of a GIF begins, and which of its colors is transparent (the first, if none)."""

    def condition(position, color):
        return (data.byte(position) == 0x21) & (position < data.size)

    def step(position, color):
        control = data.byte(position + 1) == 0xF9
        transparent = tf.where(data.byte(position + 3) % 2 == 1, data.byte(position + 6), 0)
        return after_blocks(data, position + 2), tf.where(control, transparent, color)

    return loop(condition, step, 13 + palette_bytes(data.byte(10)), 0)


def palette_bytes(flags):
    return tf.where(flags >= 0x80, 3 * tf.bitwise.left_shift(tf.constant(2, INT), flags % 8), 0)


def after_blocks(data, start):
    """Where a GIF goes on behind a row of blocks, each with its length before it, the last one empty."""

    def step(position, length):
        position = position + 1 + length
        return position, data.byte(position)

    # Beyond the end of the data, lengths are zero.
    last, _ = loop(lambda position, length: length > 0, step, start, data.byte(start))
    return last + 1


def read_bmp(data):
    """Special: the number of bits of a pixel."""
    width, height = data.long(18, True), tf.abs(signed(data.long(22, True)))
    bits, compression = data.short(28, True), data.long(30, True)
    # 0: none; 3: none, and masks tell where the colors are.
    masks = tf.stack(data.numbers(54, 3, 4, True))
    masks16 = tf.reduce_any(tf.reduce_all(masks == MASKS_16, axis=1))
    masks32 = tf.reduce_all(tf.reduce_any(masks[:, None] == MASKS_32, axis=1))
    known = (data.long(14, True) >= 40) & tf.reduce_any(bits == [1, 4, 8, 16, 24, 32])
    known &= (compression == 0) | (compression == 3) & ((bits == 16) & masks16 | (bits == 32) & masks32)
    whole = data.long(10, True) + height * bmp_row(width, bits) <= data.size
    whole |= ~affordable(height, width)
    return height, width, 0, bits, tf.where(known, tf.where(whole, FINE, DAMAGED), RARE_BMP)


def signed(value):
    return tf.where(value >= 2**31, value - 2**32, value)


def bmp_row(width, bits):
    """The bytes of a row, which are multiples of four."""
    return (width * bits + 31) // 32 * 4


def read_webp(data):
    chunk = data.text(12, 4)
    extended = chunk == b"VP8X"

    def condition(position, tiff):
        return extended & (tiff == 0) & (position < data.size)

    def step(position, tiff):
        exif = data.text(position, 4) == b"EXIF"
        # Some writers begin it as in a JPEG.
        begin = position + tf.where(data.text(position + 8, 6) == b"Exif\0\0", tf.constant(14, INT), 8)
        length = data.long(position + 4, True)
        return position + 8 + length + length % 2, tf.where(exif, begin, tiff)

    _, tiff = loop(condition, step, 12, 0)
    lossless = data.long(21, True)
    # The size, less one but in the last, is at a place of its own in each of the three kinds.
    sizes = [
        (data.long(27, True) % 2**24 + 1, data.long(24, True) % 2**24 + 1),
        (lossless // 2**14 % 2**14 + 1, lossless % 2**14 + 1),
        (data.short(28, True) % 2**14, data.short(26, True) % 2**14),
    ]
    is_kind = tf.constant([b"VP8X", b"VP8L", b"VP8 "]) == chunk
    height, width = tf.unstack(tf.gather(tf.stack(sizes), tf.argmax(tf.cast(is_kind, tf.int32))))
    # TensorFlow 2.21 corrupts its memory over an animation.
    animated = extended & (data.byte(20) // 2 % 2 == 1)
    problem = tf.where(tf.reduce_any(is_kind), tf.where(animated, ANIMATED, FINE), DAMAGED)
    return height, width, tiff, 0, problem


def read_orientation(data, tiff):
    """The orientation in EXIF data, 1 to 8; 0 if there is none."""
    little = data.short(tiff) == 0x4949
    start = tiff + data.long(tiff + 4, little)
    # A directory: the number of its entries, which have 12 bytes each: tag, type, count, value.
    room = tf.maximum(data.size - start - 2, 0) // 12
    entries = tf.reshape(data.slice(start + 2, 12 * tf.minimum(data.short(start, little), room)), (-1, 12))
    entries = tf.cast(entries, INT)

    def short(column):
        low = tf.where(little, column, column + 1)
        return tf.gather(entries, low, axis=1) + 256 * tf.gather(entries, 2 * column + 1 - low, axis=1)

    # Orientation is tag 0x112, a number of 16 bits (type 3).
    values = tf.where((short(0) == 0x112) & (short(2) == 3), short(8), 0)
    orientation = tf.reduce_max(tf.concat([values, [0]], 0))
    return tf.where((orientation <= 8) & (tf.reduce_any(data.short(tiff) == [0x4949, 0x4D4D])), orientation, 0)


# Decoding: each gives (height, width, 3) uint8


def decode_jpeg(data, header):
    # Four colors are taken as Adobe stores them, inverted; where no segment says so, one is put in.
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    string = tf.cond(
        header.special == 1,
        lambda: tf.strings.join([data.text(0, 2), adobe, data.text(2, data.size)]),
        lambda: data.string,
    )
    return tf.io.decode_jpeg(string, 3, dct_method="INTEGER_ACCURATE")


def decode_png(data, header):
    def gray16():
        gray = tf.cast(tf.io.decode_png(data.string, 1, tf.uint16), tf.int32)
        return tf.repeat(tf.cast((2 * gray + 257) // 514, tf.uint8), 3, axis=-1)

    return tf.cond(header.special == 1, gray16, lambda: tf.io.decode_png(data.string, 3))


def decode_gif(data, header):
    """The first image, taken out of the rest, without transparency; then put on a canvas of one color."""
    image, color = first_image(data)
    common, own = palette_bytes(data.byte(10)), palette_bytes(data.byte(image + 9))
    end = after_blocks(data, image + 10 + own + 1)
    string = tf.strings.join([
        data.text(0, 6), data.text(image + 5, 4), data.text(10, 3 + common),
        b"\x2c\0\0\0\0", data.text(image + 5, end - image - 5), b";",
    ])  # fmt: skip
    with tf.control_dependencies([tf.debugging.Assert(end <= data.size, ["cut short"])]):
        pixels = tf.io.decode_gif(string)[0]
    left, top = data.short(image + 1, True), data.short(image + 3, True)
    right = header.width - left - data.short(image + 5, True)
    bottom = header.height - top - data.short(image + 7, True)
    color = data.slice(tf.where(own > 0, image + 10, 13) + 3 * color, 3)
    # Bytes that wrap around: zeros are put around the differences, and become the color.
    return tf.pad(pixels - color, [[top, bottom], [left, right], [0, 0]]) + color


def decode_bmp(data, header):
    """TensorFlow's own decoder knows no palettes, and not all orders of rows and colors."""
    height, width, bits = header.height, header.width, header.special
    row = bmp_row(width, bits)
    rows = tf.reshape(data.slice(data.long(10, True), height * row), (height, row))
    masked = data.long(30, True) == 3

    def palette():
        begin, shades = 14 + data.long(14, True), tf.bitwise.left_shift(tf.constant(1, INT), bits)
        said = data.long(46, True)
        colors = tf.where((said == 0) | (said > shades), shades, said)
        colors = tf.minimum(colors, tf.maximum(data.size - begin, 0) // 4)
        colors = tf.reshape(data.slice(begin, 4 * colors), (-1, 4))[:, 2::-1]
        shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
        indices = tf.bitwise.right_shift(rows[:, :, None], shifts)
        indices = tf.bitwise.bitwise_and(indices, tf.cast(shades - 1, tf.uint8))
        indices = tf.reshape(indices, (height, row * 8 // bits))[:, :width]
        # What is not in the palette is black.
        return tf.gather(tf.pad(colors, [[0, 256 - tf.shape(colors)[0]], [0, 0]]), tf.cast(indices, tf.int32))

    def short():
        values = tf.cast(tf.reshape(rows[:, : 2 * width], (height, width, 2)), tf.int32)
        values = values[..., 0] + 256 * values[..., 1]
        six = masked & (data.long(58, True) == MASKS_16[0][1])
        red = tf.where(six, values // 2048, values // 1024 % 32) * 255 // 31
        green = tf.where(six, values // 32 % 64 * 255 // 63, values // 32 % 32 * 255 // 31)
        return tf.cast(tf.stack([red, green, values % 32 * 255 // 31], axis=-1), tf.uint8)

    def full():
        values = tf.reshape(rows[:, : bits // 8 * width], (height, width, bits // 8))
        masks = tf.stack(data.numbers(54, 3, 4, True))
        places = tf.argmax(tf.cast(masks[:, None] == MASKS_32, tf.int32), axis=1)
        # Without masks, blue comes first.
        return tf.gather(values, tf.where(masked, places, [2, 1, 0]), axis=2)

    pixels = tf.switch_case(tf.where(bits <= 8, 0, tf.where(bits == 16, 1, 2)), [palette, short, full])
    return tf.cond(data.long(22, True) < 2**31, lambda: tf.reverse(pixels, [0]), lambda: pixels)


def decode_webp(data, header):
    return tf.io.decode_webp(data.string)[0, :, :, :3]


# Resizing


def fit(pixels, orientation, channels, preprocessing):
    """Turn upright, resize and crop, and convert to gray: uint8 (height, width, channels).

    It is resized as it was stored and turned afterwards, when there is less to turn; but gray first, as Pillow has it.
    """
    if channels == 1:
        levels = tf.reduce_sum(tf.cast(pixels, tf.int32) * GRAY, axis=-1, keepdims=True)
        pixels = tf.cast((levels + 2**15) // 2**16, tf.uint8)
    swapped, mirrored, turned_over = (tf.gather(table, orientation) for table in (SWAPPED, MIRRORED, TURNED_OVER))
    own, size = tf.shape(pixels)[:2], tf.constant(preprocessing.size)
    own = tf.where(swapped, tf.reverse(own, [0]), own)
    scale, shift = placement(tf.cast(own, tf.float64), preprocessing)
    # The axes of the upright image become those of the stored one.
    other_end = tf.cast(size, tf.float64) - tf.cast(own, tf.float64) * scale - shift
    shift = tf.where(tf.stack([turned_over, mirrored]), other_end, shift)
    size, scale, shift = (tf.where(swapped, tf.reverse(pair, [0]), pair) for pair in (size, scale, shift))

    def crop():
        start = tf.concat([-tf.cast(shift, tf.int32), [0]], 0)
        return tf.cast(tf.slice(pixels, start, tf.concat([size, [channels]], 0)), tf.float32)

    fitted = tf.cond(
        tf.reduce_all((scale == 1) & (shift == tf.round(shift))),
        crop,
        lambda: resample(pixels, size, scale, shift, preprocessing.interpolation, swapped),
    )
    fitted = tf.cast(fitted, tf.uint8)

    def turn():
        turned = tf.cond(swapped, lambda: tf.transpose(fitted, [1, 0, 2]), lambda: fitted)
        return tf.raw_ops.Reverse(tensor=turned, dims=tf.stack([turned_over, mirrored, False]))

    return tf.ensure_shape(tf.cond(orientation > 1, turn, lambda: fitted), (*preprocessing.size, channels))


def placement(own, preprocessing):
    """Scale and shift of (rows, columns), float64: where `x` in the image comes to lie, `x * scale + shift`."""
    size = tf.constant(preprocessing.size, tf.float64)
    if preprocessing.resize is None:
        scale = tf.repeat(tf.reduce_max(size / own), 2)
        return scale, (size - own * scale) / 2
    shorter = tf.reduce_min(own)
    sides = tf.where(own == shorter, tf.cast(preprocessing.resize, tf.float64), preprocessing.resize * own // shorter)
    return sides / own, -tf.round((sides - size) / 2)


def resample(pixels, size, scale, shift, interpolation, swapped):
    """Resize with any scale and shift, antialiased: float32 whole values from 0 to 255.

    `swapped` tells whether the image will be turned afterwards, so that its rows are columns.
    """
    def resized(image, size, scale, shift):
        image = tf.raw_ops.ScaleAndTranslate(
            images=image[None], size=size, scale=tf.cast(scale, tf.float32), translation=tf.cast(shift, tf.float32),
            kernel_type={"bilinear": "triangle", "bicubic": "keyscubic"}[interpolation], antialias=True,
        )[0]  # fmt: skip
        return tf.floor(tf.clip_by_value(image, 0.0, 255.0) + 0.5)

    def rows_after_columns():
        first, then = tf.where(swapped, 0, 1), tf.where(swapped, 1, 0)
        # The operation is fastest along the first axis.
        lying = tf.cond(swapped, lambda: pixels, lambda: tf.transpose(pixels, [1, 0, 2]))
        narrow = along(lying, first)
        both = along(tf.transpose(narrow, [1, 0, 2]), then)
        return tf.cond(swapped, lambda: tf.transpose(both, [1, 0, 2]), lambda: both)

    def along(image, axis):
        one = tf.ones((), scale.dtype)
        return resized(
            image, tf.stack([size[axis], tf.shape(image)[1]]), tf.stack([scale[axis], one]),
            tf.stack([shift[axis], 0 * one]),
        )

    # Pillow resizes columns first and rounds to whole levels in between. Where many values lie halfway between two
    # levels, as when halving, all of an image would come out a little darker otherwise. Images much larger than the
    # result have few such values, and two steps would take them long.
    return tf.cond(
        tf.reduce_min(scale) > 0.25, rows_after_columns, lambda: resized(pixels, size, scale, shift)
    )
