"""ResNet: learn the residual, keep the identity.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385
He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027
Zagoruyko, Komodakis: Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146
Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, 2016,
https://arxiv.org/abs/1611.05431
"""
import dataclasses
import functools

from kerazoo.models.builder import builder

V1 = "He et al.: Deep Residual Learning for Image Recognition, 2015, https://arxiv.org/abs/1512.03385"
V2 = "He et al.: Identity Mappings in Deep Residual Networks, 2016, https://arxiv.org/abs/1603.05027"
WIDE = "Zagoruyko, Komodakis: Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146"
NEXT = "Xie et al.: Aggregated Residual Transformations, 2016, https://arxiv.org/abs/1611.05431"


def resnet(x, kit, *, block, depths):
    """Four stages of residual blocks behind a 7x7 stem; each stage halves the image and doubles the channels."""
    x = kit.conv_norm_act(x, 64, 7, 2, name="stem_conv")
    x = kit.max_pool(x, 3, 2, padding=1, name="stem_pool")
    return stages(x, kit, block, depths)


def resnet_v2(x, kit, *, block, depths):
    """Pre-activation: norm and activation come before each convolution, and the identity path stays clean."""
    x = kit.conv(x, 64, 7, 2, name="stem_conv")
    x = kit.max_pool(x, 3, 2, padding=1, name="stem_pool")
    x = stages(x, kit, block, depths)
    return kit.act(kit.normalize(x, "final_bn"), "final_act")


def tf_resnet_v2(x, kit, *, depths):
    """Pre-activation as TensorFlow's ports have it: a stage halves the image in its last block, not in its first."""
    x = kit.conv(x, 64, 7, 2, bias=True, name="stem_conv")
    # Zeros, which may win: no activation has come before.
    x = kit.max_pool(kit.pad(x, 1, "stem_pool_pad"), 3, 2, name="stem_pool")
    x = stages(x, kit, functools.partial(preact_bottleneck, bias=True), depths, halve_last=True)
    return kit.act(kit.normalize(x, "final_bn"), "final_act")


def stages(x, kit, block, depths, width=64, halve_last=False):
    """Residual blocks; each stage but the first halves the image on entry (or but the last, at its end), and doubles
    the channels."""
    kit = dataclasses.replace(kit, branches=sum(depths))
    for stage, depth in enumerate(depths, 1):
        for i in range(1, depth + 1):
            halves = i == depth and stage < len(depths) if halve_last else i == 1 and stage > 1
            x = block(x, kit, width * 2 ** (stage - 1), 2 if halves else 1, name=f"stage{stage}_block{i}")
    return x


def basic(x, kit, filters, stride, *, name):
    """Two 3x3 convolutions (He et al. 2015, fig. 5, left)."""
    shortcut = project(x, kit, filters, stride, name)
    x = kit.conv_norm_act(x, filters, 3, stride, name=f"{name}_conv1")
    x = kit.conv_norm(x, filters, 3, closing=True, name=f"{name}_conv2")
    return kit.act(kit.add(x, shortcut, f"{name}_add"), f"{name}_out")


def bottleneck(x, kit, filters, stride, *, groups=1, width=64, stride_in_first=False, name):
    """1x1 reduce, 3x3, 1x1 expand (fig. 5, right); in ResNeXt the 3x3 works in groups.

    The paper strides in the first 1x1; "v1.5" strides in the 3x3, which sees every pixel, and is what published
    PyTorch weights expect. `width` is that of each group in the first stage, in channels.
    """
    first, second = (stride, 1) if stride_in_first else (1, stride)
    inner = groups * filters * width // 64
    shortcut = project(x, kit, 4 * filters, stride, name)
    x = kit.conv_norm_act(x, inner, 1, first, name=f"{name}_conv1")
    x = kit.conv_norm_act(x, inner, 3, second, groups=groups, name=f"{name}_conv2")
    x = kit.conv_norm(x, 4 * filters, 1, closing=True, name=f"{name}_conv3")
    return kit.act(kit.add(x, shortcut, f"{name}_add"), f"{name}_out")


def project(x, kit, filters, stride, name):
    """The identity where shapes agree, else a 1x1 convolution (option B)."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    return kit.conv_norm(x, filters, 1, stride, name=f"{name}_shortcut_conv")


def preact_basic(x, kit, filters, stride, *, name):
    """Two 3x3 convolutions behind norm and activation (He et al. 2016, fig. 4e)."""
    x, shortcut = preactivate(x, kit, filters, stride, name)
    x = kit.conv(x, filters, 3, stride, name=f"{name}_conv1")
    x = kit.norm_act_conv(x, filters, 3, closing=True, name=f"{name}_conv2")
    return kit.add(x, shortcut, f"{name}_add")


def preact_bottleneck(x, kit, filters, stride, *, stride_in_first=False, bias=None, name):
    """1x1, 3x3, 1x1, each behind norm and activation; the stride sits in the 3x3, or in the first 1x1."""
    first, second = (stride, 1) if stride_in_first else (1, stride)
    x, shortcut = preactivate(x, kit, 4 * filters, stride, name, bias)
    x = kit.conv(x, filters, 1, first, name=f"{name}_conv1")
    x = kit.norm_act_conv(x, filters, 3, second, name=f"{name}_conv2")
    x = kit.norm_act_conv(x, 4 * filters, 1, bias=bias, closing=True, name=f"{name}_conv3")
    return kit.add(x, shortcut, f"{name}_add")


def preactivate(x, kit, filters, stride, name, bias=None):
    """The block's first norm and activation, and its shortcut: a projection reads the activated tensor."""
    active = kit.act(kit.normalize(x, f"{name}_bn1"), f"{name}_act1")
    if x.shape[-1] != filters:
        return active, kit.conv(active, filters, 1, stride, bias=bias, name=f"{name}_shortcut_conv")
    return active, x if stride == 1 else kit.max_pool(x, 1, stride, name=f"{name}_shortcut_pool")


bottleneck_v1 = functools.partial(bottleneck, stride_in_first=True)

resnet18 = builder("resnet18", resnet, block=basic, depths=(2, 2, 2, 2), reference=V1)
resnet34 = builder("resnet34", resnet, block=basic, depths=(3, 4, 6, 3), reference=V1)
resnet50 = builder("resnet50", resnet, block=bottleneck, depths=(3, 4, 6, 3), reference=V1)
resnet101 = builder("resnet101", resnet, block=bottleneck, depths=(3, 4, 23, 3), reference=V1)
resnet152 = builder("resnet152", resnet, block=bottleneck, depths=(3, 8, 36, 3), reference=V1)

resnet50_v1 = builder("resnet50_v1", resnet, block=bottleneck_v1, depths=(3, 4, 6, 3), reference=V1)
resnet101_v1 = builder("resnet101_v1", resnet, block=bottleneck_v1, depths=(3, 4, 23, 3), reference=V1)
resnet152_v1 = builder("resnet152_v1", resnet, block=bottleneck_v1, depths=(3, 8, 36, 3), reference=V1)

resnet18_v2 = builder("resnet18_v2", resnet_v2, block=preact_basic, depths=(2, 2, 2, 2), reference=V2)
resnet34_v2 = builder("resnet34_v2", resnet_v2, block=preact_basic, depths=(3, 4, 6, 3), reference=V2)
resnet50_v2 = builder("resnet50_v2", resnet_v2, block=preact_bottleneck, depths=(3, 4, 6, 3), reference=V2)
resnet101_v2 = builder("resnet101_v2", resnet_v2, block=preact_bottleneck, depths=(3, 4, 23, 3), reference=V2)
resnet152_v2 = builder("resnet152_v2", resnet_v2, block=preact_bottleneck, depths=(3, 8, 36, 3), reference=V2)

# TF-Slim's and Keras Applications' form of v2, for pixels from -1 to 1.
tf_v2 = functools.partial(
    builder, trunk=tf_resnet_v2, kit={"epsilon": 1.001e-5}, preprocessing=(0.5, 0.5), reference=V2
)
tf_resnet50_v2 = tf_v2("tf_resnet50_v2", depths=(3, 4, 6, 3))
tf_resnet101_v2 = tf_v2("tf_resnet101_v2", depths=(3, 4, 23, 3))
tf_resnet152_v2 = tf_v2("tf_resnet152_v2", depths=(3, 8, 36, 3))




def wide(name, reference, depths, groups=1, width=64):
    block = functools.partial(bottleneck, groups=groups, width=width)
    return builder(name, resnet, block=block, depths=depths, reference=reference)


wide_resnet50_2 = wide("wide_resnet50_2", WIDE, (3, 4, 6, 3), width=128)
wide_resnet101_2 = wide("wide_resnet101_2", WIDE, (3, 4, 23, 3), width=128)

resnext50_32x4d = wide("resnext50_32x4d", NEXT, (3, 4, 6, 3), groups=32, width=4)
resnext101_32x8d = wide("resnext101_32x8d", NEXT, (3, 4, 23, 3), groups=32, width=8)
resnext101_64x4d = wide("resnext101_64x4d", NEXT, (3, 4, 23, 3), groups=64, width=4)
