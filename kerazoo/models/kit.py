"""The parts every architecture is made of, with activation, norm and initialization bound once.

An architecture is a function ``trunk(x, kit, **design)``. It asks the kit for a layer by role ("conv, norm, act") and
never says which activation or norm that is, so that exchanging either touches no architecture.
"""
import dataclasses

import keras

from kerazoo.models import layers

NORMS = ("batch", "group", "layer", "none")


@dataclasses.dataclass(frozen=True)
class Kit:
    """Layers under one choice of activation, norm and initialization.

    Attributes:
        activation: a Keras activation name, "scaled_tanh", a function, a layer, or a layer class.
        norm: one of `NORMS`.
        epsilon: the norm's epsilon. 1e-5 is what PyTorch's published weights were trained with.
        bias: whether convolutions have a bias; None: where no norm follows.
        initializer: for kernels, a name in `INITIALIZERS`.
        head_initializer: for the last dense layer's kernel.
        rate: of every dropout, 0 to 1.
    """

    activation: object = "relu"
    norm: str = "batch"
    epsilon: float = 1e-5
    bias: bool | None = None
    initializer: str = "he_fan_out"
    head_initializer: str = "glorot"
    rate: float = 0.0

    def conv(self, x, filters, size, stride=1, *, groups=1, padding="same", bias=None, bias_start=0.0, name):
        """A convolution that pads symmetrically, as the papers and PyTorch do.

        Keras's own "same" does so too where the stride is 1; where it halves the image, it pads one side more.
        """
        if padding == "same" and size > 1 and stride > 1:
            x, padding = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x), "valid"
        elif isinstance(padding, int):
            x, padding = keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(x), "valid"
        if bias is None:
            bias = self.norm == "none" if self.bias is None else self.bias
        return keras.layers.Conv2D(
            filters, size, strides=stride, groups=groups, padding=padding, use_bias=bias,
            kernel_initializer=INITIALIZERS[self.initializer](),
            bias_initializer=keras.initializers.Constant(bias_start) if bias_start else "zeros", name=name,
        )(x)

    def normalize(self, x, name):
        match self.norm:
            case "batch":
                # Keras counts what is kept (0.9), PyTorch what is added (0.1).
                return keras.layers.BatchNormalization(momentum=0.9, epsilon=self.epsilon, name=name)(x)
            case "group":
                # 32 groups (Wu and He 2018), or the largest power of two that divides the channels.
                groups = next(g for g in (32, 16, 8, 4, 2, 1) if x.shape[-1] % g == 0)
                return keras.layers.GroupNormalization(groups, epsilon=self.epsilon, name=name)(x)
            case "layer":
                return keras.layers.LayerNormalization(epsilon=self.epsilon, name=name)(x)
            case "none":
                return x

    def act(self, x, name):
        activation = self.activation
        if isinstance(activation, str):
            activation = ACTIVATIONS.get(activation, activation)
        if activation is keras.layers.PReLU and len(x.shape) == 4:
            # One slope a channel (He et al. 2015), not one a pixel, which would fix the image size.
            return activation(shared_axes=(1, 2), name=name)(x)
        if isinstance(activation, keras.layers.Layer):
            return activation.__class__.from_config({**activation.get_config(), "name": name})(x)
        if isinstance(activation, type):
            return activation(name=name)(x)
        return keras.layers.Activation(activation, name=name)(x)

    def conv_norm(self, x, filters, size, stride=1, *, name, **options):
        """`name` ends in "conv" or "conv1": the norm is called "bn", "bn1" in its place."""
        return self.normalize(self.conv(x, filters, size, stride, name=name, **options), rename(name, "bn"))

    def conv_norm_act(self, x, filters, size, stride=1, *, name, **options):
        return self.act(self.conv_norm(x, filters, size, stride, name=name, **options), rename(name, "act"))

    def norm_act_conv(self, x, filters, size, stride=1, *, name, **options):
        """Pre-activation (He et al. 2016): norm and activation stand in front."""
        x = self.act(self.normalize(x, rename(name, "bn")), rename(name, "act"))
        return self.conv(x, filters, size, stride, name=name, **options)

    def dense(self, x, units, *, bias_start=0.0, name):
        return keras.layers.Dense(
            units, kernel_initializer=INITIALIZERS[self.initializer](),
            bias_initializer=keras.initializers.Constant(bias_start) if bias_start else "zeros", name=name,
        )(x)

    def dense_act(self, x, units, *, name, **options):
        return self.act(self.dense(x, units, name=name, **options), f"{name}_act")

    def flatten(self, x):
        check_fixed_size(x)
        return keras.layers.Flatten(name="flatten")(x)

    def max_pool(self, x, size, stride=None, *, padding=0, name):
        if padding:
            return layers.PaddedMaxPooling2D(size, stride, padding, name=name)(x)
        return keras.layers.MaxPooling2D(size, stride, name=name)(x)

    def dropout(self, x, name):
        return keras.layers.Dropout(self.rate, name=name)(x) if self.rate else x

    def add(self, x, shortcut, name):
        return keras.layers.Add(name=name)([x, shortcut])

    def adaptive_average(self, x, size, name):
        check_fixed_size(x)
        return x if x.shape[1:3] == size else layers.AdaptiveAveragePooling(size, name=name)(x)

    def local_response(self, x, name):
        return layers.LocalResponseNormalization(name=name)(x)

    def pad(self, x, margins, name):
        return keras.layers.ZeroPadding2D(margins, name=name)(x)

    def subsample(self, x, name):
        return layers.Subsampling2D(name=name)(x)

    def table_conv(self, x, table, size, name):
        return layers.TableConv2D(table, size, name=name)(x)

    def padded_shortcut(self, x, filters, stride, name):
        return layers.PaddedShortcut(filters, stride, name=name)(x)


def check_fixed_size(x):
    if None in x.shape[1:]:
        raise ValueError(
            "This network ends in dense layers, which fix the image size; got an input_shape with None. "
            "Give height and width, or use include_top=False."
        )


def rename(name, kind):
    """The name of the norm or activation beside a convolution: stem_conv -> stem_bn, block1_conv2 -> block1_bn2."""
    head, conv, tail = name.rpartition("conv")
    return f"{head}{kind}{tail}" if conv else f"{name}_{kind}"


ACTIVATIONS = {"scaled_tanh": layers.scaled_tanh}

INITIALIZERS = {
    # He et al. 2015, https://arxiv.org/abs/1502.01852, equations 10 and 14: they settle the variance, for the signal's
    # sake (fan in) or the gradient's (fan out). Uniform numbers are drawn three times faster than their Gaussian ones.
    "he_fan_out": lambda: keras.initializers.VarianceScaling(2.0, "fan_out", "uniform"),
    "he": lambda: keras.initializers.VarianceScaling(2.0, "fan_in", "uniform"),
    # Glorot and Bengio 2010, which the authors of VGG recommend in their paper's last footnote on training.
    "glorot": keras.initializers.GlorotUniform,
    # Krizhevsky et al. 2012, section 5.
    "normal_0.01": lambda: keras.initializers.RandomNormal(stddev=0.01),
    "lecun_1998": layers.LeCunUniform,
}
