"""Showing a judged run: page, charts, model card, terminal table, runs side by side."""
