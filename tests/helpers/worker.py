"""One worker of `test_strategy.py`: trains a student and writes its curve and its weights."""

import json
import logging
import sys

from modules.distill.strategy import is_chief, make_strategy


def main(pattern, directory, epochs, seconds_between_saves):
    # Before any other TensorFlow call: the workers' strategy must come first.
    strategy = make_strategy("auto")

    import keras
    import numpy as np
    from image_data import image_spec
    from small_models import build

    from modules.data.examples import ExampleData
    from modules.distill import training
    from modules.distill.distiller import Distiller
    from modules.settings import DataSettings, TrainSettings

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = TrainSettings(
        epochs=int(epochs),
        learning_rate=0.003,
        warmup_epochs=0.5,
        average=0.1,
        monitor="metric",
        patience=1000,
    )
    curve = []
    with strategy.scope():
        keras.utils.set_random_seed(3)
        # No batch normalization, whose statistics are of a worker's own share of the batch.
        student = build("cnn_tutorial", filters=[4, 8], units=8)
        teacher = build("cnn_tutorial")
        distiller = Distiller(teacher, student, alpha=0.5)
        original = distiller.fit

        def fit(*args, **kwargs):
            history = original(*args, **kwargs)
            curve.extend(zip(history.history["loss"], history.history["val_loss"], strict=True))
            return history

        distiller.fit = fit
        chief = is_chief(strategy)
        plan = training.Plan(
            settings=settings,
            seed=3,
            log_dir=f"{directory}/logs",
            state_dir=f"{directory}/state",
            chief=chief,
            seconds_between_saves=float(seconds_between_saves),
        )
        training.fit(distiller, ExampleData([pattern], image_spec(), DataSettings()), plan)
    if chief:
        np.savez(f"{directory}/weights.npz", *student.get_weights())
        with open(f"{directory}/curve.json", "w") as file:
            json.dump([[float(value) for value in pair] for pair in curve], file)


if __name__ == "__main__":
    main(*sys.argv[1:])
