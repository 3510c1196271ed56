"""VGG: nothing but 3x3 convolutions, deeper and deeper.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014,
https://arxiv.org/abs/1409.1556
"""
from kerazoo.models.builder import builder

PAPER = "Simonyan, Zisserman: Very Deep Convolutional Networks, 2014, https://arxiv.org/abs/1409.1556"


def vgg(x, kit, *, depths):
    """Five stages of 3x3 convolutions, each followed by a max pooling (table 1, columns A, B, D, E)."""
    for stage, (depth, filters) in enumerate(zip(depths, (64, 128, 256, 512, 512)), 1):
        for i in range(1, depth + 1):
            x = kit.conv_norm_act(x, filters, 3, name=f"stage{stage}_conv{i}")
        x = kit.max_pool(x, 2, name=f"stage{stage}_pool")
    return x


def dense_layers(x, kit):
    """Two dense layers of 4096 units; other image sizes than 224 are averaged to 7x7 cells, as in torchvision."""
    x = kit.flatten(kit.adaptive_average(x, (7, 7), "cells"))
    for name in ("fc6", "fc7"):
        x = kit.dropout(kit.dense_act(x, 4096, name=name), f"{name}_dropout")
    return x


def variant(name, depths, norm="none"):
    # The batch-norm variants, which came after the paper, keep their convolutions' biases, as in torchvision.
    return builder(
        name, vgg, depths=depths, top=dense_layers, dropout=0.5, reference=PAPER,
        kit={"norm": norm, "bias": True, "initializer": "glorot"},
    )


vgg11 = variant("vgg11", (1, 1, 2, 2, 2))
vgg13 = variant("vgg13", (2, 2, 2, 2, 2))
vgg16 = variant("vgg16", (2, 2, 3, 3, 3))
vgg19 = variant("vgg19", (2, 2, 4, 4, 4))
vgg11_bn = variant("vgg11_bn", (1, 1, 2, 2, 2), "batch")
vgg13_bn = variant("vgg13_bn", (2, 2, 2, 2, 2), "batch")
vgg16_bn = variant("vgg16_bn", (2, 2, 3, 3, 3), "batch")
vgg19_bn = variant("vgg19_bn", (2, 2, 4, 4, 4), "batch")
