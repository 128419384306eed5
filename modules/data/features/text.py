"""Text: ids of words or characters, padded with 0; 1 is an unknown one."""

from __future__ import annotations

from typing import Any

from modules import files
from modules.data.features.category import Category, shifted, vocabulary_name
from modules.data.features.protocol import FeatureStatistics
from modules.data.features.tokens import PUNCTUATION
from modules.data.spec import InputSpec
from modules.errors import ConfigError, DataError
from modules.settings import FeatureSettings, TextFeature


class Text(Category):
    """Kind `text`; stored and decoded as categories are."""

    def inputs(self, settings: FeatureSettings, found: FeatureStatistics) -> list[InputSpec]:
        """Ids, `(length,)`."""
        assert isinstance(settings, TextFeature)
        if found.type != "string" or found.most_values > 1:
            what = "numbers" if found.type != "string" else f"up to {found.most_values} texts"
            raise DataError(
                f"data.features.{found.name} must be one text per example to be of kind text, but "
                f"its values are {what}; set another kind"
            )
        return [
            InputSpec(
                name=found.name,
                kind="text",
                feature=found.name,
                shape=(settings.length,),
                dtype="int32",
            )
        ]

    def transform(
        self, raw: Any, settings: FeatureSettings, made: list[InputSpec]
    ) -> dict[str, Any]:
        """`int64 [b, length]`."""
        import tensorflow_transform as tft

        from modules.data.features.raw import first, padded

        assert isinstance(settings, TextFeature)
        (spec,) = made
        tokens = split(first(raw, ""), settings.tokens).to_sparse()
        if settings.vocabulary_file:
            ids = _with_given(tokens, read_vocabulary(settings.vocabulary_file))
        else:
            name = vocabulary_name(spec.feature)
            found = tft.compute_and_apply_vocabulary(
                tokens,
                top_k=settings.vocabulary,
                num_oov_buckets=1,
                vocab_filename=name,
            )
            ids = shifted(found, name, 1)
        return {spec.name: padded(ids, settings.length)}


def split(texts: Any, tokens: str) -> Any:
    """Tokens of texts `[b]`, ragged `[b, None]`."""
    import tensorflow as tf

    if tokens == "characters":
        return tf.strings.unicode_split(texts, "UTF-8")
    lower = tf.strings.lower(texts, encoding="utf-8")
    return tf.strings.split(tf.strings.regex_replace(lower, PUNCTUATION, " "))


def read_vocabulary(path: str) -> list[str]:
    """The tokens of a file, one per line.

    Raises:
      ConfigError: It cannot be read, is empty or has a token twice.
    """
    try:
        tokens = files.read_bytes(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"vocabulary_file {path} must be a text file in UTF-8, but cannot be read ({error})"
        ) from error
    if not tokens or len(set(tokens)) != len(tokens):
        raise ConfigError(
            f"vocabulary_file {path} must have different tokens, one per line, got "
            f"{len(tokens)} lines with {len(set(tokens))} tokens; remove the repeated ones"
        )
    return tokens


def _with_given(tokens: Any, vocabulary: list[str]) -> Any:
    import tensorflow as tf

    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(vocabulary), tf.range(2, len(vocabulary) + 2, dtype=tf.int64)
        ),
        default_value=1,
    )
    return tf.SparseTensor(tokens.indices, table.lookup(tokens.values), tokens.dense_shape)
