"""Module file of the stock pipeline that `bench/pipeline.py` times: Transform's and Trainer's part.

Written as TFX's tutorials write theirs: plain Keras `fit` on TFX's own input pipeline, a checkpoint
of nothing, a SavedModel with one signature. The model is the teacher of our preset.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

from modules.data.spec import InputSpec, OutputSpec
from modules.models import zoo
from modules.settings import ModelSettings

IMAGE, LABEL = "image", "label"


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    shape = custom_config["shape"]

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=shape[2], expand_animations=False)
        return tf.cast(tf.ensure_shape(image, shape), tf.float32)

    images = tf.map_fn(decode, tf.reshape(inputs[IMAGE], [-1]), fn_output_signature=tf.float32)
    return {IMAGE: images, LABEL: inputs[LABEL]}


def run_fn(fn_args: Any) -> None:
    config = fn_args.custom_config
    settings = ModelSettings.model_validate_json(config["model"])
    transform = tft.TFTransformOutput(fn_args.transform_output)

    def batches(files: list[str], epochs: int | None) -> tf.data.Dataset:
        options = tfxio.TensorFlowDatasetOptions(
            batch_size=settings.train.batch_size, label_key=LABEL, num_epochs=epochs
        )
        schema = transform.transformed_metadata.schema
        return fn_args.data_accessor.tf_dataset_factory(files, options, schema).map(
            lambda features, labels: ({IMAGE: tf.cast(features[IMAGE], tf.uint8)}, labels)
        )

    image = InputSpec(name=IMAGE, kind="image", feature=IMAGE, shape=config["shape"], dtype="uint8")
    output = OutputSpec(task="classification", size=config["classes"])
    model = zoo.build_model(settings, {IMAGE: image}, output)
    train = settings.train
    model.compile(
        keras.optimizers.AdamW(train.learning_rate, weight_decay=train.weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # On a processor Keras' own choice, XLA, takes longer: the bar is what a careful user has.
        jit_compile=False,
    )
    model.fit(
        batches(fn_args.train_files, None),
        epochs=train.epochs,
        steps_per_epoch=config["examples"] // train.batch_size,
        validation_data=batches(fn_args.eval_files, 1),
        callbacks=[keras.callbacks.TensorBoard(fn_args.model_run_dir, update_freq="epoch")],
        verbose=0,
    )
    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    module.transform = transform.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = tf.io.parse_example(examples, {IMAGE: tf.io.FixedLenFeature([1], tf.string)})
        pixels = tf.cast(module.transform(raw)[IMAGE], tf.uint8)
        return {"probabilities": tf.nn.softmax(model({IMAGE: pixels}, training=False))}

    module.serve = serve
    tf.saved_model.save(module, fn_args.serving_model_dir, signatures={"serving_default": serve})
