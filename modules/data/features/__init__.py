"""Kinds of features: how a raw feature becomes inputs of the models."""
