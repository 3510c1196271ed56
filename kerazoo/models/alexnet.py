"""AlexNet: the network that won ImageNet in 2012, as published, and its later single-tower form.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012,
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks
Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014, https://arxiv.org/abs/1404.5997
"""
from kerazoo.models.builder import builder


def alexnet_tower(x, kit):
    """Five convolutions in one tower, without local response normalization, as torchvision has it."""
    x = kit.conv_norm_act(x, 64, 11, 4, padding=2, name="stage1_conv")
    x = kit.max_pool(x, 3, 2, name="stage1_pool")
    x = kit.conv_norm_act(x, 192, 5, name="stage2_conv")
    x = kit.max_pool(x, 3, 2, name="stage2_pool")
    x = kit.conv_norm_act(x, 384, 3, name="stage3_conv")
    x = kit.conv_norm_act(x, 256, 3, name="stage4_conv")
    x = kit.conv_norm_act(x, 256, 3, name="stage5_conv")
    return kit.max_pool(x, 3, 2, name="stage5_pool")


def alexnet_2012_tower(x, kit):
    """Five convolutions, three of them in the two groups of two GPUs, with local response normalization.

    Biases start at 1 in the layers 2, 4, 5 and the hidden dense ones, so that ReLUs see positive inputs (section 5).
    """
    x = kit.conv_norm_act(x, 96, 11, 4, padding="valid", name="stage1_conv")
    x = kit.max_pool(kit.local_response(x, "stage1_lrn"), 3, 2, name="stage1_pool")
    x = kit.conv_norm_act(x, 256, 5, groups=2, bias_start=1.0, name="stage2_conv")
    x = kit.max_pool(kit.local_response(x, "stage2_lrn"), 3, 2, name="stage2_pool")
    x = kit.conv_norm_act(x, 384, 3, name="stage3_conv")
    x = kit.conv_norm_act(x, 384, 3, groups=2, bias_start=1.0, name="stage4_conv")
    x = kit.conv_norm_act(x, 256, 3, groups=2, bias_start=1.0, name="stage5_conv")
    return kit.max_pool(x, 3, 2, name="stage5_pool")


def dense_layers(x, kit):
    """Two dense layers of 4096 units, with dropout in front of each; other image sizes are averaged to 6x6 cells."""
    x = kit.flatten(kit.adaptive_average(x, (6, 6), "cells"))
    for name in ("fc6", "fc7"):
        x = kit.dense_act(kit.dropout(x, f"{name}_dropout"), 4096, name=name)
    return x


def dense_layers_2012(x, kit):
    """Two dense layers of 4096 units, with dropout behind each."""
    x = kit.flatten(x)
    for name in ("fc6", "fc7"):
        x = kit.dropout(kit.dense_act(x, 4096, bias_start=1.0, name=name), f"{name}_dropout")
    return x


alexnet = builder(
    "alexnet", alexnet_tower, top=dense_layers, dropout=0.5, min_size=63, kit={"norm": "none"},
    reference="Krizhevsky: One weird trick, 2014, https://arxiv.org/abs/1404.5997, as torchvision has it",
)
# The paper says 224, but its first layer fits 227: (227 - 11) / 4 + 1 = 55. It subtracts each pixel's mean over the
# training set; here the mean of each channel.
alexnet_2012 = builder(
    "alexnet_2012", alexnet_2012_tower, top=dense_layers_2012, dropout=0.5, min_size=67, input_shape=(227, 227, 3),
    kit={"norm": "none", "initializer": "normal_0.01", "head_initializer": "normal_0.01"},
    preprocessing=((0.485, 0.456, 0.406), 1 / 255),
    reference="Krizhevsky et al.: ImageNet Classification with Deep CNNs, 2012, https://papers.nips.cc/paper/4824",
)
