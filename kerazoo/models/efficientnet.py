"""EfficientNet: one small network, scaled up in depth, width and image size at once.

Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019,
https://arxiv.org/abs/1905.11946
The Lite ones, for phones and accelerators, came without a paper:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""
import math

from kerazoo.models.builder import builder, check_rate

PAPER = "Tan, Le: EfficientNet, 2019, https://arxiv.org/abs/1905.11946"
LITE = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, after Tan, Le 2019"

# Table 1, stages 2 to 8: expansion, kernel, stride, channels, blocks.
STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# Width, depth, side of the images in pixels, dropout.
SCALES = {
    "b0": (1.0, 1.0, 224, 0.2), "b1": (1.0, 1.1, 240, 0.2), "b2": (1.1, 1.2, 260, 0.3), "b3": (1.2, 1.4, 300, 0.3),
    "b4": (1.4, 1.8, 380, 0.4), "b5": (1.6, 2.2, 456, 0.4), "b6": (1.8, 2.6, 528, 0.5), "b7": (2.0, 3.1, 600, 0.5),
    "lite0": (1.0, 1.0, 224, 0.2), "lite1": (1.0, 1.1, 240, 0.2), "lite2": (1.1, 1.2, 260, 0.3),
    "lite3": (1.2, 1.4, 280, 0.3), "lite4": (1.4, 1.8, 300, 0.3),
}


def efficientnet(x, kit, *, width, depth, lite=False, stochastic_depth):
    """Inverted residual blocks with squeeze-and-excitation; widths and depths follow from two coefficients."""
    # The Lite ones keep stem, head and the number of blocks of the first and last stage as they are in lite0.
    x = kit.conv_norm_act(x, scale_width(32, 1 if lite else width), 3, 2, name="stem_conv")
    repeats = [scale_depth(blocks, depth) for *_, blocks in STAGES]
    if lite:
        repeats[0], repeats[-1] = STAGES[0][-1], STAGES[-1][-1]
    count = 0
    for stage, ((expansion, size, stride, filters, _), blocks) in enumerate(zip(STAGES, repeats), 1):
        for i in range(1, blocks + 1):
            x = inverted_residual(
                x, kit, scale_width(filters, width), size, stride if i == 1 else 1, expansion=expansion,
                squeeze=not lite, drop=stochastic_depth * count / sum(repeats), name=f"stage{stage}_block{i}",
            )
            count += 1
    return kit.conv_norm_act(x, scale_width(1280, 1 if lite else width), 1, name="final_conv")


def inverted_residual(x, kit, filters, size, stride, *, expansion, squeeze, drop, name):
    """Widen by 1x1, filter each channel, weigh the channels, narrow by 1x1 (Sandler et al. 2018; Hu et al. 2017)."""
    shortcut, inputs = x, x.shape[-1]
    if expansion > 1:
        x = kit.conv_norm_act(x, expansion * inputs, 1, name=f"{name}_expand_conv")
    x = kit.depthwise_conv(x, size, stride, name=f"{name}_dw_conv")
    x = kit.act(kit.normalize(x, f"{name}_dw_bn"), f"{name}_dw_act")
    if squeeze:
        x = squeeze_excite(x, kit, max(1, inputs // 4), name=f"{name}_se")
    x = kit.conv_norm(x, filters, 1, name=f"{name}_project_conv")
    if stride > 1 or inputs != filters:
        return x
    return kit.add(kit.stochastic_depth(x, drop, f"{name}_drop"), shortcut, f"{name}_add")


def squeeze_excite(x, kit, units, *, name):
    """Weigh each channel by what the whole image says of it."""
    gate = kit.global_average(x, keepdims=True, name=f"{name}_pool")
    gate = kit.act(kit.conv(gate, units, 1, bias=True, name=f"{name}_reduce_conv"), f"{name}_reduce_act")
    gate = kit.sigmoid(kit.conv(gate, x.shape[-1], 1, bias=True, name=f"{name}_expand_conv"), f"{name}_gate")
    return kit.multiply(x, gate, f"{name}_scale")


def scale_width(filters, coefficient):
    """To the nearest multiple of eight that is no more than a tenth too small."""
    scaled = filters * coefficient
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def scale_depth(blocks, coefficient):
    return math.ceil(blocks * coefficient)


def variant(name, *, side=None, **kit):
    """The model of that name: its coefficients stand in `SCALES`."""
    scale = name.split("_")[-1]
    width, depth, published_side, dropout = SCALES[scale]
    lite = scale.startswith("lite")
    side = side or published_side
    return builder(
        name, efficientnet, width=width, depth=depth, lite=lite, input_shape=(side, side, 3), dropout=dropout,
        # Lite pixels are (x - 127) / 128.
        preprocessing=(127 / 255, 128 / 255) if lite else "imagenet", reference=LITE if lite else PAPER,
        kit={"activation": "relu6" if lite else "silu", "momentum": 0.99, "head_initializer": "fan_out", **kit},
        options={"stochastic_depth": (0.2, check_rate, "rate at which the last residual block is left out, image "
                                                       "by image, in training; earlier ones less.")},
    )


# Symmetric padding, as torchvision and timm have it; torchvision's b2 is published for larger images.
efficientnet_b0 = variant("efficientnet_b0")
efficientnet_b1 = variant("efficientnet_b1")
efficientnet_b2 = variant("efficientnet_b2", side=288)
efficientnet_b3 = variant("efficientnet_b3")
efficientnet_b4 = variant("efficientnet_b4")
efficientnet_b5 = variant("efficientnet_b5", epsilon=1e-3)
efficientnet_b6 = variant("efficientnet_b6", epsilon=1e-3)
efficientnet_b7 = variant("efficientnet_b7", epsilon=1e-3)

# The authors' own padding.
tf_efficientnet_b0 = variant("tf_efficientnet_b0", epsilon=1e-3, late_padding=True)
tf_efficientnet_b1 = variant("tf_efficientnet_b1", epsilon=1e-3, late_padding=True)
tf_efficientnet_b2 = variant("tf_efficientnet_b2", epsilon=1e-3, late_padding=True)
tf_efficientnet_b3 = variant("tf_efficientnet_b3", epsilon=1e-3, late_padding=True)
tf_efficientnet_b4 = variant("tf_efficientnet_b4", epsilon=1e-3, late_padding=True)
tf_efficientnet_b5 = variant("tf_efficientnet_b5", epsilon=1e-3, late_padding=True)
tf_efficientnet_b6 = variant("tf_efficientnet_b6", epsilon=1e-3, late_padding=True)
tf_efficientnet_b7 = variant("tf_efficientnet_b7", epsilon=1e-3, late_padding=True)

efficientnet_lite0 = variant("efficientnet_lite0", epsilon=1e-3, late_padding=True)
efficientnet_lite1 = variant("efficientnet_lite1", epsilon=1e-3, late_padding=True)
efficientnet_lite2 = variant("efficientnet_lite2", epsilon=1e-3, late_padding=True)
efficientnet_lite3 = variant("efficientnet_lite3", epsilon=1e-3, late_padding=True)
efficientnet_lite4 = variant("efficientnet_lite4", epsilon=1e-3, late_padding=True)
