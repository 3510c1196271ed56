"""Two convolutions on pictures of clothes: Fashion-MNIST, which is as small as MNIST and not as easy.

    python recipes/cnn_mnist.py       # 93.79 ± 0.14 %, 16 minutes of CPU time

Test accuracy, mean and standard deviation over the seeds 0, 1, 2.

Images are mirrored, shifted by a pixel, and a quarter of them lose a small rectangle; AdamW along a cosine, averages of
the weights (EMA). The weights tested are the last averages; the validation images only show how training goes.
`--dataset mnist` works as well, but mirror images suit clothes, not digits: recipes/lenet5_mnist.py is for those.
"""
import json

import keras

import kerazoo
from kerazoo.augment import Compose, RandomCrop, RandomErasing, RandomFlip
from kerazoo.train import Diagnostics, Run, WarmupCosine, optimizer, recipe_arguments


def main(args):
    train, validation, test = kerazoo.data.load(
        args.dataset, batch_size=args.batch_size, validation_split=0.05, limit=args.limit, seed=args.seed
    )
    model = kerazoo.create_model(
        args.model, classes=train.classes, input_shape=train.image_shape, dropout=0.3,
        augmentation=Compose(
            [RandomFlip(), RandomCrop(padding=1), RandomErasing(0.25, scale=(0.02, 0.1))], seed=args.seed
        ),
    )
    rate = WarmupCosine(1e-3, args.epochs, warmup=0.05 * args.epochs, steps=len(train))
    model.compile(
        optimizer(model, "adamw", rate, weight_decay=5e-2, ema=0.999),
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
        __doc__, smoke=dict(dataset="mnist_sample", epochs=1, limit=500),
        dataset="fashion_mnist", model="cnn_mnist", epochs=60, batch_size=128, output="runs/cnn_mnist",
    ))
