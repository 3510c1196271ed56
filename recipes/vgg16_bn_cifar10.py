"""VGG-16 with batch norm on CIFAR-10; --model vgg11_bn, vgg13_bn and vgg19_bn as well.

    python recipes/vgg16_bn_cifar10.py       # published elsewhere: 92.64 % (kuangliu/pytorch-cifar): not yet run

The paper's network is for ImageNet: at 32x32, its five poolings leave one cell, and its dense layers of 120 million
parameters have nothing to look at. As usual on CIFAR, one dense layer stands in their place. SGD with Nesterov's
momentum along a cosine, weight decay 5e-4; crop and flip. 1,000 of the training images are kept to watch, no choice is
made by them: the weights tested are the last.
"""
import json

import keras

import kerazoo
from kerazoo.augment import Compose, RandomCrop, RandomFlip
from kerazoo.train import Diagnostics, Run, WarmupCosine, optimizer, recipe_arguments


def main(args):
    train, validation, test = kerazoo.data.load(
        args.dataset, batch_size=args.batch_size, image_size=32, validation_split=0.02, limit=args.limit, seed=args.seed
    )
    features = kerazoo.create_model(
        args.model, include_top=False, pooling="avg", input_shape=train.image_shape, preprocessing="cifar10",
        augmentation=Compose([RandomCrop(padding=4), RandomFlip()], seed=args.seed),
    )
    x = keras.layers.Dropout(0.5, name="head_dropout")(features.output)
    # The logits stay in float32 under --mixed-precision.
    logits = keras.layers.Dense(train.classes, dtype="float32", name="head")(x)
    model = keras.Model(features.input, logits, name=args.model)
    rate = WarmupCosine(0.05, args.epochs, warmup=0.01 * args.epochs, steps=len(train))
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
        __doc__, smoke=dict(dataset="mnist_sample", epochs=1, limit=200, batch_size=32),
        dataset="cifar10", model="vgg16_bn", epochs=200, batch_size=128, output="runs/vgg16_bn_cifar10",
    ))
