"""What is behind the demo's page: reading pictures, answers, heatmaps; and the command from start to Ctrl-C."""
import io
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import keras
import matplotlib
import numpy as np
import pytest
from PIL import Image

import kerazoo.export
from kerazoo.data import read_image
from kerazoo.export import demo, verify

PHOTO = pathlib.Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
NAMES = ["zéro", "<b>one</b>", "two", "two", "four & five", "six"]


def export(model, path, **more):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "compare", lambda *_: 0.0)
        return kerazoo.export(model, path, verbose=False, **more)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Exports: "rgb" of a network with a feature map, "gray" of one without, "free" that takes images of any size."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("exports")
    layers = keras.layers
    images = keras.Input((60, 80, 3))
    x = layers.Conv2D(8, 5, strides=4, activation="relu")(layers.Rescaling(1 / 255)(images))
    rgb = keras.Model(images, layers.Dense(6)(layers.Flatten()(x)))
    gray = keras.Sequential([keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)])
    free = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalAveragePooling2D(), layers.Dense(3)])
    return {
        "rgb": export(rgb, folder / "rgb", class_names=NAMES, preprocessing={"resize": 90, "interpolation": "bicubic"}),
        "gray": export(gray, folder / "gray"),
        "free": export(free, folder / "free"),
    }


@pytest.fixture(scope="module", params=["rgb", "gray"])
def loaded(request, places):
    return demo.load(places[request.param])


@pytest.fixture(scope="module")
def rgb(places):
    return demo.load(places["rgb"])


@pytest.fixture(scope="module")
def spot(tmp_path_factory):
    """A network whose first class is brightness, and whose second is darkness."""
    images = keras.Input((32, 32, 1))
    bright = keras.layers.Conv2D(1, 4, strides=4, activation="relu", name="bright")
    score = keras.layers.Dense(2, name="score")
    model = keras.Model(images, score(keras.layers.GlobalAveragePooling2D()(bright(images))))
    bright.set_weights([np.full((4, 4, 1, 1), 1 / 4080), np.zeros(1)])
    score.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    return demo.load(export(model, tmp_path_factory.mktemp("exports") / "spot", class_names=["day", "night"]))


def noise(mode, size=(120, 100)):
    shape = (*size[::-1], len(Image.new(mode, (1, 1)).getbands()))
    pixels = np.random.default_rng(5).integers(0, 256, shape, dtype="uint8")
    return Image.fromarray(pixels.squeeze(), mode if mode in ("L", "RGB", "RGBA", "CMYK") else None)


def turned():
    image = Image.open(PHOTO)
    exif = image.getexif()
    exif[0x0112] = 6
    return image, {"format": "jpeg", "exif": exif}


def transparent_palette():
    image = noise("RGB").quantize(8)
    return image, {"format": "png", "transparency": bytes([0, 128, 255])}


PICTURES = {
    "photo": lambda: (Image.open(PHOTO), {"format": "jpeg"}),
    "turned": turned,
    "gray": lambda: (noise("L"), {"format": "png"}),
    "16 bits": lambda: (Image.fromarray(np.arange(12000, dtype="uint16").reshape(100, 120) * 5), {"format": "png"}),
    "transparent": lambda: (noise("RGBA"), {"format": "png"}),
    "palette": transparent_palette,
    "CMYK": lambda: (noise("CMYK"), {"format": "jpeg"}),
    "WebP": lambda: (noise("RGB"), {"format": "webp", "lossless": True}),
    "GIF": lambda: (noise("RGB").quantize(8), {"format": "gif"}),
    "tiny": lambda: (noise("RGB", (3, 5)), {"format": "bmp"}),
}


@pytest.mark.filterwarnings("error", "ignore:__array__ implementation:DeprecationWarning")  # the latter is Keras's
@pytest.mark.parametrize("picture", PICTURES)
def test_the_picture_shown_is_what_the_library_reads(picture, loaded, tmp_path):
    image, options = PICTURES[picture]()
    file = tmp_path / "picture"
    image.save(file, **options)
    own = loaded.preprocessing
    wanted = read_image(
        file, loaded.image_shape[2], tuple(own["size"]), resize=own["resize"], interpolation=own["interpolation"]
    )
    difference = np.abs(demo.answer(loaded, file.read_bytes()).pixels.astype(int) - wanted)
    assert difference.mean() <= 0.5


def test_an_answer_names_the_five_most_probable_classes(rgb):
    import tensorflow as tf

    data = PHOTO.read_bytes()
    best = demo.answer(rgb, data).best
    outputs = rgb.signatures["image_bytes"](image_bytes=tf.constant([data]))
    assert [name.encode() for _, name, _ in best] == list(outputs["top_k_labels"].numpy()[0])
    np.testing.assert_allclose([value for *_, value in best], outputs["top_k_probabilities"].numpy()[0], rtol=1e-5)
    assert [NAMES[index] for index, *_ in best] == [name for _, name, _ in best]
    assert len({index for index, *_ in best}) == 5


def test_of_three_classes_an_answer_names_three(places):
    assert len(demo.answer(demo.load(places["gray"]), PHOTO.read_bytes()).best) == 3


def tiff():
    file = io.BytesIO()
    noise("RGB").save(file, "tiff")
    return file.getvalue()


@pytest.mark.parametrize(
    "data, message",
    [
        (lambda: b"", r"notes cannot be read as a picture: it is empty"),
        (lambda: b"Dear diary", r"notes cannot be read as a picture: its 10 bytes .* wanted the content of a JPEG"),
        (tiff, r"notes cannot be read as a picture: its .* wanted the content of a JPEG"),
        (lambda: PHOTO.read_bytes()[:9000], r"notes cannot be read as a picture"),
    ],
    ids=["empty", "text", "tiff", "cut short"],
)
def test_what_is_no_picture_is_refused_in_a_sentence(data, message, rgb):
    with pytest.raises(ValueError, match=message) as caught:
        demo.answer(rgb, data(), "notes")
    assert "\n" not in str(caught.value)


def test_what_the_signature_alone_refuses_is_told_with_its_reason(rgb):
    file = io.BytesIO()
    noise("RGB").save(file, "webp", save_all=True, append_images=[noise("L").convert("RGB")])
    told = r"^moving\.webp cannot be read as a picture: it is an animated WebP; wanted .*\.$"
    with pytest.raises(ValueError, match=told):
        demo.answer(rgb, file.getvalue(), "moving.webp")


def corner():
    pixels = np.zeros((32, 32, 1), "uint8")
    pixels[:8, -8:] = 255
    return pixels


def test_a_heatmap_shows_where_the_class_is(spot):
    heat = demo.heatmap(spot, corner(), 0)
    assert heat.shape == (8, 8)
    np.testing.assert_allclose(heat, np.kron([[0, 0, 0, 1], [0] * 4, [0] * 4, [0] * 4], np.ones((2, 2))), atol=1e-6)


def test_an_overlay_is_yellow_where_the_class_is_and_keeps_the_picture_visible():
    pixels = np.full((28, 56, 1), 128, "uint8")
    pixels[::2] = 200
    heat = np.zeros((7, 7), "float32")
    heat[:, 5:] = 1
    shown = demo.overlay(pixels, heat).astype(int)
    assert shown.shape == (224, 448, 3)
    hot, cold = shown[4, -8], shown[4, 8]
    assert hot[0] > hot[2] + 80 and hot[1] > hot[2] + 80  # yellow
    assert cold[1] < cold[0] and cold[1] < cold[2]  # purple
    for column in (8, -8):
        assert (shown[4, column] > shown[12, column] + 20).all()  # the stripes


@pytest.mark.parametrize(
    "shape, wanted", [((224, 224, 3), (224, 224)), ((300, 400, 3), (300, 400)), ((100, 150, 3), (300, 450))]
)
def test_an_overlay_is_enlarged_by_a_whole_factor(shape, wanted):
    assert demo.overlay(np.zeros(shape, "uint8"), np.ones((3, 4), "float32")).shape == (*wanted, 3)


def test_the_page_shows_names_as_text_and_probabilities_with_one_digit(rgb):
    answered = demo.Answer(np.zeros((60, 80, 3), "uint8"), [(1, "<b>one</b>", 0.98765), (4, "four & five", 0.01)])
    shown = demo.show(rgb, answered, 1)
    assert "<b>" not in shown and shown.count("<li>") == 2
    assert re.findall(r"<span>(.*?)</span><span>(.*?)</span>", shown) == [
        ("&lt;b&gt;one&lt;/b&gt;", "98.8 %"), ("four &amp; five", "1.0 %")
    ]


def figures(shown):
    return re.findall(r'<figure class="(\w+)"><img src="data:image/png;base64,', shown)


def test_the_page_shows_the_heatmap_of_the_chosen_class_or_says_why_not(spot, places):
    answered = demo.Answer(corner(), [(0, "day", 0.6), (1, "night", 0.4)])
    day = demo.show(spot, answered, 0)
    assert figures(day) == ["seen", "overlay"] and "Where it sees &ldquo;day&rdquo;" in day
    night = demo.show(spot, answered, 1)
    assert figures(night) == ["seen"] and "Nothing in the picture speaks for &ldquo;night&rdquo;" in night
    gray = demo.load(places["gray"])
    flat = demo.show(gray, demo.answer(gray, PHOTO.read_bytes()), 0)
    assert figures(flat) == ["seen"] and "no feature map" in flat


def test_what_the_demo_cannot_show_is_refused(places, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is nothing at .*missing"):
        demo.load(tmp_path / "missing")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="is no SavedModel.*kerazoo export MODEL"):
        demo.load(tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"lacks the signature decode.*\(any, any, 3\).*preprocessing="):
        demo.load(places["free"])


def test_a_port_in_use_is_refused_and_another_named():
    with demo.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 is in use.*--port {port + 1}"):
            demo.listen("127.0.0.1", port)


@pytest.mark.parametrize("port", [-1, 65536, "7860", 1.5, True, None])
def test_a_wrong_port_is_refused(port):
    with pytest.raises(ValueError, match="port must be a whole number from 1 to 65535"):
        demo.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.1", "no.such.host.invalid", "x" * 70])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(OSError, match=f"cannot listen at port 7860 of {host}: .*--host"):
        demo.listen(host, 7860)


@pytest.mark.parametrize(
    "host, address",
    [
        ("127.0.0.1", "http://127.0.0.1:80"), ("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_address_printed_is_one_to_open(host, address):
    assert demo.address_of(host, 80) == address


def test_without_gradio_it_says_what_to_install(monkeypatch, places):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match="pip install gradio"):
        demo.serve(places["gray"])


@pytest.mark.slow
def test_the_command_prints_its_address_serves_and_ends_at_ctrl_c(places, tmp_path):
    pytest.importorskip("gradio", reason="needs Gradio: pip install gradio")
    settings = {**os.environ, "TMPDIR": str(tmp_path), "GRADIO_ANALYTICS_ENABLED": "True"}
    command = [sys.executable, "-c", WATCHED, "demo", str(places["gray"]), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings) as process:
        try:
            line = process.stdout.readline()
            said = re.fullmatch(r"Demo of gray: (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
            assert said, (line, process.stderr.read())
            # An open connection, as a browser keeps one, must not hold up the end.
            with socket.create_connection(said[1].removeprefix("http://").split(":")), \
                    urllib.request.urlopen(said[1], timeout=300) as page:
                assert b"gray - kerazoo" in page.read()
                process.send_signal(signal.SIGINT)
                rest, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert (process.returncode, rest, errors) == (0, "", "")
    assert not list(tmp_path.iterdir())


# The command, in a process that tells of each connection that it makes.
WATCHED = """
import sys
import kerazoo.cli
def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.gethostbyname"):
        print(event, arguments[1:], file=sys.stderr)
sys.addaudithook(watch)
sys.exit(kerazoo.cli.main())
"""
