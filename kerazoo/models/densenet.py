"""DenseNet: every layer reads the outputs of all layers before it in its stage.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2016,
https://arxiv.org/abs/1608.06993
"""
import functools

from kerazoo.models.builder import builder

PAPER = "Huang et al.: Densely Connected Convolutional Networks, 2016, https://arxiv.org/abs/1608.06993"


def densenet(x, kit, *, depths, growth, stem=64):
    """Four stages of densely connected bottlenecks behind a 7x7 stem; transitions halve the image and the channels."""
    x = kit.conv_norm_act(x, stem, 7, 2, name="stem_conv")
    x = kit.max_pool(x, 3, 2, padding=1, name="stem_pool")
    return dense_stages(x, kit, depths, growth, bottleneck, compression=0.5)


def cifar_densenet(x, kit, *, depth, growth):
    """Three stages for 32x32 images, without bottlenecks or compression (section 4.2)."""
    x = kit.conv(x, 16, 3, name="stem_conv")
    return dense_stages(x, kit, ((depth - 4) // 3,) * 3, growth, plain, compression=1)


def cifar_densenet_bc(x, kit, *, depth, growth):
    """Three stages for 32x32 images, with bottlenecks and compression."""
    x = kit.conv(x, 2 * growth, 3, name="stem_conv")
    return dense_stages(x, kit, ((depth - 4) // 6,) * 3, growth, bottleneck, compression=0.5)


def dense_stages(x, kit, depths, growth, block, compression):
    """Stages of dense blocks, with a transition between each two, and a last norm and activation."""
    for stage, depth in enumerate(depths, 1):
        if stage > 1:
            x = transition(x, kit, int(x.shape[-1] * compression), name=f"transition{stage - 1}")
        for i in range(1, depth + 1):
            name = f"stage{stage}_block{i}"
            x = kit.concat([x, block(x, kit, growth, name=name)], f"{name}_concat")
    return kit.act(kit.normalize(x, "final_bn"), "final_act")


def bottleneck(x, kit, growth, *, name):
    """A 1x1 convolution to four times the growth, then the 3x3 (table 1)."""
    x = kit.norm_act_conv(x, 4 * growth, 1, name=f"{name}_conv1")
    return kit.norm_act_conv(x, growth, 3, name=f"{name}_conv2")


def plain(x, kit, growth, *, name):
    """The 3x3 convolution alone."""
    return kit.norm_act_conv(x, growth, 3, name=f"{name}_conv1")


def transition(x, kit, filters, *, name):
    """A 1x1 convolution and a 2x2 average."""
    return kit.average_pool(kit.norm_act_conv(x, filters, 1, name=f"{name}_conv"), 2, name=f"{name}_pool")


variant = functools.partial(builder, kit={"initializer": "he"}, reference=PAPER)
imagenet = functools.partial(variant, trunk=densenet, growth=32)
cifar = functools.partial(variant, input_shape=(32, 32, 3), classes=10, min_size=4, preprocessing="cifar10")

densenet121 = imagenet("densenet121", depths=(6, 12, 24, 16))
densenet161 = imagenet("densenet161", depths=(6, 12, 36, 24), growth=48, stem=96)
densenet169 = imagenet("densenet169", depths=(6, 12, 32, 32))
densenet201 = imagenet("densenet201", depths=(6, 12, 48, 32))

densenet40_12 = cifar("densenet40_12", cifar_densenet, depth=40, growth=12)
densenet_bc100_12 = cifar("densenet_bc100_12", cifar_densenet_bc, depth=100, growth=12)
densenet_bc250_24 = cifar("densenet_bc250_24", cifar_densenet_bc, depth=250, growth=24)
densenet_bc190_40 = cifar("densenet_bc190_40", cifar_densenet_bc, depth=190, growth=40)
