"""Which examples are for training and which for judging: a function of their content alone."""

from __future__ import annotations

import hashlib

from modules.settings import DataSettings


def example_id(image: bytes) -> bytes:
    """SHA-256 of the encoded image, as 64 hexadecimal digits: the same content, the same id."""
    return hashlib.sha256(image).hexdigest().encode()


def in_eval_split(identity: bytes, settings: DataSettings) -> bool:
    """Whether an example is for judging: a hash of its id and the seed, below the fraction.

    Equal images get equal answers, so no image is both learned from and judged on.
    """
    digest = hashlib.sha256(b"%d/" % settings.split_seed + identity).digest()
    return int.from_bytes(digest[:8], "big") < settings.eval_fraction * 2**64
