"""Write docs/augmentation.md and the pictures in docs/augmentation/; a test keeps the page true.

    python docs/make_augmentation.py          # page and pictures, about a minute
    python docs/make_augmentation.py page     # the page alone
"""
import inspect
import io
import pathlib
import re
import sys

import numpy as np
from PIL import Image

from kerazoo import augment
from kerazoo.augment import presets
from kerazoo.visualize.augmentation import augmentation_sheet, draw, grid

PAGE = pathlib.Path(__file__).with_name("augmentation.md")
PICTURES = PAGE.with_suffix("")
SIDE = 64  # pixels of a picture: small files
MAGNITUDES = {"standard": (0, 5, 10, 15, 20, 25, 30), "increasing": (0, 2, 4, 6, 8, 10)}

# What the operations do, and how to say a strength: the number that the operation is carried out with.
ANGLE, PART = "{:.0f}°".format, "{:.2g}".format


def factor(strength):
    return f"1 ± {strength:.2g}" if strength else "1"


OPERATIONS = {
    "identity": ("nothing", None),
    "shear_x": ("slides the rows, the upper left corner fixed", PART),
    "shear_y": ("slides the columns, the upper left corner fixed", PART),
    "translate_x": ("moves left or right, in shares of the width", PART),
    "translate_y": ("moves up or down, in shares of the height", PART),
    "rotate": ("turns about the center", ANGLE),
    "brightness": ("blends with black, or away from it", factor),
    "color": ("blends with the gray picture, or away from it", factor),
    "contrast": ("blends with the mean gray, or away from it", factor),
    "sharpness": ("blends with a smoothed picture, or away from it", factor),
    "posterize": ("keeps the upper bits of each level", lambda lost: f"{8 - lost} bits"),
    "solarize": ("inverts levels from a threshold on", "from {:.0f}".format),
    "solarize_add": ("adds to the levels below 128", "+{:.0f}".format),
    "invert": ("inverts all levels", None),
    "auto_contrast": ("stretches each channel to 0..255", None),
    "equalize": ("makes the levels of each channel equally frequent", None),
}
PICTURED = {
    "operations_moves.png": ["identity", "shear_x", "shear_y", "rotate", "translate_x", "translate_y"],
    "operations_light.png": ["brightness", "contrast"],
    "operations_color.png": ["color", "sharpness"],
    "operations_levels.png": ["posterize", "solarize", "auto_contrast", "equalize"],
}
SIGNED = ("brightness", "color", "contrast", "sharpness")  # where either way looks different, not only mirrored

# Names as in kerazoo.augment, and the layers that are drawn, at strengths that can be seen at this size.
LAYERS = {
    "Geometry": {
        "RandomFlip": lambda: augment.RandomFlip("both"),
        "RandomCrop": lambda: augment.RandomCrop(padding=12),
        "RandomResizedCrop": lambda: augment.RandomResizedCrop(SIDE),
        "RandomAffine": lambda: augment.RandomAffine(rotation=20, translation=0.1, scale=0.2, shear=15),
        "RandomPerspective": lambda: augment.RandomPerspective(probability=1.0),
        "ElasticTransform": lambda: augment.ElasticTransform(alpha=120.0, sigma=4.0),
    },
    "Color, noise and holes": {
        "ColorJitter": lambda: augment.ColorJitter(0.4, 0.4, 0.4, hue=0.1),
        "RandomGrayscale": lambda: augment.RandomGrayscale(0.5),
        "GaussianBlur": lambda: augment.GaussianBlur((0.1, 2.0)),
        "GaussianNoise": lambda: augment.GaussianNoise((0, 30)),
        "RandomErasing": lambda: augment.RandomErasing(1.0),
        "Cutout": lambda: augment.Cutout(24),
    },
    "Policies": {
        "RandAugment": lambda: augment.RandAugment(2, 9),
        "AutoAugment": lambda: augment.AutoAugment("imagenet"),
        "TrivialAugment": lambda: augment.TrivialAugment(),
        "AugMix": lambda: augment.AugMix(),
    },
}
MIXING = {
    "mixup": lambda: augment.MixUp(1.0),
    "cutmix": lambda: augment.CutMix(),
}
PRESETS = ("natural", "cifar", "digits", "medical", "satellite")

INTRODUCTION = """# Augmentation

Every layer of `kerazoo.augment` is a Keras layer: in a model, in `tf.data`, or by hand.

```python
from kerazoo.augment import Compose, CutMix, RandAugment, RandomFlip

model = kerazoo.resnet18(classes=10, augmentation=[RandomFlip(), RandAugment(), CutMix()])     # in the compiled step

augmentation = Compose([RandomFlip(), RandAugment(), CutMix(classes=10)])                      # in tf.data
dataset = dataset.batch(64).map(lambda x, y: augmentation({"images": x, "labels": y}), num_parallel_calls=8)

kerazoo.visualize.augmentation_sheet(augmentation, images, labels).savefig("sheet.png")        # to look at it first
```

Each image draws for itself. The same `seed=` in the call gives the same pixels on every backend, compiled or not. Pictures here are
drawn by `docs/make_augmentation.py`, which writes this page from the docstrings and the tables of strengths.
"""

OPERATIONS_TEXT = """## The operations of the policies

At magnitude 0 to 30, as `RandAugment(operations="standard")` carries them out. Where an operation has a direction, the
other one is as likely; for the blends both are shown.

![Moves](augmentation/operations_moves.png)
![Brightness and contrast](augmentation/operations_light.png)
![Color and sharpness](augmentation/operations_color.png)
![Levels](augmentation/operations_levels.png)
"""

INCREASING_TEXT = """`RandAugment(operations="increasing")` goes from 0 to 10, without identity; posterize, solarize and solarize_add get
stronger with the magnitude:

![Operations of the increasing set](augmentation/increasing.png)
"""

LAYERS_TEXT = """## The layers

The pictures show five draws of each; the strengths are above the usual ones, so that they can be seen. The tables give
the defaults.
"""

COMPOSE_TEXT = """## In a row

`Compose` carries out neighboring image-wise layers in one pass over the pixels. What is as if one layer came after
the other, to the bit: everything that changes levels (lookups, blends, noise, erasing), and resamplings with such a
step in between. What is not: resamplings that are neighbors (flips, crops, affine and perspective maps). Their
matrices are multiplied, and each pixel is interpolated once. That is sharper, and a part that one layer moves out of
the frame is not lost to the next. Layers with different fills are not merged, nor are the layers of a list in
`augmentation=`, which run one after the other: there, put a `Compose` into the list.

![A turn and back, one by one and composed](augmentation/compose.png)

What fills the frame counts in what comes after: `auto_contrast`, `equalize` and `contrast` look at fill pixels as at
any other. Crop and turn last, or choose a fill near the mean, where that matters.
"""

MIXING_TEXT = """## Mixing

Above each picture stands what its label becomes. `OneOf([MixUp(0.2), CutMix()])` draws one of the two for each batch,
and stops from `off_epoch` on, if `EpochCallback()` is among the callbacks of `fit`.

![MixUp](augmentation/mixup.png)
![CutMix](augmentation/cutmix.png)

What metrics measure: in a model, labels are mixed inside the loss, and metrics compare with the image's own label.
With `MixUp` that is the larger share, so that 100 % can be reached; with `CutMix` and alpha 1, the partner covers the
larger part of about one image in six, and even a perfect network stays below. Either way it is accuracy on mixed
images, lower than on plain ones, and no measure of overfitting. With labels that were mixed in `tf.data`, "accuracy"
compares with the class of the largest share. Validation and test see plain images.
"""

PRESETS_TEXT = """## Presets

Short lists of layers from the literature, one a kind of picture. What they leave out is a choice as well: mirrored
digits are other characters, left and right differ in most anatomy.

![Presets](augmentation/presets.png)
"""


def page():
    parts = [INTRODUCTION, OPERATIONS_TEXT, operation_table("standard"), INCREASING_TEXT, operation_table("increasing")]
    parts.append(LAYERS_TEXT)
    for title, layers in LAYERS.items():
        parts += [f"### {title}\n", f"![{title}](augmentation/{file_name(title)})\n", layer_table(layers)]
    parts += [COMPOSE_TEXT, layer_table(["Compose", "OneOf"]), MIXING_TEXT, layer_table(["MixUp", "CutMix"])]
    parts += [PRESETS_TEXT, preset_table()]
    return "\n".join(parts)


def operation_table(name):
    from kerazoo.augment.policies import INCREASING, STANDARD

    operations, top = {"standard": (STANDARD, 30), "increasing": (INCREASING, 10)}[name]
    shown = [round(top * share) for share in (0, 1 / 3, 2 / 3, 1)]
    lines = [
        f"| operation | what it does | {' | '.join(f'at {magnitude}' for magnitude in shown)} |",
        f"|---|---|{'--:|' * len(shown)}",
    ]
    for name, operation in operations.items():
        what, say = OPERATIONS[name]
        strengths = [say(operation.strength(magnitude, top)) if say else "" for magnitude in shown]
        lines.append(f"| `{name}` | {what} | {' | '.join(strengths)} |")
    return "\n".join([*lines, ""])


def layer_table(names):
    lines = ["| layer | what it does | paper |", "|---|---|---|"]
    for name in names:
        layer = getattr(augment, name)
        lines.append(f"| `{signature(name, layer)}` | {first_sentence(layer)} | {papers(layer)} |")
    return "\n".join([*lines, ""])


def preset_table():
    lines = ["| preset | for | layers | paper |", "|---|---|---|---|"]
    for name in PRESETS:
        preset = getattr(presets, name)
        layers = ", ".join(f"`{type(layer).__name__}`" for layer in preset())
        lines.append(f"| `{signature(name, preset)}` | {first_sentence(preset)} | {layers} | {papers(preset)} |")
    return "\n".join([*lines, ""])


def signature(name, function):
    arguments = inspect.signature(function).parameters.values()
    text = ", ".join(str(one) for one in arguments if one.name not in ("seed", "name")).replace("'", '"')
    return f"{name}({re.sub(r'[0-9]+[.][0-9]{4,}', lambda number: f'{float(number[0]):.2f}', text)})"


def first_sentence(documented):
    return " ".join(inspect.getdoc(documented).split("\n\n")[0].split()).replace("``", "`")


def papers(documented):
    """Links from the section "Reference" of a docstring."""
    _, _, section = inspect.getdoc(documented).partition("Reference:\n")
    links = []
    for one in " ".join(section.split()).split("; "):
        name = re.match(r".*?\d{4}", one)
        address = re.search(r"https?://\S+", one)
        if name:
            links.append(f"[{name[0]}]({address[0]})" if address else name[0])
    return "; ".join(links)


def file_name(title):
    return re.sub(r"[^a-z]+", "_", title.lower()) + ".png"


# The pictures.

def landscape(look="day", side=SIDE):
    """A house under the sky, uint8 (side, side, 3); a little hazy, so that contrast can be stretched."""
    sky, hills, grass, wall, roof = LOOKS[look]
    y, x = (np.mgrid[: 4 * side, : 4 * side] + 0.5) / (4 * side)
    x = 1 - x if look in ("dusk", "winter") else x

    def shade(first, last, share):
        return np.asarray(first) + (np.subtract(last, first)) * np.clip(share, 0, 1)[..., None]

    def paint(where, color):
        nonlocal picture
        picture = np.where(where[..., None], color, picture)

    picture = shade(*sky, y / 0.6)
    sun = (x - 0.8) ** 2 + (y - 0.17) ** 2
    picture = picture + 45 * np.exp(-sun / 0.02)[..., None] * [1, 0.8, 0.3]
    paint(sun < 0.075**2, (255, 240, 170))
    places = ((0.22, 0.16, 0.1), (0.32, 0.13, 0.08), (0.5, 0.25, 0.09))
    clouds = sum(np.exp(-(((x - cx) / width) ** 2) - ((y - cy) / 0.028) ** 2) for cx, cy, width in places)
    picture = picture + (np.add(sky[1], 20) - picture) * np.clip(1.3 * clouds, 0, 1)[..., None]
    ridge = 0.47 + 0.06 * np.sin(5 * x + 0.6) + 0.02 * np.sin(17 * x)
    paint(y > ridge, shade(*hills, (y - ridge) / 0.2))
    meadow = 0.6 + 0.05 * np.sin(4 * x + 3.4)
    furrows = 10 * np.sin(60 * np.sqrt(np.maximum(y - meadow, 0)) + 3 * x)
    paint(y > meadow, shade(*grass, (y - meadow) / 0.4) + furrows[..., None])
    paint((np.abs(x - 0.36 - 0.25 * (y - 0.75)) < 0.03 + 0.12 * (y - 0.75)) & (y > 0.78), (190, 165, 125))
    paint((x > 0.2) & (x < 0.52) & (y > 0.55) & (y < 0.8), shade(wall, np.multiply(wall, 0.8), (x - 0.2) / 0.32))
    paint((y > 0.4) & (y < 0.56) & (np.abs(x - 0.36) < 1.31 * (y - 0.4)),
          shade(roof, np.multiply(roof, 0.7), (x - 0.15) / 0.4))
    paint((x > 0.32) & (x < 0.4) & (y > 0.66) & (y < 0.8), (95, 60, 40))
    for left in (0.23, 0.43):
        paint((x > left) & (x < left + 0.065) & (y > 0.61) & (y < 0.68), (60, 80, 120))
    paint((np.abs(x - 0.75) < 0.018) & (y > 0.6) & (y < 0.84), (85, 60, 45))
    for cx, cy, radius, light in ((0.75, 0.53, 0.11, 0.7), (0.7, 0.58, 0.08, 0.85), (0.79, 0.47, 0.07, 1.0)):
        paint((x - cx) ** 2 + (y - cy) ** 2 < radius**2, np.multiply(grass[0], (0.65 * light, 0.9 * light, light)))
    return thumbnail(28 + 0.78 * picture, side)


#       sky from above, hills from above, grass from afar; wall, roof
LOOKS = {
    "day": (((70, 130, 210), (225, 230, 235)), ((120, 145, 165), (105, 140, 120)), ((110, 160, 60), (45, 95, 35)),
            (235, 215, 190), (205, 70, 50)),
    "dusk": (((70, 50, 110), (245, 150, 90)), ((95, 65, 105), (70, 50, 80)), ((90, 80, 60), (40, 35, 40)),
             (190, 140, 120), (110, 50, 60)),
    "winter": (((150, 165, 185), (225, 225, 230)), ((170, 180, 195), (190, 195, 205)),
               ((235, 240, 245), (200, 210, 225)), (170, 110, 80), (225, 230, 235)),
    "desert": (((60, 150, 200), (250, 235, 190)), ((190, 130, 90), (170, 110, 75)), ((235, 190, 120), (200, 140, 80)),
               (250, 240, 225), (80, 130, 160)),
}


def digit(side=SIDE):
    """A seven, gray: distances from three strokes."""
    y, x = (np.mgrid[: 4 * side, : 4 * side] + 0.5) / (4 * side)
    strokes = (((0.28, 0.25), (0.72, 0.25)), ((0.72, 0.25), (0.42, 0.78)), ((0.4, 0.52), (0.66, 0.52)))
    near = np.full(x.shape, 1.0)
    for (x0, y0), (x1, y1) in strokes:
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
        near = np.minimum(near, np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)))
    return thumbnail(np.where(near < 0.055, 235, 0)[..., None], side)


def scan(side=SIDE):
    """A head of ellipses, gray, after Shepp and Logan."""
    y, x = (np.mgrid[: 4 * side, : 4 * side] + 0.5) / (2 * side) - 1
    picture = np.zeros(x.shape)
    for cx, cy, width, height, degrees, level in (
        (0, 0, 0.69, 0.92, 0, 200), (0, 0.02, 0.63, 0.86, 0, -110), (0.22, 0, 0.11, 0.31, 18, -60),
        (-0.22, 0, 0.16, 0.41, -18, -60), (0, -0.35, 0.21, 0.25, 0, 40), (0, 0.1, 0.05, 0.05, 0, 60),
        (-0.08, 0.6, 0.06, 0.04, 0, 80), (0.1, 0.6, 0.04, 0.06, 0, 80),
    ):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        u, v = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
        picture = picture + level * ((u / width) ** 2 + (v / height) ** 2 < 1)
    return thumbnail(picture[..., None], side)


def from_above(side=SIDE):
    """Fields, a river and a road."""
    y, x = (np.mgrid[: 4 * side, : 4 * side] + 0.5) / (4 * side)
    colors = np.array([(150, 165, 80), (95, 130, 60), (185, 165, 105), (120, 150, 95), (160, 130, 90), (75, 110, 55)])
    field = (np.floor(3.4 * (x + 0.15 * y)) + 3 * np.floor(3.1 * (y - 0.1 * x))).astype(int) % len(colors)
    picture = colors[field] + (8 * np.sin(110 * np.where(field % 2, x, y)))[..., None]
    picture = np.where((np.abs(y - 0.62 - 0.1 * np.sin(6 * x)) < 0.045)[..., None], (60, 95, 125), picture)
    picture = np.where((np.abs(x - 0.3 - 0.35 * y) < 0.018)[..., None], (205, 200, 190), picture)
    for cx, cy in ((0.62, 0.3), (0.7, 0.34), (0.63, 0.4), (0.2, 0.85)):
        picture = np.where(((np.abs(x - cx) < 0.03) & (np.abs(y - cy) < 0.022))[..., None], (190, 95, 75), picture)
    return thumbnail(picture, side)


def thumbnail(picture, side):
    picture = picture.reshape(side, 4, side, 4, -1).mean((1, 3))
    return np.clip(np.round(picture), 0, 255).astype("uint8")


def pictures():
    """(file name, figure) of every picture."""
    for name, operations in PICTURED.items():
        yield name, operations_figure("standard", operations)
    yield "increasing.png", operations_figure("increasing", ["posterize", "solarize", "solarize_add", "invert"])
    for title, layers in LAYERS.items():
        rows = [draws_of(make(), landscape(), row) for row, make in enumerate(layers.values())]
        yield file_name(title), grid(rows, rows=list(layers), columns=["original"], cell=SIDE)
    yield "compose.png", compose_figure()
    scenes = np.stack([landscape(look) for look in LOOKS])
    for name, make in MIXING.items():
        yield f"{name}.png", augmentation_sheet(make(), scenes, list(range(4)), class_names=list(LOOKS))
    pictured = {"natural": landscape(), "cifar": landscape(side=SIDE // 2), "digits": digit(), "medical": scan(),
                "satellite": from_above()}
    rows = [draws_of(getattr(presets, name)(), pictured[name], row) for row, name in enumerate(PRESETS)]
    # CIFAR's are half as large.
    rows = [[one.repeat(SIDE // len(one), 0).repeat(SIDE // len(one), 1) for one in row] for row in rows]
    yield "presets.png", grid(rows, rows=list(PRESETS), columns=["original"], cell=SIDE)


def operations_figure(kind, names):
    rows, row_names = [], []
    for name in names:
        for sign in (0, 1) if name in SIGNED else (0,):
            rows.append([at_strength(name, magnitude, kind, sign) for magnitude in MAGNITUDES[kind]])
            row_names.append(f"{name} {'+−'[sign]}" if name in SIGNED else name)
    return grid(rows, rows=row_names, columns=[str(magnitude) for magnitude in MAGNITUDES[kind]], cell=SIDE)


def at_strength(name, magnitude, kind, sign):
    """The landscape after one operation in one direction, 0 or 1."""
    from kerazoo.augment import exact
    from kerazoo.augment.draws import uniform
    from kerazoo.augment.policies import INCREASING, Table

    layer = augment.RandAugment(1, magnitude, operations=kind if kind == "increasing" else [name])
    if kind == "increasing":
        # A list of names has the strengths of "standard".
        one = INCREASING[name]
        layer.table = Table([one], [[one.strength(magnitude, 10)]], layer.interpolation, layer.fill)
    copies = np.repeat(landscape()[None], 16, 0)
    signs = np.asarray(exact.choice(uniform(np.array([0, 0], "int32"), len(copies), 1), 2))[:, 0]
    return draw(layer, copies, (0, 0))[0][list(signs).index(sign)]


def draws_of(layers, picture, seed, count=5):
    layer = layers if not isinstance(layers, list) else augment.Compose(layers)
    batch = np.stack([picture, picture[:, ::-1]]) if layer.mixes else picture[None]
    return [picture, *(draw(layer, batch, (seed, k))[0][0] for k in range(count))]


def compose_figure():
    def turns():
        return [augment.RandomAffine((45, 45)), augment.RandomAffine((-45, -45))]

    picture, one_by_one = landscape(), landscape()[None]
    for layer in turns():
        one_by_one, _ = draw(layer, one_by_one, (0, 0))
    composed, _ = draw(augment.Compose(turns()), picture[None], (0, 0))
    return grid([[picture, one_by_one[0], composed[0]]], columns=["original", "one by one", "Compose"], cell=2 * SIDE)


def save(figure, path):
    """With a palette, which makes the file a third as large."""
    data = io.BytesIO()
    figure.savefig(data, format="png")
    image = Image.open(data).convert("RGB")
    image.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
    if "page" not in sys.argv[1:]:
        PICTURES.mkdir(exist_ok=True)
        for name, figure in pictures():
            save(figure, PICTURES / name)
