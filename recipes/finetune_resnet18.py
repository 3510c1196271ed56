"""ResNet-18 with ImageNet's weights on images of one's own: a folder with one sub-folder a class.

    python recipes/finetune_resnet18.py --dataset folder:photos
    python recipes/finetune_resnet18.py --dataset folder:photos --weights resnet18.pth     # a file, no download
    python recipes/finetune_resnet18.py --dataset folder:photos --weights none --head-epochs 0   # from scratch

The head is trained first, on features that are computed once; then all, the head at 10 times the rate of the rest,
along a cosine. Crop, flip and normalization are inside the model, and only the last is in the SavedModel.

Measured once, seed 0: five classes of CIFAR-10 as 2,000 training images, 2,000 test images, `--image-size 112
--epochs 8`, each 5 minutes of CPU time (half of that on 2 free cores), the rates that were tried for both:

    ImageNet's weights, the head alone    83.40 %
    ImageNet's weights                    92.35 % (--rate 0.001), 89.75 % (0.005)
    from scratch                          61.40 % (--rate 0.005), 58.55 % (0.02)
"""
import json
import pathlib

import keras

import kerazoo
from kerazoo.augment import Compose, RandomFlip, RandomResizedCrop
from kerazoo.train import Diagnostics, Run, WarmupCosine, fine_tune, optimizer, recipe_arguments, unfreeze
from kerazoo.train.recipe import positive, whole


def main(args):
    export = pathlib.Path("saved_models") / pathlib.Path(args.output).resolve().name
    exportable = keras.backend.backend() == "tensorflow"  # SavedModels are TensorFlow's
    if exportable:
        kerazoo.export.check(export)

    train, validation, test = kerazoo.data.load(
        args.dataset, image_size=args.image_size, batch_size=args.batch_size, limit=args.limit, seed=args.seed
    )
    model = kerazoo.create_model(
        args.model, classes=train.classes, input_shape=train.image_shape,
        augmentation=Compose([RandomResizedCrop(args.image_size, scale=(0.5, 1.0)), RandomFlip()], seed=args.seed),
    )
    if args.weights != "none":
        kerazoo.load_weights(model, args.weights, fresh_head=True)

    if args.head_epochs:
        # Seconds, without augmentation. A run that is continued does it again, and then goes on from its checkpoint.
        fine_tune(
            model, train, validation, epochs=(args.head_epochs, 0), learning_rate=(1e-3, None), cache=True, verbose=2
        )
        accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
        print(f"With the head alone: {100 * accuracy:.2f} % of {test.num_examples:,} test images")
    # So few images give no better statistics than ImageNet's.
    print(unfreeze(model, batch_norm=args.weights == "none"))

    rate = WarmupCosine(args.rate, args.epochs, warmup=0.1 * args.epochs, steps=len(train))
    model.compile(
        optimizer(model, "sgd", rate, momentum=0.9, weight_decay=1e-4, lr_multipliers={"head": 10.0}),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    with Run(args.output, model, vars(args)) as run:
        model.fit(
            run.data(train),
            validation_data=validation,
            epochs=args.epochs,
            initial_epoch=run.initial_epoch,
            callbacks=run.callbacks(Diagnostics(train, folder=run.path)),
            shuffle=False,
            verbose=0,
        )
        run.restore_best()

        accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
        print(f"Test accuracy: {100 * accuracy:.2f} % of {test.num_examples:,} images")
        result = {"accuracy": accuracy, "images": test.num_examples, **vars(args)}
        (run.path / "test.json").write_text(json.dumps(result))
        kerazoo.visualize.curves(run.log()).savefig(run.path / "curves.png")
        if exportable:
            kerazoo.export(model, export, class_names=test.class_names)
    print(f"Report: {kerazoo.visualize.report(run.path, model=model, data=test)}")


if __name__ == "__main__":
    main(recipe_arguments(
        __doc__,
        options={
            "--weights": dict(default="imagenet", help="imagenet, imagenet/TAG, the path of a file, or none"),
            "--image-size": dict(type=positive, default=224, help="side in pixels"),
            "--head-epochs": dict(type=whole, default=10, help="of the head alone, 0 for none"),
            "--rate": dict(type=float, default=0.001, help="highest learning rate of all but the head"),
        },
        smoke=dict(dataset="mnist_sample", weights="none", image_size=32, head_epochs=2, epochs=1, limit=300),
        dataset="folder:photos", model="resnet18", epochs=10, batch_size=32, output="runs/finetune_resnet18",
    ))
