"""Write tags.csv, the table of published weights, anew from what torchvision, timm and Keras say about theirs.

    python -m kerazoo.weights.make_tags [results-imagenet.csv COMMIT]

Needs torchvision and timm, which kerazoo itself does not. Accuracies of torchvision's weights come with it. Those of
timm's are in the file results/results-imagenet.csv of https://github.com/huggingface/pytorch-image-models; give a copy
of it and the commit that it is of. Those of Keras's were read at https://keras.io/api/applications. An accuracy that no
given file has stays as it is in the table, with its source: without a file, only what the packages say is renewed.
"""
import csv
import dataclasses
import importlib
import inspect
import math
import re
import sys

import keras
import timm
import torchvision

from kerazoo.weights.tags import TABLE, Tag, table

IMAGENET, HALF = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)
# Keras Applications' "caffe" mode: the means of the pixels, 0 to 255, in RGB order here; nothing is done about scale.
CAFFE = tuple(round(mean / 255, 9) for mean in (123.68, 116.779, 103.939)), (round(1 / 255, 9),) * 3

# Ours and theirs, where they differ.
TORCHVISION = {"googlenet_bn": "googlenet"} | {name: name for name in (
    "alexnet vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn inception_v3 resnet18 resnet34 resnet50 "
    "resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2 "
    "densenet121 densenet161 densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 "
    "efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7").split()}
# timm's VGG and most of its DenseNets are torchvision's files. Its efficientnet_b5 to b7 have no weights trained on
# these 1000 classes alone. Its efficientnet_lite pad symmetrically, which ours do not.
TIMM = {"resnet50_v2": "resnetv2_50", "resnet101_v2": "resnetv2_101"} | {
    f"efficientnet_lite{n}": f"tf_efficientnet_lite{n}" for n in range(5)
} | {name: name for name in (
    "inception_v3 resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d "
    "wide_resnet50_2 wide_resnet101_2 densenet121 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 "
    "efficientnet_b4 tf_efficientnet_b0 tf_efficientnet_b1 tf_efficientnet_b2 tf_efficientnet_b3 tf_efficientnet_b4 "
    "tf_efficientnet_b5 tf_efficientnet_b6 tf_efficientnet_b7").split()}
# Ours: (module, function, pixels, (mean, std), BGR, license). The licenses of VGG, ResNet, Inception and DenseNet are
# named in the documentation of Keras 2 (docs/templates/applications.md); the others are Keras's own.
KERAS = {
    "vgg16": ("vgg16", "VGG16", 224, CAFFE, True, "cc-by-4.0"),
    "vgg19": ("vgg19", "VGG19", 224, CAFFE, True, "cc-by-4.0"),
    "resnet50_v1": ("resnet", "ResNet50", 224, CAFFE, True, "mit"),
    "resnet101_v1": ("resnet", "ResNet101", 224, CAFFE, True, "mit"),
    "resnet152_v1": ("resnet", "ResNet152", 224, CAFFE, True, "mit"),
    "tf_resnet50_v2": ("resnet", "ResNet50V2", 224, HALF, False, "apache-2.0"),
    "tf_resnet101_v2": ("resnet", "ResNet101V2", 224, HALF, False, "apache-2.0"),
    "tf_resnet152_v2": ("resnet", "ResNet152V2", 224, HALF, False, "apache-2.0"),
    "tf_inception_v3": ("inception_v3", "InceptionV3", 299, HALF, False, "apache-2.0"),
    "densenet121": ("densenet", "DenseNet121", 224, IMAGENET, False, "bsd-3-clause"),
    "densenet169": ("densenet", "DenseNet169", 224, IMAGENET, False, "bsd-3-clause"),
    "densenet201": ("densenet", "DenseNet201", 224, IMAGENET, False, "bsd-3-clause"),
} | {f"tf_efficientnet_b{n}": ("efficientnet", f"EfficientNetB{n}", pixels, IMAGENET, False, "apache-2.0")
     for n, pixels in enumerate((224, 240, 260, 300, 380, 456, 528, 600))}

# Models with the option `aux_heads`. Of their files, torchvision's hold the auxiliary heads; timm's own do not, as its
# inception_v3.py says, and Keras's networks have none.
AUX_HEADS = ("googlenet_bn", "inception_v3", "tf_inception_v3")

# What weights="imagenet" takes is the first of these that a model has; tags.py says why.
DEFAULTS = ("tv2_in1k", "tv_in1k", "in1k", "aa_in1k", "keras_in1k", "a1h_in1k")


def from_torchvision():
    for model, theirs in TORCHVISION.items():
        for weights in torchvision.models.get_model_weights(theirs):
            if weights.meta["categories"] is None:  # VGG-16's convolutions alone
                continue
            transforms = weights.transforms()
            # The code of these two takes pixels normalized as ever and normalizes them anew.
            mean, std = HALF if theirs in ("googlenet", "inception_v3") else (transforms.mean, transforms.std)
            metrics = weights.meta["_metrics"]["ImageNet-1K"]
            yield Tag(
                model=model, tag={"V1": "tv_in1k", "V2": "tv2_in1k"}[weights.name.split("_")[-1]], url=weights.url,
                hash="sha256:" + re.search(r"-([0-9a-f]{8})\.pth$", weights.url)[1],
                megabytes=round(weights.meta["_file_size"] * 2**20 / 1e6, 1), layout="torchvision",
                license="bsd-3-clause", top1=metrics["acc@1"], top5=metrics["acc@5"], mean=mean, std=std,
                input_size=transforms.crop_size[0], resize_size=transforms.resize_size[0],
                interpolation=transforms.interpolation.value, antialias=transforms.antialias,
                source=f"torchvision {torchvision.__version__.split('+')[0]} {weights}",
            )


def from_timm():
    for model, theirs in TIMM.items():
        for name in timm.list_pretrained(f"{theirs}.*"):
            config, tag = timm.get_pretrained_cfg(name), name.split(".")[1]
            # torchvision's own files are listed already.
            if tag in ("tv_in1k", "tv2_in1k") or config.num_classes != 1000:
                continue
            # Where a size to test at is named, the figures are for that size.
            size = (config.test_input_size or config.input_size)[-1]
            assert config.crop_mode == "center" and config.hf_hub_id == f"timm/{name}", name
            yield Tag(
                model=model, tag=tag, repo=config.hf_hub_id, file="model.safetensors", layout="timm",
                license=config.license, mean=config.mean, std=config.std, input_size=size,
                resize_size=math.floor(size / (config.test_crop_pct or config.crop_pct)),
                # timm resizes with Pillow, which filters whenever it makes smaller.
                interpolation=config.interpolation, antialias=True,
                source=f"timm {timm.__version__} {name}",
            )


def from_keras():
    for model, (module, function, size, (mean, std), bgr, license) in KERAS.items():
        module = importlib.import_module(f"keras.src.applications.{module}")
        code, key = inspect.getsource(module), function.lower()
        if hasattr(module, "WEIGHTS_HASHES"):
            file = f"{key}_weights_tf_dim_ordering_tf_kernels.h5" if "resnet" in key else f"{key}.h5"
            url = module.BASE_WEIGHTS_PATH + file
            md5 = module.WEIGHTS_HASHES[key.replace("efficientnet", "")][0]
        else:
            url = vars(module).get(f"{function.upper()}_WEIGHT_PATH") or module.WEIGHTS_PATH
            md5 = re.search(re.escape(url.split("/")[-1]) + r'",.*?file_hash="(\w{32})"', code, re.DOTALL)[1]
        yield Tag(
            model=model, tag="keras_in1k", url=url, hash=f"md5:{md5}", layout="keras_applications", license=license,
            mean=mean, std=std, bgr=bgr, input_size=size, source=f"Keras {keras.__version__} applications.{function}",
        )


def with_accuracy(tag, results, commit):
    """The tag with its accuracy from timm's file, or else as the table has it."""
    known = table().get((tag.model, tag.tag))
    # The same network is listed once for each size that it was tried at.
    if found := tag.repo and results.get((tag.repo.removeprefix("timm/"), tag.input_size)):
        figures, source = found, f"timm results/results-imagenet.csv@{commit[:8]}"
    elif known and known.input_size == tag.input_size and "; accuracy: " in known.source:
        figures, source = (known.top1, known.top5), known.source.split("; accuracy: ")[1]
    else:
        return tag
    return dataclasses.replace(tag, top1=figures[0], top5=figures[1], source=f"{tag.source}; accuracy: {source}")


def text(value):
    """A cell of the table, as tags.py reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return " ".join(f"{part:g}" if round(part, 6) == part else str(part) for part in value)
    return "" if value is None else str(value)


def main(file="", commit=""):
    results, models = {}, {}
    if file:
        with open(file, newline="", encoding="utf-8") as rows:
            results = {(row["model"], int(row["img_size"])): (float(row["top1"]), float(row["top5"]))
                       for row in csv.DictReader(rows)}
    for tag in [*from_torchvision(), *from_keras(), *from_timm()]:
        models.setdefault(tag.model, {})[tag.tag] = with_accuracy(tag, results, commit)
    # The figures in the table have been read by now.
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(Tag))
        for model, tags in models.items():
            first = next(tag for tag in DEFAULTS if tag in tags)
            for tag in [tags.pop(first), *tags.values()]:
                row = dataclasses.asdict(dataclasses.replace(
                    tag, default=tag.tag == first,
                    aux_heads=tag.layout == "torchvision" if model in AUX_HEADS else None,
                ))
                writer.writerow(text(value) for value in row.values())


if __name__ == "__main__":
    if len(sys.argv) not in (1, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
