"""Encoded images inside the graph: the pixels that Python reads from the same files, and errors that name the image."""
import io
import pickle
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerazoo.data.images import read_image
from kerazoo.export.encoded import Preprocessing, decode_batch

ORIENTATION = 0x112
IMAGENET = Preprocessing((60, 52), resize=64)
WIDE = Preprocessing((40, 90))
AS_IT_IS = Preprocessing((101, 120), interpolation="bicubic")
FUNCTIONS = {}


@pytest.fixture(autouse=True)
def fresh_settings():
    """Not the one of all tests: setting TensorFlow's seed makes every function start anew, which takes seconds here."""


def decode(strings, channels=3, preprocessing=IMAGENET):
    """As a server does it, in a graph traced once."""
    key = channels, preprocessing
    if key not in FUNCTIONS:
        spec = tf.TensorSpec([None], tf.string)
        FUNCTIONS[key] = tf.function(lambda strings: decode_batch(strings, *key), input_signature=[spec])
    return FUNCTIONS[key](tf.constant(strings, tf.string)).numpy()


def read(string, folder, channels=3, preprocessing=IMAGENET):
    path = folder / "image"
    path.write_bytes(string)
    return read_image(
        path, channels, preprocessing.size, resize=preprocessing.resize, interpolation=preprocessing.interpolation
    )


def message(strings):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decode(strings)
    return str(caught.value)


# Images


def picture(width=120, height=101, seed=0):
    """Smooth, colored, and not alike in any two corners; alpha as well."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 9, 4), dtype="uint8")
    return Image.fromarray(small, "RGBA").resize((width, height), Image.Resampling.BICUBIC)


RGBA = picture()
RGB = RGBA.convert("RGB")
GRAY = RGB.convert("L")
PALETTE = RGB.quantize(50)
PIXELS = np.asarray(RGB)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation, endian="<"):
    data = Image.Exif()
    data.endian = endian
    data[0x10F] = "the maker"
    data[ORIENTATION] = orientation
    return data


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels, depth, color, width=None, height=None, after=b""):
    """Rows of (height, bytes), without a filter, of any depth and kind of color; it may claim another size."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height or len(pixels), depth, color, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bmp(pixels, bits, height=None, masks=(), palette=b"", width=PIXELS.shape[1]):
    """Rows of any type; a negative `height` stores them from the top."""
    rows = b"".join(row.tobytes() + b"\0" * (-row.nbytes % 4) for row in pixels)
    extra = struct.pack(f"<{len(masks)}I", *masks) + palette
    fields = 40, width, height or len(pixels), 1, bits, 3 if masks else 0, len(rows), 0, 0, 0, 0
    header = struct.pack("<IiiHHIIiiII", *fields)
    return b"BM" + struct.pack("<IHHI", 54 + len(extra) + len(rows), 0, 0, 54 + len(extra)) + header + extra + rows


def bmp16(green_bits, **options):
    red, green, blue = np.moveaxis(PIXELS.astype("uint16"), -1, 0)
    return bmp(red >> 3 << 5 + green_bits | green >> 8 - green_bits << 5 | blue >> 3, 16, **options)


def bmp4():
    indices = np.asarray(RGB.quantize(16))
    palette = np.pad(np.reshape(RGB.quantize(16).getpalette(), (-1, 3))[:, ::-1], [[0, 0], [0, 1]]).astype("uint8")
    return bmp(indices[:, ::2] << 4 | indices[:, 1::2], 4, palette=palette.tobytes())


def gif_on_canvas(string, canvas, place):
    """The same first image, elsewhere."""
    image = string.index(b"\x2c", 13 + 3 * 2 ** (string[10] % 8 + 1))
    placed = string[:image + 1] + struct.pack("<HH", *place) + string[image + 5:]
    return placed[:6] + struct.pack("<HH", *canvas) + placed[10:]


def ycck():
    """Four colors, of which three are luminance and chrominance; the segment of Adobe says so."""
    string = encode(RGB.convert("CMYK"), "JPEG", quality=95)
    place = string.index(b"Adobe")
    return string[:place + 11] + b"\x02" + string[place + 12:]


def without_adobe():
    string = encode(RGB.convert("CMYK"), "JPEG", quality=95)
    place = string.index(b"\xff\xee")
    return string[:place] + string[place + 16:]


SIXTEEN = np.random.default_rng(1).integers(0, 65536, (101, 120, 4)).astype(">u2")
NIBBLES = np.random.default_rng(2).integers(0, 256, (101, 60), dtype="uint8")
FRAMES = {"save_all": True, "append_images": [RGB.rotate(90).quantize(20), GRAY.quantize(9)], "duration": 50}
TRANSPARENT_GIF = encode(PALETTE, "GIF", transparency=7)

IMAGES = {
    "jpeg": encode(RGB, "JPEG"),
    "jpeg progressive": encode(RGB, "JPEG", progressive=True),
    "jpeg 4:4:4": encode(RGB, "JPEG", subsampling=0),
    "jpeg gray": encode(GRAY, "JPEG"),
    "jpeg cmyk": encode(RGB.convert("CMYK"), "JPEG"),
    "jpeg cmyk without adobe": without_adobe(),
    "jpeg ycck": ycck(),
    "jpeg icc": encode(RGB, "JPEG", icc_profile=b"\xff\xc0" * 70000, exif=exif(6), comment=b"\xff\xe1"),
    "png": encode(RGB, "PNG"),
    "png gray": encode(GRAY, "PNG"),
    "png black and white": encode(GRAY.convert("1"), "PNG"),
    "png 2 bits": png(NIBBLES[:, :30], 2, 0, width=120),
    "png 4 bits": png(NIBBLES, 4, 0, width=120),
    "png palette": encode(PALETTE, "PNG"),
    "png palette transparent": encode(PALETTE, "PNG", transparency=3),
    "png color transparent": encode(RGB, "PNG", transparency=RGB.getpixel((5, 5))),
    "png alpha": encode(RGBA, "PNG"),
    "png gray alpha": encode(RGBA.convert("LA"), "PNG"),
    "png 16 gray": png(SIXTEEN[..., 0], 16, 0, width=120),
    "png 16 gray alpha": png(SIXTEEN[..., :2], 16, 4, width=120),
    "png 16 rgb": png(SIXTEEN[..., :3], 16, 2, width=120),
    "png 16 rgba": png(SIXTEEN, 16, 6, width=120),
    "png exif behind": png(PIXELS, 8, 2, width=120, after=chunk(b"eXIf", exif(8).tobytes()[6:])),
    "gif": encode(PALETTE, "GIF"),
    "gif interlaced": encode(PALETTE, "GIF", interlace=1),
    "gif gray": encode(GRAY, "GIF"),
    "gif transparent": TRANSPARENT_GIF,
    "gif animated": encode(PALETTE, "GIF", **FRAMES),
    "gif smaller than its canvas": gif_on_canvas(encode(PALETTE, "GIF"), (200, 170), (30, 20)),
    "gif transparent on its canvas": gif_on_canvas(TRANSPARENT_GIF, (200, 170), (30, 20)),
    "gif beyond its canvas": gif_on_canvas(TRANSPARENT_GIF, (121, 103), (30, 20)),
    "bmp": encode(RGB, "BMP"),
    "bmp gray": encode(GRAY, "BMP"),
    "bmp black and white": encode(GRAY.convert("1"), "BMP"),
    "bmp palette": encode(PALETTE, "BMP"),
    "bmp 4 bits": bmp4(),
    "bmp 555": bmp16(5),
    "bmp 565": bmp16(6, masks=(0xF800, 0x7E0, 0x1F)),
    "bmp alpha": encode(RGBA, "BMP"),
    "bmp 32": bmp(np.asarray(RGBA), 32),
    "bmp from the top": bmp(PIXELS, 24, height=-101),
    "webp": encode(RGB, "WEBP"),
    "webp lossless": encode(RGB, "WEBP", lossless=True),
    "webp alpha": encode(RGBA, "WEBP"),
    "webp lossless alpha": encode(RGBA, "WEBP", lossless=True),
    "webp exif as in jpeg": encode(RGB, "WEBP", exif=exif(7)),
    "one pixel jpeg": encode(RGB.crop((0, 0, 1, 1)), "JPEG"),
    "one pixel png": encode(RGB.crop((0, 0, 1, 1)), "PNG"),
    "one pixel gif": encode(RGB.crop((0, 0, 1, 1)), "GIF"),
    "one pixel bmp": encode(RGB.crop((0, 0, 1, 1)), "BMP"),
    "one pixel webp": encode(RGB.crop((0, 0, 1, 1)), "WEBP"),
    "one row": encode(picture(300, 1), "PNG"),
    "one column": encode(picture(1, 300), "PNG"),
}
for orientation in range(1, 9):
    IMAGES |= {
        f"jpeg orientation {orientation} little-endian": encode(RGB, "JPEG", exif=exif(orientation)),
        f"jpeg orientation {orientation} big-endian": encode(RGB, "JPEG", exif=exif(orientation, ">")),
        f"png orientation {orientation}": encode(RGB, "PNG", exif=exif(orientation)),
        f"webp orientation {orientation}": encode(RGB, "WEBP", exif=exif(orientation).tobytes()[6:]),
    }
WHOLE = ("jpeg", "jpeg progressive", "png", "png palette", "gif", "bmp", "webp", "webp lossless", "webp alpha")


# Pixels


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_that_python_reads(name, tmp_path):
    string = IMAGES[name]
    for channels, preprocessing in [(3, IMAGENET), (1, WIDE), (3, AS_IT_IS)]:
        got = decode([string], channels, preprocessing)[0].astype(int)
        wanted = read(string, tmp_path, channels, preprocessing)
        assert got.shape == (*preprocessing.size, channels)
        difference = np.abs(got - wanted)
        assert difference.mean() <= 0.25 and difference.max() <= 2


@pytest.mark.parametrize("name", ["jpeg", "jpeg gray", "png", "png 16 gray", "gif transparent", "bmp 565"])
def test_without_resizing_pixels_are_exactly_those(name, tmp_path):
    np.testing.assert_array_equal(decode([IMAGES[name]], 3, AS_IT_IS)[0], read(IMAGES[name], tmp_path, 3, AS_IT_IS))


def test_bicubic_is_not_bilinear(tmp_path):
    string = IMAGES["png orientation 6"]
    bicubic, bilinear = (
        read(string, tmp_path, 3, preprocessing).astype(int) for preprocessing in (AS_IT_IS, Preprocessing((101, 120)))
    )
    got = decode([string], 3, AS_IT_IS)[0]
    assert np.abs(got - bicubic).mean() < 0.5 * np.abs(got - bilinear).mean()


def test_a_large_photo_becomes_small(tmp_path):
    string = encode(picture(6000, 4000).convert("RGB"), "JPEG", exif=exif(6))
    for preprocessing in (IMAGENET, AS_IT_IS):
        difference = decode([string], 3, preprocessing)[0].astype(int) - read(string, tmp_path, 3, preprocessing)
        assert np.abs(difference).mean() < 0.25


def test_halving_rounds_as_pillow_does(tmp_path):
    string = encode(picture(128, 128).convert("RGB"), "PNG")
    half = Preprocessing((64, 64))
    np.testing.assert_array_equal(decode([string], 3, half)[0], read(string, tmp_path, 3, half))


def test_a_header_without_end_is_given_up():
    # A comment of ten million blocks of one byte.
    endless = IMAGES["gif gray"][:13] + b"\0" * 768 + b"\x21\xfe" + b"\x01\x20" * 10_000_000 + b"\0,"
    begun = time.monotonic()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image 1 of 1"):
        decode([endless])
    assert time.monotonic() - begun < 120  # all of it would take five minutes and more


def test_a_batch_keeps_its_order():
    strings = list(IMAGES.values())
    together = decode(strings)
    for string, pixels in zip(strings, together, strict=True):
        np.testing.assert_array_equal(decode([string])[0], pixels)


def test_an_empty_batch_gives_an_empty_result():
    assert decode([]).shape == (0, 60, 52, 3)


def test_the_shape_is_known_before_it_runs():
    decode([])
    assert FUNCTIONS[3, IMAGENET].get_concrete_function().output_shapes == tf.TensorShape([None, 60, 52, 3])


# Errors


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_cut_short_is_named_by_its_position(name):
    good, string = IMAGES["jpeg"], IMAGES[name]
    for part in (0.1, 0.5, 0.95):
        said = message([good, good, string[:int(part * len(string))], good])
        assert "image 3 of 4 (index 2) cannot be decoded: its " in said and "damaged or cut short" in said
    assert decode([good, string]).shape == (2, 60, 52, 3)


@pytest.mark.parametrize("bad, reason", [
    (b"", "it is empty"),
    (b"cat.jpg", "its 7 bytes do not begin as an image does; wanted the content of a JPEG, PNG"),
    (b"/9j/4AAQSkZJRgABAQAAAQABAAD", "not Base64"),
    (b"RIFF\0\0\0\0WAVEfmt ", "do not begin as an image"),
    (b"\xff\xd8\xff", "its JPEG data are damaged"),
    (b"\x89PNG\r\n\x1a\n", "its PNG data are damaged"),
    (b"GIF89a", "its GIF data are damaged"),
    (b"RIFF\0\0\0\0WEBP", "its WebP data are damaged"),
    (IMAGES["bmp"][:28] + b"\x02" + IMAGES["bmp"][29:], "BMP of a rare kind"),
    (encode(RGB, "WEBP", **FRAMES), "animated WebP; wanted a still image"),
])  # fmt: skip
def test_what_is_no_image_is_refused_with_its_reason(bad, reason):
    said = message([IMAGES["jpeg"], bad])
    assert "image 2 of 2 (index 1) cannot be decoded: " in said and reason in said
    assert "image 1 of 3 (index 0)" in message([bad] * 3)


def claiming(kind, width, height):
    """An image whose header says another size than it has."""
    if kind == "png":
        return png(PIXELS, 8, 2, width, height)
    if kind == "jpeg":
        frame = IMAGES["jpeg"].index(b"\xff\xc0") + 5
        return IMAGES["jpeg"][:frame] + struct.pack(">HH", height, width) + IMAGES["jpeg"][frame + 4:]
    if kind == "gif":
        return gif_on_canvas(IMAGES["gif"], (width, height), (0, 0))
    if kind == "bmp":
        return bmp(PIXELS, 24, height, width=width)
    return IMAGES["webp lossless"][:21] + struct.pack("<I", width - 1 | height - 1 << 14) + IMAGES["webp lossless"][25:]


@pytest.mark.parametrize("kind, width, height", [
    ("png", 60000, 50000), ("png", 2**32 - 1, 2**32 - 1), ("jpeg", 60000, 50000), ("gif", 60000, 50000),
    ("bmp", 60000, 50000), ("bmp", 2**31 - 1, 2**31 - 1), ("webp", 16384, 16383),
])  # fmt: skip
def test_a_header_cannot_ask_for_gigabytes(kind, width, height):
    said = message([IMAGES["png"], claiming(kind, width, height)])
    assert f"image 2 of 2 (index 1) cannot be decoded: its header says {height} x {width} pixels" in said
    assert "at most 200 million" in said


def test_damaged_bytes_give_pixels_or_an_error():
    """Whatever a client sends, the process lives on."""
    random = np.random.default_rng(0)
    decoded = 0
    for name in [*WHOLE, "jpeg orientation 6 big-endian", "webp orientation 6", "png orientation 6", "gif animated"]:
        for _ in range(15):
            string = bytearray(IMAGES[name])
            for place in random.integers(3, random.choice([100, len(string)]), 2):
                string[place] = random.integers(0, 256)
            try:
                decoded += decode([bytes(string)]).shape == (1, 60, 52, 3)
            except tf.errors.InvalidArgumentError as error:
                assert "image 1 of 1 (index 0) cannot be decoded" in str(error)
    assert decoded > 20
    assert decode([IMAGES["jpeg"]]).any()


@pytest.mark.parametrize("arguments, error", [
    ({"size": 224}, "two positive integers"), ({"size": (224, 0)}, "two positive integers"),
    ({"size": (224, 224), "resize": 200}, "at least as many as size has"),
    ({"size": (224, 224), "resize": 256.0}, "at least as many as size has"),
    ({"size": (224, 224), "interpolation": "nearest"}, "'bilinear' or 'bicubic'; got 'nearest'"),
])  # fmt: skip
def test_a_preprocessing_that_cannot_be(arguments, error):
    with pytest.raises(ValueError, match=error):
        Preprocessing(**arguments)


def test_arguments_of_the_wrong_kind():
    with pytest.raises(ValueError, match="channels must be 1 .* got 4"):
        decode_batch(tf.constant([b""]), 4, IMAGENET)
    with pytest.raises(ValueError, match="tf.string tensor of shape .* got string of shape \\(\\)"):
        decode_batch(tf.constant(b""), 3, IMAGENET)
    with pytest.raises(ValueError, match="got uint8 of shape"):
        decode_batch(tf.zeros([1], tf.uint8), 3, IMAGENET)
    with pytest.raises(TypeError, match="got \\(224, 224\\)"):
        decode_batch(tf.constant([b""]), 3, (224, 224))


# Served

CLIENT = """
import pickle, sys, threading
for name in ("kerazoo", "keras", "PIL"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
serve = tf.saved_model.load(folder + "/model").signatures["image_bytes"]
good, bad, wanted = pickle.loads(open(folder + "/images", "rb").read())
problems = []
serve(images=tf.constant(good))

def client(number):
    for call in range(2):
        if (number + call) % 3:
            pixels = serve(images=tf.constant(good))["pixels"].numpy()
            if not np.array_equal(pixels, wanted):
                problems.append("other pixels")
        else:
            try:
                serve(images=tf.constant(bad))
                problems.append("no error")
            except tf.errors.InvalidArgumentError as error:
                if "image 2 of 3 (index 1) cannot be decoded" not in str(error):
                    problems.append(str(error))

threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(120)
    if thread.is_alive():
        problems.append("hangs")
        break
print(problems or "all served")
"""


def test_a_saved_model_serves_many_at_once_without_kerazoo(tmp_path, run_python):
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="images")
    module.serve = tf.function(lambda images: {"pixels": decode_batch(images, 3, IMAGENET)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"image_bytes": module.serve})
    good = [IMAGES[name] for name in ("jpeg", "png 16 gray", "gif transparent", "bmp palette", "webp orientation 5")]
    bad = [IMAGES["jpeg"], IMAGES["png"][:-400], IMAGES["png"]]
    (tmp_path / "images").write_bytes(pickle.dumps((good, bad, decode(good))))
    assert run_python(CLIENT, tmp_path).stdout.strip() == "all served"
