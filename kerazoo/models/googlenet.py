"""GoogLeNet: filters of several sizes side by side, and classifiers halfway that help the gradient.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going Deeper with Convolutions, 2014,
https://arxiv.org/abs/1409.4842
"""
import functools

from kerazoo.models.builder import builder, check_flag

PAPER = "Szegedy et al.: Going Deeper with Convolutions, 2014, https://arxiv.org/abs/1409.4842"

# Table 1: filters of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
MODULES = {
    3: {"a": (64, 96, 128, 16, 32, 32), "b": (128, 128, 192, 32, 96, 64)},
    4: {
        "a": (192, 96, 208, 16, 48, 64), "b": (160, 112, 224, 24, 64, 64), "c": (128, 128, 256, 24, 64, 64),
        "d": (112, 144, 288, 32, 64, 64), "e": (256, 160, 320, 32, 128, 128),
    },
    5: {"a": (256, 160, 320, 32, 128, 128), "b": (384, 192, 384, 48, 128, 128)},
}
# The paper names no constants; these are those of Caffe's BVLC GoogLeNet, which divides alpha by the depth.
LRN = {"depth": 5, "bias": 1.0, "alpha": 1e-4 / 5, "beta": 0.75}


def nine_modules(x, kit, *, large=5, last_pool=3, local_response=True, aux_heads):
    """Nine Inception modules of 1x1, 3x3, 5x5 convolutions and a pooling, each behind a cheap 1x1."""
    normalize = functools.partial(kit.local_response, **LRN) if local_response else lambda x, name: x
    x = kit.conv_norm_act(x, 64, 7, 2, name="stage1_conv")
    x = normalize(halve(x, kit, 3, "stage1_pool"), "stage1_lrn")
    x = kit.conv_norm_act(x, 64, 1, name="stage2_conv1")
    x = kit.conv_norm_act(x, 192, 3, name="stage2_conv2")
    x = halve(normalize(x, "stage2_lrn"), kit, 3, "stage2_pool")
    taps = []
    for stage, modules in MODULES.items():
        for letter, filters in modules.items():
            x = inception(x, kit, *filters, large=large, name=f"stage{stage}_{letter}")
            if aux_heads and (stage, letter) in ((4, "a"), (4, "d")):
                taps.append(x)
        if stage < 5:
            x = halve(x, kit, 3 if stage == 3 else last_pool, f"pool{stage}")
    return x, taps


def inception(x, kit, one, reduce_three, three, reduce_five, five, pool, *, large, name):
    """Figure 2b; torchvision's port has 3x3 filters in the branch that is 5x5 in the paper."""
    conv = kit.conv_norm_act
    middle = conv(x, reduce_three, 1, name=f"{name}_3x3_reduce_conv")
    wide = conv(x, reduce_five, 1, name=f"{name}_5x5_reduce_conv")
    return kit.concat([
        conv(x, one, 1, name=f"{name}_1x1_conv"),
        conv(middle, three, 3, name=f"{name}_3x3_conv"),
        conv(wide, five, large, name=f"{name}_5x5_conv"),
        conv(kit.max_pool(x, 3, 1, padding="same", name=f"{name}_pool"), pool, 1, name=f"{name}_pool_conv"),
    ], f"{name}_concat")


def halve(x, kit, size, name):
    """Max pooling that looks past the lower right edge rather than drop pixels, as Caffe and torchvision do."""
    return kit.max_pool(x, size, 2, padding=(0, 1), name=name)


def auxiliary(x, kit, classes, head, *, pool_exactly, name):
    """Section 5: average to 4x4 cells, 128 1x1 convolutions, 1024 units, dropout of 70 %, a classifier."""
    if pool_exactly and x.shape[1:3] == (14, 14):
        # The paper's 5x5 pooling in stride 3; other image sizes are averaged to as many cells.
        x = kit.average_pool(x, 5, 3, name=f"{name}_pool")
    else:
        x = kit.adaptive_average(x, (4, 4), f"{name}_pool")
    x = kit.conv_norm_act(x, 128, 1, name=f"{name}_conv")
    x = kit.dense_act(kit.flatten(x, f"{name}_flatten"), 1024, name=f"{name}_fc")
    return head(kit.dropout(x, f"{name}_dropout", 0.7), kit, classes, name=f"{name}_head")


def variant(name, *, aux_heads, pool_exactly, **design):
    return builder(
        name, nine_modules, min_size=32, reference=PAPER,
        auxiliary=functools.partial(auxiliary, pool_exactly=pool_exactly), auxiliary_weight=0.3,
        options={"aux_heads": (
            aux_heads, check_flag, "two auxiliary classifiers, which take part in the training of this very model, "
            "not of one made of its layers, and in nothing else; each one's loss weighs 0.3. They fix the image size.",
        )},
        **design,
    )


googlenet = variant(
    "googlenet", aux_heads=True, pool_exactly=True, dropout=0.4, kit={"norm": "none", "initializer": "glorot"}
)
# As torchvision has it: batch norm, 3x3 for 5x5, a 2x2 pooling behind stage 4, auxiliary heads that average otherwise.
googlenet_bn = variant(
    "googlenet_bn", aux_heads=False, pool_exactly=False, dropout=0.2, kit={"epsilon": 1e-3},
    large=3, last_pool=2, local_response=False,
)
