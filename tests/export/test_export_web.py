"""Pages in a real browser: the "web" export and the demo, in headless Chromium.

They need Chromium, Playwright (pip install playwright, without a browser of its own) and, for the web export, the npm
package onnxruntime-web: npm install --prefix build/node onnxruntime-web@VERSION, as converters.WEB_RUNTIME has it.
"""
import functools
import http.server
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

import keras
import matplotlib
import numpy as np
import pytest
from PIL import Image

import kerazoo.export
from kerazoo.data import read_image
from kerazoo.export import verify
from kerazoo.export.predict import Predictor

pytestmark = pytest.mark.slow

PHOTO = pathlib.Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
ROOT = pathlib.Path(kerazoo.export.__file__).parents[2]
RUNTIME = ROOT / "build" / "node" / "node_modules" / "onnxruntime-web" / "dist"
NAMES = ["zéro", "<b>one</b>", "two", "two", "four & five", "six", "seven"]


@pytest.fixture
def tab(chromium):
    """A page with an empty profile; what it asked for and what its console said are checked at the end."""
    page = chromium.new_page()
    page.set_default_timeout(300_000)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.complaints = complaints
    yield page
    page.close()
    assert requests and not [url for url in requests if not re.match(r"http://127\.0\.0\.1:|blob:|data:", url)]
    assert complaints == []


def network(shape):
    """Random weights, large enough for answers that differ."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    images = keras.Input(shape)
    x = layers.Conv2D(8, 5, strides=4, activation="relu", name="map")(layers.Rescaling(1 / 255)(images))
    wide = keras.initializers.RandomNormal(stddev=0.2)
    return keras.Model(images, layers.Dense(len(NAMES), kernel_initializer=wide)(layers.Flatten()(x)))


def export(model, path, **more):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "compare", lambda *_: 0.0)
        return kerazoo.export(model, path, class_names=NAMES, verbose=False, **more)


@pytest.fixture(scope="module")
def photo_png(tmp_path_factory):
    """The photo without the loss of JPEG, which not all decoders undo alike."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.open(PHOTO).save(path)
    return path


def python_says(path, file):
    """The pixels and the five best classes as the page would put them."""
    predictor = Predictor(path)
    own = predictor.preprocessing
    pixels = read_image(
        file, predictor.input_shape[2], tuple(own["size"]), resize=own["resize"], interpolation=own["interpolation"]
    )
    (best,) = predictor.predict(pixels[None], top=5)
    return pixels, best


def browser_says(tab):
    """The names and the percentages that a page shows."""
    rows = [row.locator("span").all_inner_texts() for row in tab.locator("li .name").all()]
    return [name for name, _ in rows], [float(percent.removesuffix(" %")) for _, percent in rows]


def check_answer(tab, best, within):
    names, percents = browser_says(tab)
    print(f"the browser shows {list(zip(names, percents))}, Python says {best}")
    assert names == [name for name, _ in best]
    np.testing.assert_allclose(percents, [100 * probability for _, probability in best], atol=within)


def status(tab, pattern):
    """Wait until the status of a page is as wanted."""
    tab.locator("[role=status]").filter(has_text=re.compile(pattern)).wait_for(state="visible")


# The web export


@pytest.fixture(scope="module")
def exported():
    """Exports to build/node's runtime, if all that it takes is here."""
    for module in ("tf2onnx", "onnx", "onnxruntime"):
        pytest.importorskip(module, reason=f"needs {module}: pip install tf2onnx onnx onnxruntime")
    if not RUNTIME.is_dir():
        pytest.skip(f"needs onnxruntime-web in {RUNTIME}: npm install --prefix build/node onnxruntime-web")
    return functools.partial(export, format="web", runtime=RUNTIME)


@pytest.fixture(scope="module")
def web(exported, tmp_path_factory):
    preprocessing = {"resize": 90, "interpolation": "bicubic"}
    return exported(network((60, 80, 3)), tmp_path_factory.mktemp("exports") / "web", preprocessing=preprocessing)


@pytest.fixture
def serve():
    """serve(folder) -> the address of a static web server."""
    servers = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    def start(folder):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def canvas(tab):
    """The pixels that the page says the network sees."""
    values = tab.evaluate(
        """() => { const seen = document.getElementById("seen");
        return Array.from(seen.getContext("2d").getImageData(0, 0, seen.width, seen.height).data); }"""
    )
    size = tab.evaluate("[seen.height, seen.width]")
    return np.array(values, "uint8").reshape(*size, 4)[..., :3]


def test_a_photo_gets_the_classes_that_python_gives_it(tab, serve, web, photo_png):
    tab.goto(serve(web))
    status(tab, "^Ready")
    tab.set_input_files("#file", PHOTO)
    status(tab, "^Most probable")
    check_answer(tab, python_says(web, PHOTO)[1], within=2)
    tab.evaluate("best.replaceChildren()")
    tab.set_input_files("#file", photo_png)
    tab.locator("li").nth(4).wait_for()
    pixels, best = python_says(web, photo_png)
    np.testing.assert_allclose(canvas(tab).astype(int), pixels, atol=1)
    check_answer(tab, best, within=0.2)
    widths = tab.locator(".track div").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")
    assert widths == sorted(widths, reverse=True) and widths[0] > widths[-1] > 0


def test_a_gray_network_with_its_largest_crop(tab, serve, exported, photo_png, tmp_path):
    path = exported(network((28, 28, 1)), tmp_path / "gray")
    shutil.copy(photo_png, path)
    tab.goto(serve(path) + "?image=photo.png")
    status(tab, "^Most probable")
    pixels, best = python_says(path, photo_png)
    np.testing.assert_allclose(canvas(tab).astype(int), pixels.repeat(3, -1), atol=1)
    check_answer(tab, best, within=0.5)


def test_what_is_no_picture_is_said_and_the_next_one_answered(tab, serve, web, tmp_path):
    (tmp_path / "fake.jpg").write_text("Dear diary")
    tab.goto(serve(web))
    for _ in range(2):
        tab.set_input_files("#file", PHOTO)
        status(tab, "^Most probable")
        assert tab.locator("#result").is_visible()
        tab.set_input_files("#file", tmp_path / "fake.jpg")
        status(tab, "cannot be read as a picture. Choose a JPEG, PNG or WebP file.")
        assert not tab.locator("#result").is_visible()


def test_a_picture_dropped_before_the_model_is_there_waits_for_it(tab, serve, web):
    model = threading.Event()

    def hold(route):
        held.append(route)
        model.set()

    held = []
    tab.route("**/model.onnx", hold)
    tab.goto(serve(web))
    status(tab, "^Loading")
    tab.wait_for_function("() => performance.getEntriesByName(new URL('model.json', location)).length")
    tab.evaluate(
        """async bytes => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
        for (const kind of ["dragenter", "dragover", "drop"])
          document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        list(PHOTO.read_bytes()),
    )
    assert tab.evaluate("file.files[0].name") == "dropped.jpg"
    assert tab.inner_text("#status").startswith("Loading")
    while not held:
        tab.wait_for_timeout(20)
    held[0].continue_()
    status(tab, "^Most probable")
    check_answer(tab, python_says(web, PHOTO)[1], within=2)


def test_a_folder_without_its_model_is_said(tab, serve, web, tmp_path):
    folder = shutil.copytree(web, tmp_path / "broken")
    (folder / "model.onnx").unlink()
    tab.goto(serve(folder))
    status(tab, "The model cannot be loaded: model.onnx: 404")
    tab.set_input_files("#file", PHOTO)
    tab.wait_for_timeout(200)
    assert "cannot be loaded" in tab.inner_text("#status")
    # Chromium's own, of the missing file.
    assert all("404" in said for said in tab.complaints)
    tab.complaints.clear()


# The demo


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    return export(network((60, 80, 3)), tmp_path_factory.mktemp("exports") / "small", preprocessing={"resize": 90})


@pytest.fixture
def demo(saved_model, tmp_path):
    pytest.importorskip("gradio", reason="needs Gradio: pip install gradio")
    command = [sys.executable, "-m", "kerazoo", "demo", str(saved_model), "--port", "0"]
    settings = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings) as process:
        try:
            process.address = re.search(r"http://\S+|$", process.stdout.readline())[0]
            assert process.address, process.stderr.read()
            yield process
        finally:
            process.kill()


def demo_says(saved_model, file):
    """The five best classes by the signature that the demo uses."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(saved_model))
    outputs = loaded.signatures["image_bytes"](image_bytes=tf.constant([file.read_bytes()]))
    names = [name.decode() for name in outputs["top_k_labels"].numpy()[0]]
    return list(zip(names, outputs["top_k_probabilities"].numpy()[0].tolist()))


def overlay(tab):
    """The overlay's picture, after it has been drawn."""
    tab.wait_for_function("() => document.querySelector('.overlay img')?.naturalWidth")
    return tab.get_attribute(".overlay img", "src")


def test_the_demo_shows_classes_and_heatmaps_until_ctrl_c(tab, demo, saved_model, tmp_path):
    tab.goto(demo.address)
    (tmp_path / "notes.txt").write_text("Dear diary")
    tab.set_input_files("input[type=file]", tmp_path / "notes.txt")
    status(tab, r"^notes\.txt cannot be read as a picture: its 10 bytes do not begin as an image does")
    assert tab.locator("img:visible").count() == 0

    tab.set_input_files("input[type=file]", PHOTO)
    best = demo_says(saved_model, PHOTO)
    status(tab, f"^grace_hopper.jpg: {re.escape(best[0][0])}$")
    check_answer(tab, best, within=0.06)
    first = overlay(tab)
    assert tab.inner_text(".overlay figcaption") == f"Where it sees “{best[0][0]}” (Grad-CAM)"
    # The network sees 60 x 80 pixels, which the overlay shows four times as large.
    assert tab.evaluate("[...document.querySelectorAll('figure img')].map(i => [i.naturalHeight, i.naturalWidth])") == [
        [60, 80], [240, 320]
    ]

    # Ready for the next picture.
    tab.get_by_text("Click to Upload").wait_for()

    choices = tab.get_by_role("radio")
    assert [choice.locator("xpath=..").inner_text().strip() for choice in choices.all()] == [name for name, _ in best]
    choices.nth(1).check()
    tab.locator(".overlay figcaption", has_text=f"“{best[1][0]}”").wait_for()
    assert overlay(tab) != first

    (tmp_path / "notes.txt").unlink()
    (folder,) = tmp_path.iterdir()
    assert not [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]
    demo.send_signal(signal.SIGINT)
    rest, errors = demo.communicate(timeout=300)
    assert (demo.returncode, rest, errors) == (0, "", "")
    assert not list(tmp_path.iterdir())
