"""Distillation, models, data and judgement: everything that knows nothing of TFX's pipelines."""
