"""The preprocessing function of Transform: of the feature kinds, or a user's with ours around it.

Raw features are those of ExampleGen. Transformed ones are the inputs of the models, `label`,
`example_id` and, if the data are weighted, `example_weight`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from modules.data.features.raw import first
from modules.data.features.registry import KINDS
from modules.data.spec import EXAMPLE_ID, EXAMPLE_WEIGHT, LABEL, OURS, DataSpec, InputSpec
from modules.errors import ConfigError, DataError, UserError, reason_of

_FUNCTION = "preprocessing_fn"


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Called by Transform with batches of raw features, `[b, k]` or sparse.

    Args:
      inputs: By name.
      custom_config: `spec`, a DataSpec as JSON, and `preprocessing_fn` of the user, or null.
    """
    spec = DataSpec.model_validate_json(custom_config["spec"])
    users = custom_config.get(_FUNCTION)
    outputs = _of_user(users, inputs, custom_config) if users else _of_kinds(inputs, spec)
    outputs[EXAMPLE_ID] = first(inputs[EXAMPLE_ID], "")
    outputs[LABEL] = _label(inputs[LABEL], spec)
    if spec.weighted:
        outputs[EXAMPLE_WEIGHT] = first(inputs[EXAMPLE_WEIGHT], 0.0)
    return outputs


def with_vocabularies(
    spec: DataSpec, transform_output: tft.TFTransformOutput
) -> tuple[InputSpec, ...]:
    """The inputs with the sizes of their vocabularies."""
    from modules.data.features.vocabularies import vocabulary_size

    return tuple(
        each.model_copy(
            update={
                "vocabulary_size": vocabulary_size(
                    spec.features[each.feature], each.feature, transform_output
                )
            }
        )
        if each.kind in ("category", "text")
        else each
        for each in spec.inputs
    )


def inputs_of_schema(transform_output: tft.TFTransformOutput) -> tuple[InputSpec, ...]:
    """The inputs that a user's function made: its outputs, of fixed shape.

    Raises:
      DataError: One is sparse or of strings, or there is none.
    """
    made = []
    for name, feature in sorted(transform_output.transformed_feature_spec().items()):
        if name in OURS:
            continue
        if not isinstance(feature, tf.io.FixedLenFeature) or feature.dtype == tf.string:
            raise DataError(
                f"data.preprocessing_fn must return numbers of a fixed shape, but {name!r} is "
                f"{feature}; make it dense with tft.sparse_tensor_to_dense_with_shape or a "
                "vocabulary"
            )
        dtype = "float32" if feature.dtype == tf.float32 else "int32"
        made.append(
            InputSpec(
                name=name, kind="tensor", feature=name, shape=tuple(feature.shape), dtype=dtype
            )
        )
    if not made:
        raise DataError("data.preprocessing_fn must return at least one feature, got none")
    return tuple(made)


def find_function(name: str) -> Callable[..., dict[str, Any]]:
    """A user's function by `package.module:function` or `path/to/file.py[:function]`.

    Raises:
      ConfigError: It cannot be imported.
    """
    module_name, _, function = name.partition(":")
    try:
        if module_name.endswith(".py"):
            found = importlib.util.spec_from_file_location("users_preprocessing", module_name)
            assert found is not None and found.loader is not None
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
        else:
            module = importlib.import_module(module_name)
        found_function: Callable[..., dict[str, Any]] = getattr(module, function or _FUNCTION)
        return found_function
    # Whatever the user's module raises is the user's to fix.
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"data.preprocessing_fn must be package.module:function or file.py:function, got "
            f"{name!r}, which cannot be imported: {reason_of(error)}"
        ) from error


def _of_kinds(inputs: dict[str, Any], spec: DataSpec) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for name, settings in spec.features.items():
        made = [each for each in spec.inputs if each.feature == name]
        # The feature itself first, what goes with it behind.
        made.sort(key=lambda each: each.name != each.feature)
        outputs |= KINDS[settings.kind].transform(inputs[name], settings, made)
    return outputs


def _of_user(name: str, inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    function = find_function(name)
    given = {key: value for key, value in inputs.items() if key not in OURS}
    more = {}
    if "custom_config" in inspect.signature(function).parameters:
        more = {"custom_config": custom_config}
    try:
        return dict(function(given, **more))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"data.preprocessing_fn {name} failed: {reason_of(error)}") from error


def _label(raw: Any, spec: DataSpec) -> tf.Tensor:
    """`[b]`; of many labels `[b, labels]`. An example without label has -1, NaN or zeros."""
    if spec.output.task == "regression":
        return first(raw, math.nan)
    if spec.output.task != "multilabel":
        return first(raw, -1)
    shape = [None, spec.output.size]
    if isinstance(raw, tf.SparseTensor):
        full = tf.SparseTensor(raw.indices, raw.values, [raw.dense_shape[0], spec.output.size])
        raw = tf.sparse.to_dense(full)
    return tf.ensure_shape(raw, shape)
