"""What the layers are called in the files of other libraries: one small table a family and layout.

A table is a list of rules, (pattern of our layer names, their name). Numbers in a pattern reach a function as integers.
A tuple of names stands for what one layer was called in different years: the first that the file has counts.
"""
import dataclasses
import fnmatch
import re

# Layers that a network may leave out, and the files of the whole network have none the less.
AUXILIARY = [
    *(f"aux{i}_{part}" for i in (1, 2) for part in ("conv", "bn", "fc", "head")),
    *(f"aux_{part}" for part in ("conv1", "bn1", "conv2", "bn2", "head")),
]
TOP = ["head", "fc", "fc5", "f6", "fc6", "fc7"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one library names and lays out the weights of one family.

    Attributes:
        source: the library, as a reader knows it.
        builders: our models that such weights are for, as shell patterns. Networks that differ in a stride or a padding
            alone have equal names, so that the names cannot tell.
        names: ``names(layers, theirs) -> {our layer: their layer}``; `theirs` are the layers in the file.
        axes: "pytorch" (output channels first) or "keras".
        epsilon: of the library's batch norms.
    """

    source: str
    builders: tuple
    names: object
    axes: str
    epsilon: float = 1e-5

    def is_for(self, builder):
        return any(fnmatch.fnmatchcase(builder, pattern) for pattern in self.builders)


VARIABLES = {
    "pytorch": {
        "kernel": ".weight", "bias": ".bias", "gamma": ".weight", "beta": ".bias",
        "moving_mean": ".running_mean", "moving_variance": ".running_var",
    },
    "keras": {
        name: f"/{name}" for name in ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    },
}


def by_rules(*rules):
    """The `names` of a layout from (pattern, name) rules, the first that matches counts."""

    def names(layers, theirs=()):
        found = {}
        for layer in layers:
            for pattern, name in rules:
                if match := re.fullmatch(pattern, layer):
                    numbers = [int(group) if (group or "").isdigit() else group for group in match.groups()]
                    found[layer] = name(*numbers) if callable(name) else name
                    break
        return found

    return names


def counted(first, *rest):
    """VGG's and AlexNet's convolutions are known by their place among all layers: norm, ReLU and pooling count too."""

    def names(layers, theirs=()):
        found, place, stage = by_rules(*rest)(layers), 0, 1
        parts = (re.fullmatch(r"stage(\d)_conv(\d?)", layer) for layer in layers)
        for s, i in sorted((int(part[1]), part[2]) for part in parts if part):
            # The pooling behind a stage, of which AlexNet has none after its third and fourth.
            place += (s != stage) * (s in first)
            stage = s
            found[f"stage{s}_conv{i}"] = f"features.{place}"
            if f"stage{s}_bn{i}" in layers:
                place += 1
                found[f"stage{s}_bn{i}"] = f"features.{place}"
            place += 2
        return found

    return names


# ResNet

BLOCK = r"stage(\d)_block(\d+)_"

resnet = by_rules(
    (r"stem_(conv|bn)", lambda kind: f"{kind}1"),
    (BLOCK + r"(conv|bn)(\d)", lambda s, b, kind, i: f"layer{s}.{b - 1}.{kind}{i}"),
    (BLOCK + r"shortcut_conv", lambda s, b: f"layer{s}.{b - 1}.downsample.0"),
    (BLOCK + r"shortcut_bn", lambda s, b: f"layer{s}.{b - 1}.downsample.1"),
    (r"head", "fc"),
)
timm_resnet_v2 = by_rules(
    (r"stem_conv", "stem.conv"),
    (BLOCK + r"conv(\d)", lambda s, b, i: f"stages.{s - 1}.blocks.{b - 1}.conv{i}"),
    (BLOCK + r"bn(\d)", lambda s, b, i: f"stages.{s - 1}.blocks.{b - 1}.norm{i}"),
    (BLOCK + r"shortcut_conv", lambda s, b: f"stages.{s - 1}.blocks.{b - 1}.downsample.conv"),
    (r"final_bn", "norm"),
    (r"head", "head.fc"),
)
# The name of the last layer changed twice; Keras itself loads such files by position.
KERAS_HEAD = ("predictions", "probs", "fc1000")
keras_resnet_v1 = by_rules(
    (r"stem_(conv|bn)", lambda kind: f"conv1_{kind}"),
    (BLOCK + r"(conv|bn)(\d)", lambda s, b, kind, i: f"conv{s + 1}_block{b}_{i}_{kind}"),
    (BLOCK + r"shortcut_(conv|bn)", lambda s, b, kind: f"conv{s + 1}_block{b}_0_{kind}"),
    (r"head", KERAS_HEAD),
)
keras_resnet_v2 = by_rules(
    (r"stem_conv", "conv1_conv"),
    (BLOCK + r"bn1", lambda s, b: f"conv{s + 1}_block{b}_preact_bn"),
    # Ours are numbered by the convolution behind them, theirs by the one in front.
    (BLOCK + r"bn(\d)", lambda s, b, i: f"conv{s + 1}_block{b}_{i - 1}_bn"),
    (BLOCK + r"conv(\d)", lambda s, b, i: f"conv{s + 1}_block{b}_{i}_conv"),
    (BLOCK + r"shortcut_conv", lambda s, b: f"conv{s + 1}_block{b}_0_conv"),
    (r"final_bn", "post_bn"),
    (r"head", KERAS_HEAD),
)

# VGG and AlexNet

alexnet = counted({2, 3}, (r"fc6", "classifier.1"), (r"fc7", "classifier.4"), (r"head", "classifier.6"))
vgg = counted({2, 3, 4, 5}, (r"fc6", "classifier.0"), (r"fc7", "classifier.3"), (r"head", "classifier.6"))
timm_vgg = counted({2, 3, 4, 5}, (r"fc6", "pre_logits.fc1"), (r"fc7", "pre_logits.fc2"), (r"head", "head.fc"))
keras_vgg = by_rules(
    (r"stage(\d)_conv(\d)", lambda s, i: f"block{s}_conv{i}"),
    (r"fc6", "fc1"), (r"fc7", "fc2"), (r"head", KERAS_HEAD),
)

# DenseNet

def dense_layer(s, b, kind, i):
    kind = {"conv": "conv", "bn": "norm"}[kind]
    name = f"features.denseblock{s}.denselayer{b}."
    # Files of 2017 have a dot where module names may no longer have one.
    return f"{name}{kind}{i}", f"{name}{kind}.{i}"


densenet = by_rules(
    (r"stem_conv", "features.conv0"), (r"stem_bn", "features.norm0"),
    (BLOCK + r"(conv|bn)(\d)", dense_layer),
    (r"transition(\d)_conv", lambda s: f"features.transition{s}.conv"),
    (r"transition(\d)_bn", lambda s: f"features.transition{s}.norm"),
    (r"final_bn", "features.norm5"), (r"head", "classifier"),
)
keras_densenet = by_rules(
    (r"stem_(conv|bn)", lambda kind: f"conv1_{kind}"),
    (BLOCK + r"conv(\d)", lambda s, b, i: f"conv{s + 1}_block{b}_{i}_conv"),
    (BLOCK + r"bn(\d)", lambda s, b, i: f"conv{s + 1}_block{b}_{i - 1}_bn"),
    (r"transition(\d)_(conv|bn)", lambda s, kind: f"pool{s + 1}_{kind}"),
    (r"final_bn", "bn"), (r"head", KERAS_HEAD),
)

# GoogLeNet and Inception

GOOGLENET_BRANCHES = {
    "1x1": "branch1", "3x3_reduce": "branch2.0", "3x3": "branch2.1", "5x5_reduce": "branch3.0", "5x5": "branch3.1",
    "pool": "branch4.1",
}
googlenet = by_rules(
    (r"stage1_(conv|bn)", lambda kind: f"conv1.{kind}"),
    (r"stage2_(conv|bn)(\d)", lambda kind, i: f"conv{i + 1}.{kind}"),
    (rf"stage(\d)_([a-e])_({'|'.join(GOOGLENET_BRANCHES)})_(conv|bn)",
     lambda s, module, branch, kind: f"inception{s}{module}.{GOOGLENET_BRANCHES[branch]}.{kind}"),
    (r"aux(\d)_(conv|bn)", lambda i, kind: f"aux{i}.conv.{kind}"),
    (r"aux(\d)_fc", lambda i: f"aux{i}.fc1"), (r"aux(\d)_head", lambda i: f"aux{i}.fc2"),
    (r"head", "fc"),
)
inception = by_rules(
    (r"stage1_(conv|bn)", lambda kind: f"Conv2d_1a_3x3.{kind}"),
    (r"stage2_(conv|bn)(1|2)", lambda kind, i: f"Conv2d_2{' ab'[i]}_3x3.{kind}"),
    (r"stage3_(conv|bn)", lambda kind: f"Conv2d_3b_1x1.{kind}"),
    (r"stage4_(conv|bn)", lambda kind: f"Conv2d_4a_3x3.{kind}"),
    (r"stage(\d)_([a-e])_pool_(conv|bn)", lambda s, m, kind: f"Mixed_{s}{m}.branch_pool.{kind}"),
    (r"stage(\d)_([a-e])_(\w+)_(conv|bn)", lambda s, m, branch, kind: f"Mixed_{s}{m}.branch{branch}.{kind}"),
    (r"stage(\d)_([a-e])_(\w+)_(conv|bn)(\w+)",
     lambda s, m, branch, kind, i: f"Mixed_{s}{m}.branch{branch}_{i}.{kind}"),
    (r"aux_(conv|bn)(\d)", lambda kind, i: f"AuxLogits.conv{i - 1}.{kind}"),
    (r"aux_head", "AuxLogits.fc"), (r"head", "fc"),
)
# Keras Applications numbers Inception's layers in the order in which its code makes them.
SEVENS = ["1x1", *(f"7x7_{i}" for i in (1, 2, 3)), *(f"7x7dbl_{i}" for i in (1, 2, 3, 4, 5)), "pool"]
INCEPTION_MODULES = {
    **dict.fromkeys(("5_b", "5_c", "5_d"), ["1x1", "5x5_1", "5x5_2", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3", "pool"]),
    "6_a": ["3x3", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3"],
    **dict.fromkeys(("6_b", "6_c", "6_d", "6_e"), SEVENS),
    "7_a": ["3x3_1", "3x3_2", *(f"7x7x3_{i}" for i in (1, 2, 3, 4))],
    **dict.fromkeys(("7_b", "7_c"), [
        "1x1", "3x3_1", "3x3_2a", "3x3_2b", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3a", "3x3dbl_3b", "pool"]),
}


def keras_inception(layers, theirs=()):
    made = ["stage1_{}", "stage2_{}1", "stage2_{}2", "stage3_{}", "stage4_{}"]
    for module, branches in INCEPTION_MODULES.items():
        made += [f"stage{module}_{branch}_{{}}{i}" for branch, _, i in (name.partition("_") for name in branches)]
    found = {"head": KERAS_HEAD}
    for kind, prefix in (("conv", "conv2d"), ("bn", "batch_normalization")):
        # The count goes on from one model to the next in a process, and began at 1 in early versions of Keras.
        numbers = sorted({int(match[1] or 0) for name in theirs if (match := re.fullmatch(rf"{prefix}_?(\d*)", name))})
        for name, number in zip(made, numbers or range(len(made))):
            found[name.format(kind)] = (f"{prefix}_{number}", prefix) if number == 0 else f"{prefix}_{number}"
    return {layer: name for layer, name in found.items() if layer in layers}


# EfficientNet. The blocks of the first stage do not widen, and so lack the first convolution.

def efficientnet_part(s, b, part, kind):
    place = {"expand": 0, "dw": 1, "project": 3}[part] - (s == 1)
    return f"features.{s}.{b - 1}.block.{place}.{'01'[kind == 'bn']}"


efficientnet = by_rules(
    (r"stem_conv", "features.0.0"), (r"stem_bn", "features.0.1"),
    (BLOCK + r"(expand|dw|project)_(conv|bn)", efficientnet_part),
    (BLOCK + r"se_reduce_conv", lambda s, b: f"features.{s}.{b - 1}.block.{2 - (s == 1)}.fc1"),
    (BLOCK + r"se_expand_conv", lambda s, b: f"features.{s}.{b - 1}.block.{2 - (s == 1)}.fc2"),
    (r"final_conv", "features.8.0"), (r"final_bn", "features.8.1"), (r"head", "classifier.1"),
)


def timm_part(s, b, part, kind):
    if kind == "bn":
        return f"blocks.{s - 1}.{b - 1}.bn{ {'expand': 1, 'dw': 2, 'project': 3}[part] - (s == 1) }"
    name = {"expand": "conv_pw", "dw": "conv_dw", "project": "conv_pw" if s == 1 else "conv_pwl"}[part]
    return f"blocks.{s - 1}.{b - 1}.{name}"


timm_efficientnet = by_rules(
    (r"stem_conv", "conv_stem"), (r"stem_bn", "bn1"),
    (BLOCK + r"(expand|dw|project)_(conv|bn)", timm_part),
    (BLOCK + r"se_(reduce|expand)_conv", lambda s, b, part: f"blocks.{s - 1}.{b - 1}.se.conv_{part}"),
    (r"final_conv", "conv_head"), (r"final_bn", "bn2"), (r"head", "classifier"),
)


def efficientnet_pytorch(layers, theirs=()):
    """EfficientNet-PyTorch counts the blocks through all stages."""
    blocks = sorted({(int(match[1]), int(match[2])) for layer in layers if (match := re.match(BLOCK, layer))})
    place = {block: i for i, block in enumerate(blocks)}
    parts = {
        "expand_conv": "_expand_conv", "expand_bn": "_bn0", "dw_conv": "_depthwise_conv", "dw_bn": "_bn1",
        "se_reduce_conv": "_se_reduce", "se_expand_conv": "_se_expand", "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    return by_rules(
        (r"stem_conv", "_conv_stem"), (r"stem_bn", "_bn0"),
        (BLOCK + f"({'|'.join(parts)})", lambda s, b, part: f"_blocks.{place[s, b]}.{parts[part]}"),
        (r"final_conv", "_conv_head"), (r"final_bn", "_bn1"), (r"head", "_fc"),
    )(layers)


def keras_part(s, b, part):
    block = f"block{s}{chr(ord('a') + b - 1)}_"
    names = {"dw_conv": "dwconv", "dw_bn": "bn", "se_reduce_conv": "se_reduce", "se_expand_conv": "se_expand"}
    return block + names.get(part, part)


keras_efficientnet = by_rules(
    (r"stem_(conv|bn)", lambda kind: f"stem_{kind}"),
    (BLOCK + r"(\w+)", keras_part),
    (r"final_(conv|bn)", lambda kind: f"top_{kind}"), (r"head", KERAS_HEAD),
)

TORCHVISION_RESNETS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext*", "wide_resnet50_2", "wide_resnet101_2",
)
DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")

LAYOUTS = (
    Layout("torchvision", ("alexnet",), alexnet, "pytorch"),
    Layout("torchvision", ("vgg*",), vgg, "pytorch"),
    Layout("timm", ("vgg*",), timm_vgg, "pytorch"),
    Layout("Keras Applications", ("vgg16", "vgg19"), keras_vgg, "keras"),
    # timm's are named alike.
    Layout("torchvision", TORCHVISION_RESNETS, resnet, "pytorch"),
    Layout("timm", tuple(f"resnet{depth}_v2" for depth in (18, 34, 50, 101, 152)), timm_resnet_v2, "pytorch"),
    Layout("Keras Applications", ("resnet*_v1",), keras_resnet_v1, "keras", 1.001e-5),
    Layout("Keras Applications", ("tf_resnet*_v2",), keras_resnet_v2, "keras", 1.001e-5),
    # timm's are named alike.
    Layout("torchvision", DENSENETS, densenet, "pytorch"),
    Layout("Keras Applications", DENSENETS, keras_densenet, "keras", 1.001e-5),
    Layout("torchvision", ("googlenet_bn",), googlenet, "pytorch", 1e-3),
    # timm's are named alike.
    Layout("torchvision", ("inception_v3",), inception, "pytorch", 1e-3),
    Layout("Keras Applications", ("tf_inception_v3",), keras_inception, "keras", 1e-3),
    Layout("torchvision", tuple(f"efficientnet_b{i}" for i in range(5)), efficientnet, "pytorch"),
    Layout("torchvision", tuple(f"efficientnet_b{i}" for i in range(5, 8)), efficientnet, "pytorch", 1e-3),
    Layout("timm", ("efficientnet_b*",), timm_efficientnet, "pytorch"),
    # timm's efficientnet_lite* pad symmetrically and have another epsilon. By name they cannot be told from the
    # tf_efficientnet_lite* that ours are.
    Layout("timm", ("tf_efficientnet_b*", "efficientnet_lite*"), timm_efficientnet, "pytorch", 1e-3),
    Layout("EfficientNet-PyTorch", ("tf_efficientnet_b*", "efficientnet_lite*"), efficientnet_pytorch, "pytorch", 1e-3),
    Layout("Keras Applications", ("tf_efficientnet_b*",), keras_efficientnet, "keras", 1e-3),
)


def find_layouts(builder, axes):
    return [layout for layout in LAYOUTS if layout.axes == axes and layout.is_for(builder)]
