"""ResNets for 32x32 images: three stages of 16, 32 and 64 channels, where ImageNet's have four.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385, section 4.2
He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
Zagoruyko, Komodakis: Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146
"""
import functools

from kerazoo.models.builder import builder, check_rate
from kerazoo.models.resnet import V1, V2, WIDE, preact_basic, preact_bottleneck, preactivate, stages


def cifar_resnet(x, kit, *, blocks):
    """6n + 2 layers: a 3x3 convolution, three stages of n basic blocks, one dense layer."""
    x = kit.conv_norm_act(x, 16, 3, name="stem_conv")
    return stages(x, kit, padded_basic, (blocks,) * 3, width=16)


def preact_resnet(x, kit, *, block, depths, width=16):
    """Pre-activation blocks behind a 3x3 convolution."""
    x = kit.conv(x, width, 3, name="stem_conv")
    x = stages(x, kit, block, depths, width)
    return kit.act(kit.normalize(x, "final_bn"), "final_act")


def wide_resnet(x, kit, *, blocks, widening, block_dropout):
    """Few pre-activation blocks, each many times wider."""
    x = kit.conv(x, 16, 3, name="stem_conv")
    block = functools.partial(wide_basic, dropout=block_dropout)
    x = stages(x, kit, block, (blocks,) * 3, 16 * widening)
    return kit.act(kit.normalize(x, "final_bn"), "final_act")


def wide_basic(x, kit, filters, stride, *, dropout, name):
    """Two 3x3 convolutions behind norm and activation, with dropout between them (fig. 1d)."""
    x, shortcut = preactivate(x, kit, filters, stride, name)
    x = kit.conv(x, filters, 3, stride, name=f"{name}_conv1")
    x = kit.act(kit.normalize(x, f"{name}_bn2"), f"{name}_act2")
    x = kit.conv(kit.dropout(x, f"{name}_dropout", dropout), filters, 3, closing=True, name=f"{name}_conv2")
    return kit.add(x, shortcut, f"{name}_add")


def padded_basic(x, kit, filters, stride, *, name):
    """Two 3x3 convolutions; where the shape changes, the shortcut skips pixels and pads channels (option A)."""
    shortcut = x if stride == 1 else kit.padded_shortcut(x, filters, stride, name=f"{name}_shortcut")
    x = kit.conv_norm_act(x, filters, 3, stride, name=f"{name}_conv1")
    x = kit.conv_norm(x, filters, 3, closing=True, name=f"{name}_conv2")
    return kit.act(kit.add(x, shortcut, f"{name}_add"), f"{name}_out")


def padded_preact_basic(x, kit, filters, stride, *, name):
    """The same two convolutions behind norm and activation (He et al. 2016, fig. 4e)."""
    shortcut = x if stride == 1 else kit.padded_shortcut(x, filters, stride, name=f"{name}_shortcut")
    x = kit.norm_act_conv(x, filters, 3, stride, name=f"{name}_conv1")
    x = kit.norm_act_conv(x, filters, 3, closing=True, name=f"{name}_conv2")
    return kit.add(x, shortcut, f"{name}_add")


# The authors' code strides in the first 1x1: https://github.com/KaimingHe/resnet-1k-layers
strided_bottleneck = functools.partial(preact_bottleneck, stride_in_first=True)

cifar = functools.partial(
    builder, input_shape=(32, 32, 3), classes=10, min_size=4, preprocessing="cifar10",
)

resnet20 = cifar("resnet20", cifar_resnet, blocks=3, reference=V1)
resnet32 = cifar("resnet32", cifar_resnet, blocks=5, reference=V1)
resnet44 = cifar("resnet44", cifar_resnet, blocks=7, reference=V1)
resnet56 = cifar("resnet56", cifar_resnet, blocks=9, reference=V1)
resnet110 = cifar("resnet110", cifar_resnet, blocks=18, reference=V1)
resnet1202 = cifar("resnet1202", cifar_resnet, blocks=200, reference=V1)

# Four stages from 64 channels on: ResNet-18's shape without its stem, common in later work on CIFAR, not in the paper.
preact_resnet18 = cifar(
    "preact_resnet18", preact_resnet, block=preact_basic, depths=(2, 2, 2, 2), width=64, min_size=8, reference=V2
)
preact_resnet110 = cifar(
    "preact_resnet110", preact_resnet, block=padded_preact_basic, depths=(18, 18, 18), reference=V2
)
preact_resnet164 = cifar(
    "preact_resnet164", preact_resnet, block=strided_bottleneck, depths=(18, 18, 18), reference=V2
)
preact_resnet1001 = cifar(
    "preact_resnet1001", preact_resnet, block=strided_bottleneck, depths=(111, 111, 111), reference=V2
)

# The paper's 28 layers count the projections: 6n + 4.
wide_resnet28_10 = cifar(
    "wide_resnet28_10", wide_resnet, blocks=4, widening=10, reference=WIDE,
    options={"block_dropout": (0.0, check_rate, "rate between the two convolutions of each block, 0 to below 1; the "
                                                "paper's is 0.3 where it uses dropout.")},
)
