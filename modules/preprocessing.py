"""Transform module file: makes the models' input of raw examples."""

from modules.data.preprocessing import preprocessing_fn

__all__ = ["preprocessing_fn"]
