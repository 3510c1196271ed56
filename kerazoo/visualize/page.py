"""The HTML that a report is made of; it loads nothing and runs no script."""
import base64
import html
import io
import pathlib
import string

from kerazoo.visualize.figures import DPI

PAGE = pathlib.Path(__file__).with_name("report.html")
SHARP = 2  # pixels of a picture for one of the page


def page(title, said, sections, kind):
    sections = [(name, body) for name, body in sections if body]
    contents = " ".join(f'<a href="#part{k}">{escape(name)}</a>' for k, (name, _) in enumerate(sections))
    body = "\n".join(
        f'<section id="part{k}">\n<h2>{escape(name)}</h2>\n{text}\n</section>'
        for k, (name, text) in enumerate(sections)
    )
    template = string.Template(PAGE.read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), subtitle=escape(said), contents=contents, body=body, kind=kind)


def escape(text):
    """Text for HTML; what UTF-8 cannot hold, such as half a name of a broken folder, as a question mark."""
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"))


def note(text):
    return f'<p class="note">{escape(text)}</p>' if text else ""


def figure_html(figure, alt, caption):
    """A figure with its picture inside of the page."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=SHARP * DPI)
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    text = base64.b64encode(small(content)).decode()
    return (
        f'<figure><div class="scroll"><img src="data:image/png;base64,{text}" width="{width}" height="{height}" '
        f'style="--w:{width}px" '
        f'alt="{escape(alt)}"></div><figcaption>{escape(caption)}</figcaption></figure>'
    )


def small(content):
    """A PNG with as few colors as do: those of drawings and heatmaps are few."""
    from PIL import Image

    picture = Image.open(content).convert("RGB")
    packed = io.BytesIO()
    if picture.getcolors(256) is None:
        picture = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(packed, "PNG", optimize=True)
    return packed.getvalue()
