"""A page on this machine to try a SavedModel on: `kerazoo demo SAVED_MODEL`. It needs TensorFlow and Gradio alone."""
import base64
import contextlib
import dataclasses
import errno
import html
import io
import os
import pathlib
import re
import socket
import tempfile
import webbrowser

import numpy as np

from kerazoo.export import runtimes

TOP = 5
# Pixels of the shorter side that a smaller picture is enlarged to, so that a heatmap over it is not made of blocks.
SHOWN = 224
STYLE = """
.prose h1 { font-weight: 600; }
.kerazoo-result { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.kerazoo-result figure { margin: 0; width: 16rem; }
.kerazoo-result img { width: 100%; height: auto; border-radius: .25rem; image-rendering: pixelated; }
.kerazoo-result figcaption { margin-top: .25rem; font-size: .875rem; overflow-wrap: anywhere; }
.kerazoo-result .scale { height: .5rem; border-radius: .25rem; margin-top: .25rem; }
.kerazoo-result ol { flex: 1 1 16rem; list-style: none; margin: 0; padding: 0; }
.kerazoo-result li { margin: 0 0 .75rem; padding: 0; overflow-wrap: anywhere; }
.kerazoo-result .name { display: flex; justify-content: space-between; gap: 1rem; }
.kerazoo-result .name span:last-child { white-space: nowrap; }
.kerazoo-result .track { height: .5rem; border-radius: .25rem; background: #8883; overflow: hidden; }
.kerazoo-result .track div { height: 100%; background: #3b76ec; }
"""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says of one picture.

    Attributes:
        pixels: uint8 (height, width, channels), what the network sees.
        best: the most probable classes, [(index, name, probability)], the most probable first.
    """

    pixels: np.ndarray
    best: list


def serve(saved_model, host="127.0.0.1", port=7860, open_browser=False):
    """Serve a page where one drops a picture and sees its most probable classes, until Ctrl-C.

    It shows the five most probable classes and, beside the part of the picture that the network sees, a heatmap of
    where it sees one of them (Grad-CAM). A picture's file is deleted as soon as it has been read; nothing is
    loaded from the net, nor sent there.

    Args:
        saved_model: the folder of a SavedModel that `kerazoo.export` wrote.
        host: the address of this machine to listen at; "0.0.0.0" lets other machines in.
        port: 1 to 65535, or 0 for any free one.
        open_browser: whether to open the page in the default browser.

    Raises:
        FileNotFoundError: if nothing is at `saved_model`.
        ValueError: if what is there is no SavedModel of kerazoo's, or one that does not read image files, or `port` is
            no port.
        OSError: if the port is in use, or `host` is not of this machine.
        ImportError: if Gradio or TensorFlow is not installed.

    Example:
        >>> serve("saved_models/resnet18")
        Demo of resnet18: http://127.0.0.1:7860 (Ctrl-C ends it)
    """
    with gradio_folder():
        gradio, uvicorn, fastapi = import_gradio()
        with listen(host, port) as listener:
            loaded = load(saved_model)
            name = pathlib.Path(saved_model).expanduser().resolve().name
            app = gradio.mount_gradio_app(
                fastapi.FastAPI(), make_page(gradio, loaded, name), "/", css=STYLE, footer_links=[], run_history=False,
                theme=gradio.themes.Default(primary_hue="blue"), ssr_mode=False, pwa=False, max_file_size="200mb",
            )
            address = address_of(host, listener.getsockname()[1])
            print(f"Demo of {name}: {address} (Ctrl-C ends it)", flush=True)
            if open_browser:
                webbrowser.open(address)
            # Pages that stay open hold connections; nobody waits for those at the end.
            config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def gradio_folder():
    """A folder of its own for Gradio, which would leave pictures in the machine's temporary folder."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="kerazoo-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield
        finally:
            os.environ.pop("GRADIO_TEMP_DIR")
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def import_gradio():
    # Before the import, which may already call home.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import fastapi
        import gradio
        import uvicorn
    except ImportError as error:
        raise ImportError(
            "the demo needs Gradio, which cannot be imported here. Install it with: pip install gradio"
        ) from error
    return gradio, uvicorn, fastapi


def listen(host, port):
    """A socket that listens at an address; clients wait in its queue until the page is ready."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(f"port must be a whole number from 1 to 65535, or 0 for any free one; got {port!r}.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            what = f"port {port} of {host} is in use. End the program that uses it, or choose another port: --port"
            raise OSError(f"{what} {port + 1 if port < 65535 else port - 1}.") from error
        reason = getattr(error, "strerror", None) or "no such host"
        raise OSError(
            f"cannot listen at port {port} of {host}: {reason}. Choose another --port, from 1024 on, or an address of "
            "this machine as --host, such as 127.0.0.1."
        ) from error


def address_of(host, port):
    """Where a browser on this machine finds the page."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def load(saved_model):
    """Load a SavedModel that reads image files."""
    path = pathlib.Path(saved_model).expanduser()
    if path.exists() and runtimes.recognize(path) != "tf_saved_model":
        raise ValueError(f"{path} is no SavedModel, and the demo takes no other format. Name one, or export the model "
                         "as one: kerazoo export MODEL.")
    with runtimes.quiet():
        loaded = runtimes.load(path)
    if "decode" not in loaded.signatures:
        raise ValueError(
            f"the SavedModel {path} does not read image files: it lacks the signature decode. It takes images of "
            f"shape ({', '.join(str(side or 'any') for side in loaded.image_shape)}); wanted are 1 or 3 channels, and "
            "where a side may have any size, preprocessing={'size': (height, width)} at its export (kerazoo export "
            "--size)."
        )
    warm_up(loaded)
    return loaded


def warm_up(loaded):
    """What TensorFlow does, and says, at the first picture, which nobody then waits for."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", tuple(loaded.preprocessing["size"][::-1])).save(file, "png")
    with runtimes.quiet():
        answered = answer(loaded, file.getvalue())
        heatmap(loaded, answered.pixels, answered.best[0][0])


def answer(loaded, data, name="the file"):
    """Classify a picture.

    Args:
        loaded: what `load` returned.
        data: the bytes of an image file.
        name: what to call it in an error.

    Returns:
        An `Answer`.

    Raises:
        ValueError: if it is not an image.

    Example:
        >>> answer(load("saved_models/resnet18"), pathlib.Path("fish.jpg").read_bytes()).best[0]
        (0, 'tench', 0.98)
    """
    import tensorflow as tf

    try:
        images = loaded.signatures["decode"](image_bytes=tf.constant([data]))["images"]
    except tf.errors.InvalidArgumentError as error:
        reason = re.search(r"cannot be decoded: ([^\]]*)", str(error))
        raise ValueError(f"{name} cannot be read as a picture: {reason[1] if reason else 'it is damaged.'}") from None
    probabilities = loaded.signatures["serving_uint8"](images=images)["probabilities"].numpy()[0]
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    best = [(int(index), loaded.class_names[index], float(probabilities[index])) for index in order]
    return Answer(images.numpy()[0], best)


def heatmap(loaded, pixels, index):
    """Where the network sees a class, float32 (rows, columns) in 0..1; None for a model that cannot tell."""
    import tensorflow as tf

    if "grad_cam" not in loaded.signatures:
        return None
    images = tf.constant(pixels[None], tf.float32)
    return loaded.signatures["grad_cam"](images=images, classes=tf.constant([index]))["heatmap"].numpy()[0]


def overlay(pixels, heat):
    """A heatmap over a picture.

    Args:
        pixels: uint8 (height, width, channels) with 1 or 3 channels.
        heat: float32 (rows, columns) in 0..1.

    Returns:
        uint8 (height, width, 3), enlarged by a whole factor if it was small.

    Example:
        >>> overlay(answered.pixels, heatmap(loaded, answered.pixels, index=0)).shape
        (224, 224, 3)
    """
    from matplotlib import colormaps
    from PIL import Image

    times = max(1, -(-SHOWN // min(pixels.shape[:2])))
    gray = Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels).convert("L")
    gray = np.asarray(gray, "float32").repeat(times, 0).repeat(times, 1)[..., None] / 255
    smooth = Image.fromarray(heat.astype("float32")).resize(gray.shape[1::-1], Image.Resampling.BICUBIC)
    colors = colormaps["viridis"](np.clip(np.asarray(smooth), 0, 1))[..., :3]
    # The picture gives the light and shade, the heat the color; neither hides the other.
    return np.rint(255 * (0.4 * gray + 0.6 * colors)).astype("uint8")


def show(loaded, answered, index):
    """HTML of the picture, the heatmap of the class `index`, and the bars of all."""
    name = next(name for number, name, _ in answered.best if number == index)
    figures = [figure("seen", answered.pixels, "What the network sees")]
    heat = heatmap(loaded, answered.pixels, index)
    if heat is None:
        note = "<p>This model has no feature map, so there is no heatmap of where it sees a class.</p>"
    elif not heat.any():
        note = f"<p>Nothing in the picture speaks for {quoted(name)}: its heatmap is empty.</p>"
    else:
        note = ""
        caption = f"Where it sees {quoted(name)} (Grad-CAM)"
        figures.append(figure("overlay", overlay(answered.pixels, heat), caption, scale()))
    bars = "".join(bar(name, probability) for _, name, probability in answered.best)
    best = f'<ol aria-label="The most probable classes">{bars}</ol>'
    return f'<div class="kerazoo-result">{"".join(figures)}{best}</div>{note}'


def figure(kind, pixels, caption, below=""):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels).save(file, "png")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    image = f'<img src="{source}" alt="{caption}">'
    return f'<figure class="{kind}">{image}<figcaption>{caption}</figcaption>{below}</figure>'


def scale():
    """The colors of a heatmap, from nothing to most."""
    from matplotlib import colormaps, colors

    stops = ", ".join(colors.to_hex(colormaps["viridis"](place)) for place in np.linspace(0, 1, 9))
    return f'<div class="scale" style="background: linear-gradient(to right, {stops})" aria-hidden="true"></div>'


def bar(name, probability):
    percent = f"{100 * probability:.1f}"
    return (
        f'<li><div class="name"><span>{html.escape(name)}</span><span>{percent} %</span></div>'
        f'<div class="track" aria-hidden="true"><div style="width: {percent}%"></div></div></li>'
    )


def quoted(name):
    return f"&ldquo;{html.escape(name)}&rdquo;"


def make_page(gradio, loaded, name):
    def tell(sentence):
        return f'<p role="status">{html.escape(sentence)}</p>'

    def classify(path):
        file = pathlib.Path(path)
        try:
            answered = answer(loaded, file.read_bytes(), file.name)
        except ValueError as error:
            return None, tell(str(error)), gradio.update(visible=False), gradio.update(visible=False), None
        finally:
            file.unlink(missing_ok=True)
        index = answered.best[0][0]
        choices = [(name, index) for index, name, _ in answered.best]
        shown = gradio.update(value=show(loaded, answered, index), visible=True)
        choice = gradio.update(choices=choices, value=index, visible="grad_cam" in loaded.signatures)
        return None, tell(f"{file.name}: {answered.best[0][1]}"), shown, choice, answered

    def choose(answered, index):
        return show(loaded, answered, index) if answered else ""

    with gradio.Blocks(title=f"{name} - kerazoo", analytics_enabled=False) as page:
        gradio.HTML(f"<h1>What is in the picture?</h1><p>{html.escape(name)}, {len(loaded.class_names)} classes.</p>")
        dropped = gradio.File(label="Picture", height=160)
        status = gradio.HTML(tell("Choose a picture, or drop one. It is not stored."))
        result = gradio.HTML(visible=False)
        choice = gradio.Radio(label="Show where it sees", visible=False)
        answered = gradio.State()
        dropped.upload(
            classify, dropped, [dropped, status, result, choice, answered], api_visibility="private",
            show_progress="minimal",
        )
        choice.input(choose, [answered, choice], result, api_visibility="private", show_progress="minimal")
    return page
