"""Measuring models: metrics with their intervals, latency, and answers in fresh processes."""
