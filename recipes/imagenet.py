"""ImageNet from scratch, by a published plan; any folder of photos as well.

    python recipes/imagenet.py --plan 90epochs                    # ResNet-50, published: 76.3 %: not yet run
    python recipes/imagenet.py --plan a3 --devices all            # ResNet-50, published: 78.1 %: not yet run
    python recipes/imagenet.py --plan a2 --devices all            # ResNet-50, published: 79.8 %: not yet run
    python recipes/imagenet.py --dataset folder:PATH --plan a3    # PATH/train/CLASS/*.jpg, PATH/val/CLASS/*.jpg

- 90epochs: Goyal et al. 2017, https://arxiv.org/abs/1706.02677: SGD, a rate of 0.1 for each 256 images of a batch, 5
  epochs of warm-up, divided by 10 at epochs 30, 60 and 80; weight decay 1e-4, not of norms and biases.
- a3, a2: Wightman et al. 2021, ResNet strikes back, https://arxiv.org/abs/2110.00476: LAMB in batches of 2,048 (means
  of several steps of `--batch-size`), cosine, RandAugment, MixUp 0.1 or CutMix 1.0, binary cross-entropy; a3: 100
  epochs at 160 pixels, tested at 224; a2: 300 at 224. `kerazoo.load_model(..., compile=False)` reads their models.
Departures: crops come out of the middle square of each image, tests see all of it; a2 is without repeated augmentation
and stochastic depth. Tested, as in the papers, are the validation images: the last weights, chosen by nothing.
"""
import json
from types import SimpleNamespace

import keras

import kerazoo
from kerazoo.augment import CutMix, MixUp, OneOf, RandAugment, RandomFlip, RandomResizedCrop
from kerazoo.train import Diagnostics, Run, WarmupCosine, WarmupStep, optimizer, recipe_arguments
from kerazoo.train.recipe import positive

PLANS = {  # size: pixels of the crops in training; tests are at 224
    "90epochs": SimpleNamespace(epochs=90, size=224),
    "a3": SimpleNamespace(epochs=100, size=160, rate=8e-3, magnitude=6),
    "a2": SimpleNamespace(epochs=300, size=224, rate=5e-3, magnitude=7),
}


def every_class_shown(labels, logits):
    """Binary cross-entropy in which a mixed image counts as each class that makes up a fifth of it or more."""
    return keras.losses.binary_crossentropy(keras.ops.cast(labels > 0.2, logits.dtype), logits, from_logits=True)


def main(args):
    plan = PLANS[args.plan]
    args.epochs, size = args.epochs or plan.epochs, args.size or plan.size
    test_size = size * 224 // plan.size
    augmentation = [RandomResizedCrop(size), RandomFlip()]
    if args.plan != "90epochs":
        augmentation += [
            RandAugment(2, plan.magnitude, magnitude_std=0.5, probability=0.5, operations="increasing"),
            OneOf([MixUp(0.1), CutMix(1.0)]),
        ]
    options = dict(batch_size=args.batch_size, label_mode="categorical", test_split=0, limit=args.limit, seed=args.seed)
    train = kerazoo.data.load(args.dataset, "train", image_size=size * 8 // 7, augmentation=augmentation, **options)
    test = kerazoo.data.load(args.dataset, "validation", image_size=test_size, **options)

    # Where training and test differ in size, the network takes any.
    side = size if size == test_size else None
    model = kerazoo.create_model(args.model, classes=train.classes, input_shape=(side, side, train.image_shape[-1]))
    if args.plan == "90epochs":
        boundaries = [epoch / 90 * args.epochs for epoch in (30, 60, 80)]
        peak = 0.1 * args.batch_size / 256
        rate = WarmupStep(peak, boundaries, warmup=5 / 90 * args.epochs, steps=len(train))
        chosen = optimizer(model, "sgd", rate, weight_decay=1e-4)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    else:
        rate = WarmupCosine(plan.rate, args.epochs, warmup=5 / plan.epochs * args.epochs, steps=len(train))
        accumulate = max(1, min(2048 // args.batch_size, len(train)))
        chosen, loss = optimizer(model, "lamb", rate, weight_decay=0.02, accumulate=accumulate), every_class_shown
    model.compile(chosen, loss, metrics=["accuracy"])

    with Run(args.output, model, vars(args), monitor=None) as run:
        model.fit(
            run.data(train), validation_data=test, epochs=args.epochs, initial_epoch=run.initial_epoch,
            callbacks=run.callbacks(Diagnostics(train, folder=run.path)), shuffle=False, verbose=0,
        )
        accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
        print(f"Accuracy: {100 * accuracy:.2f} % of {test.num_examples:,} validation images")
        result = {"accuracy": accuracy, "images": test.num_examples, **vars(args)}
        (run.path / "test.json").write_text(json.dumps(result))
        kerazoo.visualize.curves(run.log()).savefig(run.path / "curves.png")
    print(f"Report: {kerazoo.visualize.report(run.path, model=model, data=test)}")


if __name__ == "__main__":
    main(recipe_arguments(
        __doc__,
        options={
            "--plan": dict(choices=PLANS, default="90epochs", help="how to train"),
            "--size": dict(type=positive, help="pixels of the crops in training (default: the plan's)"),
        },
        smoke=dict(dataset="mnist_sample", model="resnet18", epochs=1, limit=100, batch_size=16, size=32),
        dataset="imagenet2012", model="resnet50", epochs=None, batch_size=256, mixed_precision="bfloat16",
        output="runs/imagenet",
    ))
