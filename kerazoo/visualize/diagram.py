"""How a network is put together, as a drawing."""
import dataclasses
import math
import re

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from kerazoo.visualize.figures import DPI, fitted, turn

BOXES = 14  # on a page
HIGH, APART = 42, 16  # pixels of a box and between two
SIGHT, WIDE, NUMBERS, MARGIN = 120, 430, 170, 14  # pixels of the sketch, the box, the figures at its right, the edges
ARC = 12  # pixels between two lines around boxes
BOLD, SMALL = FontProperties(size=9, weight="bold"), FontProperties(size=8)

# A block's layers begin alike: kerazoo's "stage2_block1_conv1", Keras's "conv2_block1_1_conv" and "block2a_se_reduce".
ROLES = r"(?:conv|dense|bn|norm|act|relu|pad|pool|dropout|drop|flatten|add|concat|se|gate|lrn|subsampling)"
BLOCK = re.compile(
    rf"((?:[a-z]+\d+_)?block_?\d+[a-z]?|stage\d+(?:_(?!{ROLES}\d*(?:_|$))[a-z0-9]+(?=_))?)(?=_|$)"
    rf"|([a-z]+\d*)(?:_{ROLES}\d*)+$"
)
REPEATED = re.compile(r"block_?\d+[a-z]?$|stage\d+_[a-z0-9]+$")
# What layers of the same kind differ in. Weights do not count: in DenseNet, each block reads more channels.
SETTINGS = (
    "filters", "units", "kernel_size", "pool_size", "strides", "dilation_rate", "groups", "depth_multiplier",
)
# A network's parts are told by their words; the color repeats these.
FILLS = {"conv": "#d6e6f2", "dense": "#fbe3cf", "pool": "#d5ede4", "join": "#eeeeee", "other": "#f4f4f4"}


@dataclasses.dataclass(eq=False)
class Box:
    """Calls that are drawn as one: `title`, `calls`, of how many alike blocks, and the boxes that it takes from."""

    title: str
    calls: list
    block: bool
    times: int = 1
    sources: list = dataclasses.field(default_factory=list)
    last: str = ""  # the title of the last of several


def architecture(model, page=1):
    """Draw a network from top to bottom: a box a block or layer, with its layers, the map that it gives, and its size.

    Blocks are told by the names of their layers ("stage2_block1_conv1"); alike ones that follow each other are one box,
    with their number. Other layers have a box each, with norms and activations in the box of the layer in front of
    them. Lines at the right go around boxes: shortcuts and branches.

    Args:
        model: a functional or sequential `keras.Model` of images; models may be nested in it.
        page: counted from 1; there are 14 boxes on one.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if the layers of the model cannot be followed, or there is no such page.

    Example:
        >>> kerazoo.visualize.architecture(kerazoo.resnet50()).savefig("resnet50.png")
    """
    from kerazoo.visualize.network import network_of

    network = network_of(model, "architecture")
    boxes = [Box("image", [], False), *boxes_of(network)]
    link(boxes, network)
    boxes = alike_as_one(boxes)
    shown, said = turn(range(len(boxes)), BOXES, page)
    image = tuple(model.inputs[0].shape[1:])
    shapes = [image if not box.calls else tuple(box.calls[-1].shapes[0][1:]) for box in boxes]
    known = [shape for shape in shapes if len(shape) == 3]
    tallest = max([side for shape in known for side in shape[:2] if side], default=1)
    deepest = max([shape[-1] for shape in shapes if shape and shape[-1]], default=1)

    arcs = arcs_of(boxes, shown)
    levels = max((level for *_, level in arcs), default=-1) + 1
    height = 2 * MARGIN + 44 + len(shown) * (HIGH + APART)
    width = 2 * MARGIN + SIGHT + WIDE + NUMBERS + ARC * levels + 10
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    total = f"{model.count_params():,} parameters, {len(network.calls):,} layers"
    write(axes, MARGIN, MARGIN, fitted(f"{model.name}: {total}{said}", width - 2 * MARGIN, BOLD), BOLD, va="top")
    write(axes, MARGIN, height - MARGIN, "At the left, what comes out: as high as the map, as wide as its channels, on "
          "a logarithmic scale.", SMALL, va="bottom", color="0.35")

    places = {k: MARGIN + 28 + i * (HIGH + APART) for i, k in enumerate(shown)}
    for k in shown:
        draw_box(axes, boxes[k], shapes[k], places[k], tallest, deepest)
    left = MARGIN + SIGHT
    for k in shown:
        # The straight way down, between neighbors alone.
        if k and boxes[k - 1] in boxes[k].sources:
            middle = left + WIDE / 2
            below = places[k]
            arrow(axes, [(middle, below - APART), (middle, below - 1)])
    right = left + WIDE
    for start, end, level in arcs:
        x = right + NUMBERS + ARC * (level + 1)
        above = places[start] + HIGH * 0.94 if start in places else MARGIN + 20
        below = places[end] + HIGH * 0.06 if end in places else height - MARGIN - 18
        points = [(x, above), (x, below)]
        points = [(right + 1, above), *points] if start in places else points
        points = [*points, (right + 1, below)] if end in places else points
        (arrow if end in places else line)(axes, points, color="0.45")
    return figure


def boxes_of(network):
    """The calls of a network in boxes, each behind those that it takes from."""
    consumers = {}
    for call in network.calls:
        for number in call.inputs:
            consumers.setdefault(number, []).append(call)
    by_key, home, boxes = {}, {}, []
    keys = {block_of(call.name) for call in network.calls}
    for call in network.calls:
        if call.node is None:
            box = home.get(call.inputs[0])  # a cast
        else:
            # A layer called like the others' beginning, as "fc6" beside "fc6_act", is one of them.
            key = call.name if call.name in keys else block_of(call.name)
            box = by_key.get(key) if key else None
            if box is None and key:
                box = by_key[key] = Box(key, [], True)
                boxes.append(box)
            if box is None and is_small(call) and len(call.inputs) == 1 and len(consumers.get(call.inputs[0], ())) == 1:
                box = home.get(call.inputs[0])
                box = None if box is not None and box.block else box
            if box is None:
                box = Box(call.name, [], False)
                boxes.append(box)
            box.calls.append(call)
        for number in call.outputs:
            home[number] = box
    order = {id(call): k for k, call in enumerate(network.calls)}
    return sorted(boxes, key=lambda box: order[id(box.calls[-1])])


def block_of(name):
    """What the names of a block's layers begin with; None for a layer by itself."""
    path, slash, own = name.rpartition("/")
    match = BLOCK.match(own)
    return match and path + slash + (match[1] or match[2])


def is_small(call):
    """Whether a call changes values one by one, as norms and activations do, or only arranges them.

    Padding does neither: it belongs to the convolution behind it, and the size of the map in front is another.
    """
    import keras

    layers = keras.layers
    return isinstance(call.operation, (
        layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization, layers.Activation, layers.ReLU,
        layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Softmax, layers.Dropout, layers.SpatialDropout2D,
        layers.Identity, layers.Flatten, layers.Rescaling,
    ))


def link(boxes, network):
    """Note of each box which boxes it takes from."""
    home = {number: boxes[0] for number in network.inputs}
    for box in boxes:
        for call in box.calls:
            for number in call.outputs:
                home[number] = box
    for call in network.calls:
        if call.node is None:
            home[call.outputs[0]] = home[call.inputs[0]]
    for box in boxes:
        for call in box.calls:
            for number in call.inputs:
                source = home[number]
                if source is not box and source not in box.sources:
                    box.sources.append(source)


def alike_as_one(boxes):
    """The boxes with blocks that are built alike and follow each other as one."""
    takers = {}
    for box in boxes:
        for source in box.sources:
            takers.setdefault(id(source), []).append(box)
    found, stands_for = [], {}
    for box in boxes:
        before = found[-1] if found else None
        if (
            before is not None and before.block and REPEATED.search(box.title) and len(box.sources) == 1
            and stands_for.get(id(box.sources[0]), box.sources[0]) is before
            and len(takers[id(box.sources[0])]) == 1 and signature(box) == signature(before)
        ):
            before.times += 1
            before.last = box.title
            before.calls = before.calls + box.calls
            stands_for[id(box)] = before
        else:
            found.append(box)
    for box in found:
        box.sources = list({id(one): one for one in (stands_for.get(id(one), one) for one in box.sources)}.values())
    return found


def signature(box):
    """What makes blocks alike: their name without its number, their layers, and the size of their map."""
    calls = box.calls[: len(box.calls) // box.times]
    kinds = [
        (type(call.operation).__name__, *(getattr(call.operation, setting, None) for setting in SETTINGS))
        for call in calls
    ]
    return re.sub(r"(\d+[a-z]?|(?<=_)[a-z])$", "", box.title), kinds, tuple(calls[-1].shapes[0][1:-1])


def arcs_of(boxes, shown):
    """[(from, to, level)] of the ways around boxes that touch a page; none covers another."""
    index = {id(box): k for k, box in enumerate(boxes)}
    found = []
    for k, box in enumerate(boxes):
        for source in box.sources:
            start = index[id(source)]
            if k - start != 1 and start <= shown[-1] and k >= shown[0]:
                found.append((start, k))
    taken, arcs = [], []
    for start, end in sorted(found, key=lambda pair: abs(pair[1] - pair[0])):
        level = next(
            level for level in range(len(taken) + 1)
            if level == len(taken) or all(end <= a or start >= b for a, b in taken[level])
        )
        if level == len(taken):
            taken.append([])
        taken[level].append((start, end))
        arcs.append((start, end, level))
    return arcs


def draw_box(axes, box, shape, y, tallest, deepest):
    from matplotlib.patches import FancyBboxPatch, Rectangle

    left = MARGIN + SIGHT
    kind = kind_of(box)
    axes.add_patch(FancyBboxPatch(
        (left + 3, y + 3), WIDE - 6, HIGH - 6, boxstyle="round,pad=3,rounding_size=5", facecolor=FILLS[kind],
        edgecolor="0.35", linewidth=0.8,
    ))
    title = box.title if box.times == 1 else f"{box.title} to {ending_of(box)}: {box.times} alike"
    said = describe(box)
    room = WIDE - 20
    if said:
        write(axes, left + 10, y + HIGH * 0.3, fitted(title, room, BOLD), BOLD)
        write(axes, left + 10, y + HIGH * 0.72, fitted(said, room, SMALL, middle=False), SMALL)
    else:
        write(axes, left + 10, y + HIGH / 2, fitted(title, room, BOLD), BOLD)
    weights = {id(weight): math.prod(weight.shape) for call in box.calls for weight in call.weights}
    count = sum(weights.values())
    sides = " × ".join("?" if side is None else f"{side:,}" for side in shape)
    write(axes, left + WIDE + 10, y + HIGH * 0.3, sides, SMALL)
    write(axes, left + WIDE + 10, y + HIGH * 0.72, f"{count:,} parameters" if count else "", SMALL, color="0.35")
    # The sketch of what comes out.
    high = 4 if len(shape) != 3 else 4 + (HIGH - 6) * log_share(shape[0], tallest)
    wide = 6 + (SIGHT - 40) * log_share(shape[-1] if shape else 1, deepest)
    axes.add_patch(Rectangle(
        (MARGIN + (SIGHT - 20 - wide) / 2, y + (HIGH - high) / 2), wide, high, facecolor="#0072B2", alpha=0.55,
    ))


def log_share(value, largest):
    return math.log2((value or 1) + 1) / math.log2(largest + 1) if largest else 0


def ending_of(box):
    """The number or letter that the last of several titles ends in."""
    return re.search(r"(\d+[a-z]?|[a-z])$", box.last)[0]


def kind_of(box):
    said = [word_of(call)[0] for call in box.calls]
    return next((kind for kind in ("conv", "dense", "pool", "join") if kind in said), "other")


def describe(box):
    """The layers of a box in words, those of one block where it is several."""
    words, small = [], []
    for call in box.calls[: len(box.calls) // box.times]:
        kind, text = word_of(call)
        if kind == "small":
            small += [text] if text and text not in small else []
        elif words and kind == "conv" and words[-1].split(" ")[0] == text.split(" ")[0]:
            words[-1] += f", {text.split(' ', 1)[1]}"
        elif words and words[-1].split(" (")[0] == text:
            times = re.search(r"\((\d+) times\)$", words[-1])
            words[-1] = f"{text} ({int(times[1]) + 1 if times else 2} times)"
        else:
            words.append(text)
    return " · ".join(filter(None, [", ".join(words), ", ".join(small)]))


def word_of(call):
    """(kind, words) for a call: kinds are those of `FILLS`, and "small"."""
    import keras

    operation, name = call.operation, type(call.operation).__name__
    layers = keras.layers
    if kernel := getattr(operation, "kernel_size", None):
        sort = "depthwise" if "Depthwise" in name else "separable" if "Separable" in name else "conv"
        sort = "transposed" if "Transpose" in name else sort
        return "conv", f"{sort} {'×'.join(map(str, kernel))}{stride(operation)}"
    if isinstance(operation, layers.Dense):
        return "dense", f"dense {operation.units:,}{activation(operation)}"
    if "Pooling" in name:
        sort = "maximum" if "Max" in name else "average"
        if "Global" in name:
            return "pool", f"global {sort}"
        pool = getattr(operation, "pool_size", None)
        size = " " + "×".join(map(str, pool)) if pool else ""
        return "pool", f"{sort} pooling{size}{stride(operation)}"
    known = {
        "Add": ("join", "sum"), "Concatenate": ("join", "concatenation"), "Multiply": ("join", "product"),
        "BatchNormalization": ("small", "batch norm"), "GroupNormalization": ("small", "group norm"),
        "LayerNormalization": ("small", "layer norm"), "ZeroPadding2D": ("small", ""), "Identity": ("small", ""),
        "Flatten": ("small", "flattened"), "Rescaling": ("small", "normalization"), "Dropout": ("small", "dropout"),
        "LocalResponseNormalization": ("small", "local response norm"),
    }
    if name in known:
        return known[name]
    if name == "Activation":
        return "small", getattr(operation.activation, "__name__", type(operation.activation).__name__)
    if is_small(call):
        return "small", name
    return "other", name


def stride(operation):
    strides = getattr(operation, "strides", None)
    strides = (strides,) if isinstance(strides, int) else tuple(strides or (1,))
    return "" if set(strides) == {1} else f" /{strides[0] if len(set(strides)) == 1 else strides}"


def activation(operation):
    name = getattr(operation.activation, "__name__", "linear")
    return "" if name == "linear" else f" {name}"


def write(axes, x, y, text, font, va="center", **options):
    axes.text(x, y, text, fontproperties=font, va=va, ha="left", parse_math=False, **options)


def line(axes, points, color="0.2"):
    axes.plot(*zip(*points), color=color, linewidth=1, solid_joinstyle="round")


def arrow(axes, points, color="0.2"):
    line(axes, points, color)
    axes.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1,
                                                          "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9})
