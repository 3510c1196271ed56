"""Write docs/zoo.md from the tables of published facts and weights; a test keeps the page true.

    python docs/make_zoo.py
"""
import pathlib

import kerazoo
from kerazoo.weights import tags

PAGE = pathlib.Path(__file__).with_name("zoo.md")
FAMILIES = {
    "baseline": "Baselines of a first course", "lenet": "LeNet", "alexnet": "AlexNet", "vgg": "VGG",
    "googlenet": "GoogLeNet", "inception": "Inception-v3", "resnet": "ResNet, Wide ResNet, ResNeXt",
    "cifar_resnet": "ResNets for CIFAR", "densenet": "DenseNet", "efficientnet": "EfficientNet",
}
INTRODUCTION = """# The zoo

{count} models, as published; a name is a builder, a function of `kerazoo`. Parameters are the trainable ones; MACs are
the multiply-accumulates of convolutions and dense layers for one image at inference; tests recompute both from the built
models, parameters to the integer, MACs within 0.5 %. Size is that of the trainable weights in float32. Accuracy is the
published top-1 (top-5) by the source named, not measured here; where there are several weights, it is that of the first
ones. "Weights" lists what `weights="imagenet/<tag>"` takes, the default first; [below](#published-weights) stands what
each tag is, with its own accuracy.

Kernels start as He et al. 2015 or the paper say. In every ResNet, the last layer of each residual branch starts with
1 / branches of the usual variance, which no paper of theirs has: without it, the deepest ones overflow float16 before
their norms have seen data.

This page is written by `docs/make_zoo.py` from `kerazoo/published.csv` and `kerazoo/weights/tags.csv`.
"""


def page():
    parts = [INTRODUCTION.format(count=len(kerazoo.list_models()))]
    known = kerazoo.list_families()
    for family in sorted(known, key=list(FAMILIES).index):
        parts.append(section(family))
    parts.append(weights())
    return "\n".join(parts)


def section(family):
    rows = [kerazoo.facts(name) for name in kerazoo.list_models(family=family)]
    lines = [
        f"## {FAMILIES[family]}\n",
        "| model | parameters | MACs | size | input | accuracy | paper | weights |",
        "|---|--:|--:|--:|---|---|---|---|",
    ]
    for row in rows:
        accuracy = percent(row)
        shape = "x".join(map(str, row.input_shape))
        names = ", ".join(f"`{name.split('/')[1]}`" for name in kerazoo.list_weights(row.name))
        lines.append(
            f"| `{row.name}` | {row.parameters:,} | {amount(row.gmacs)} | {4 * row.parameters / 1e6:.3g} MB "
            f"| {shape} | {accuracy and f'{accuracy} {row.dataset}'} | [{year(row.paper)}]({row.paper}) | {names} |"
        )
    lines.append("\nSources, and what differs from the paper:\n")
    for row in rows:
        differs = f" Differs: {row.deviations}." if row.deviations else ""
        lines.append(f"- `{row.name}`: {row.source}.{differs}")
    return "\n".join([*lines, ""])


def percent(row):
    """Top-1 and top-5 of a row of facts, as far as they are known."""
    best = [] if row.top1 is None else [f"{row.top1:g} %"]
    return " ".join(best if row.top5 is None else [*best, f"({row.top5:g} %)"])


def amount(gmacs):
    return f"{gmacs:.3g} G" if gmacs >= 0.1 else f"{1e3 * gmacs:.3g} M"


def year(address):
    """The name of a paper's address: arXiv's number, or the host."""
    if "arxiv.org" in address:
        return f"arXiv:{address.rsplit('/', 1)[-1]}"
    return address.split("/")[2].removeprefix("www.")


def weights():
    lines = [
        "## Published weights\n",
        "Accuracy is for ImageNet-1k's validation set at the size given: the shorter side resized, then the center "
        "cropped, as `kerazoo.data.read_image(path, 3, crop, resize=resize, interpolation=...)` does. Mean and std are "
        "those of pixels in 0..1 in RGB order, in effect, and go into the model with the weights.\n",
        "| model | tag | top-1 (top-5) | resize, crop | interpolation | mean; std | license | source |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for tag in tags.table().values():
        resize = f"{tag.resize_size or '?'}, {tag.input_size}"
        pixels = "; ".join(
            " ".join(f"{value:.4g}" for value in dict.fromkeys(values)) for values in (tag.mean, tag.std)
        )
        place = f"[file]({tag.url})" if tag.url else f"`{tag.repo}`"
        lines.append(
            f"| `{tag.model}` | `{tag.tag}`{' (default)' if tag.default else ''} | {percent(tag)} | {resize} | "
            f"{tag.interpolation or '?'} | {pixels} | {tag.license} | {place}; {tag.source} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
