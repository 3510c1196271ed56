"""LeNet-5 on handwritten digits: the whole road from images to a SavedModel that a server can take.

Test accuracy, mean and standard deviation over the seeds 0, 1, 2, and minutes of CPU time:

    python recipes/lenet5_mnist.py                                                    # 98.68 ± 0.38 %, 1 minute
    python recipes/lenet5_mnist.py --dataset mnist --epochs 20 --output runs/mnist    # 99.35 ± 0.13 %, 2.3 minutes

The first takes the sample of MNIST that comes with kerazoo. Other data sets and models work as well: --help.
"""
import json
import pathlib

import keras

import kerazoo
from kerazoo.augment import Compose, MixUp, RandomAffine
from kerazoo.train import Diagnostics, Run, WarmupCosine, optimizer, recipe_arguments


def main(args):
    export = pathlib.Path("saved_models") / pathlib.Path(args.output).resolve().name
    exportable = keras.backend.backend() == "tensorflow"  # SavedModels are TensorFlow's
    if exportable:
        kerazoo.export.check(export)

    train, validation, test = kerazoo.data.load(
        args.dataset, batch_size=args.batch_size, label_mode="categorical", limit=args.limit, seed=args.seed
    )

    model = kerazoo.create_model(
        args.model,
        classes=train.classes,
        input_shape=train.image_shape,
        augmentation=Compose(
            [RandomAffine(rotation=6, translation=0.04, scale=0.05), MixUp(0.1)], seed=args.seed
        ),
    )
    rate = WarmupCosine(2e-3, args.epochs, warmup=0.05 * args.epochs, steps=len(train))
    model.compile(
        optimizer(model, "adamw", rate, weight_decay=1e-2),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.02),
        metrics=["accuracy"],
        steps_per_execution=1 if keras.backend.backend() == "torch" else 16,  # its steps are short
    )

    with Run(args.output, model, vars(args)) as run:
        model.fit(
            run.data(train),
            validation_data=validation,
            epochs=args.epochs,
            initial_epoch=run.initial_epoch,
            callbacks=run.callbacks(Diagnostics(train, folder=run.path), early_stopping=15),
            shuffle=False,  # the data set does that, anew each epoch
            verbose=0,  # the run's callbacks show more
        )
        run.restore_best()

        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(model.predict(test, verbose=0)))
        images, labels = kerazoo.data.arrays(test)
        accuracy = float((probabilities.argmax(-1) == labels.argmax(-1)).mean())
        print(f"Test accuracy: {100 * accuracy:.2f} % of {len(labels):,} images")

        (run.path / "test.json").write_text(json.dumps({"accuracy": accuracy, "images": len(labels), **vars(args)}))
        kerazoo.visualize.curves(run.log()).savefig(run.path / "curves.png")
        kerazoo.visualize.mistakes(
            images, labels.argmax(-1), probabilities, test.class_names
        ).savefig(run.path / "mistakes.png")
        print(f"Curves and misclassified images: {run.path}/curves.png, {run.path}/mistakes.png")

        if exportable:
            kerazoo.export(model, export, class_names=test.class_names)
    print(f"Report: {kerazoo.visualize.report(run.path, model=model, data=test)}")


if __name__ == "__main__":
    main(recipe_arguments(
        __doc__, smoke=dict(epochs=1, limit=500),
        dataset="mnist_sample", model="lenet5", epochs=40, batch_size=64, output="runs/lenet5_mnist",
    ))
