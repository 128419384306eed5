"""Distillation, models, data and judgment: everything that knows nothing of TFX's pipelines."""
