"""Wide ResNet 28-10 on CIFAR-10 with RandAugment, as in RandAugment's paper.

    python recipes/wide_resnet_cifar10.py        # published: 97.3 %: not yet run

Cubuk et al. 2019: 200 epochs, batches of 128, the rate of 0.1 along a cosine, weight decay 5e-4; images are flipped,
padded and cropped, then RandAugment with three operations of magnitude 5, then Cutout of 16 pixels. The paper's scale
ends at 10, kerazoo's standard operations at 30: its 5 is 15 here. Momentum is Nesterov's, as in the paper on Wide
ResNets. 1,000 of the training images are kept to watch, no choice is made by them: the weights tested are the last.
36.5 million parameters and 5.2 billion multiply-adds an image want a GPU.

Cubuk et al.: RandAugment, 2019, https://arxiv.org/abs/1909.13719; Zagoruyko, Komodakis: Wide Residual Networks, 2016,
https://arxiv.org/abs/1605.07146
"""
import json

import keras

import kerazoo
from kerazoo.augment import Compose, Cutout, RandAugment, RandomCrop, RandomFlip
from kerazoo.train import Diagnostics, Run, WarmupCosine, optimizer, recipe_arguments


def main(args):
    train, validation, test = kerazoo.data.load(
        args.dataset, batch_size=args.batch_size, validation_split=0.02, limit=args.limit, seed=args.seed
    )
    model = kerazoo.create_model(
        args.model, classes=train.classes, input_shape=train.image_shape,
        augmentation=Compose(
            [RandomFlip(), RandomCrop(padding=4), RandAugment(3, args.magnitude), Cutout(16, fill=128)], seed=args.seed
        ),
    )
    rate = WarmupCosine(0.1, args.epochs, steps=len(train))
    model.compile(
        optimizer(model, "sgd", rate, momentum=0.9, nesterov=True, weight_decay=5e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    with Run(args.output, model, vars(args), monitor=None) as run:
        model.fit(
            run.data(train),
            validation_data=validation,
            epochs=args.epochs,
            initial_epoch=run.initial_epoch,
            callbacks=run.callbacks(Diagnostics(train, folder=run.path)),
            shuffle=False,
            verbose=0,
        )
        accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
        print(f"Test accuracy: {100 * accuracy:.2f} % of {test.num_examples:,} images")
        result = {"accuracy": accuracy, "images": test.num_examples, **vars(args)}
        (run.path / "test.json").write_text(json.dumps(result))
        kerazoo.visualize.curves(run.log()).savefig(run.path / "curves.png")
    print(f"Report: {kerazoo.visualize.report(run.path, model=model, data=test)}")


if __name__ == "__main__":
    main(recipe_arguments(
        __doc__,
        options={"--magnitude": dict(type=float, default=15, help="of RandAugment, 0 to 30")},
        smoke=dict(dataset="mnist_sample", epochs=1, limit=20, batch_size=4),
        dataset="cifar10", model="wide_resnet28_10", epochs=200, batch_size=128, output="runs/wide_resnet_cifar10",
    ))
