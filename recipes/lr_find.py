"""A learning rate to begin with: Smith's range test on any model and data set.

    python recipes/lr_find.py --dataset mnist_sample --model lenet5
    python recipes/lr_find.py --dataset cifar10 --model resnet20 --optimizer adamw --weight-decay 0.05

Prints a suggestion, and draws the loss over the rate into `lr_find.png` in the output folder. Seconds to a minute.
"""
import json
import pathlib

import keras

import kerazoo
from kerazoo.train import find_learning_rate, optimizer, recipe_arguments
from kerazoo.train.recipe import positive


def main(args):
    train = kerazoo.data.load(args.dataset, "train", batch_size=args.batch_size, limit=args.limit, seed=args.seed)
    model = kerazoo.create_model(args.model, classes=train.classes, input_shape=train.image_shape)
    model.compile(
        optimizer(model, args.optimizer, weight_decay=args.weight_decay, verbose=False),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    found = find_learning_rate(model, train, batches=args.batches)
    print(found)

    folder = pathlib.Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{args.model}, {args.dataset}, {args.optimizer}, {args.batch_size} images a batch"
    found.figure(title).savefig(folder / "lr_find.png")
    curve = {"rates": found.rates.tolist(), "losses": found.losses.tolist(), "suggestion": found.suggestion}
    (folder / "lr_find.json").write_text(json.dumps({**curve, **vars(args)}))
    print(f"The curve: {folder}/lr_find.png")


if __name__ == "__main__":
    main(recipe_arguments(
        __doc__,
        options={
            "--optimizer": dict(default="sgd", help="sgd, adam, adamw or lamb"),
            "--weight-decay": dict(type=float, default=0.0, help="as for kerazoo.train.optimizer"),
            "--batches": dict(type=positive, default=200, help="steps at most"),
        },
        smoke=dict(dataset="mnist_sample", model="lenet5", batches=60),
        dataset="mnist_sample", model="lenet5", batch_size=64, output="runs/lr_find",
    ))
