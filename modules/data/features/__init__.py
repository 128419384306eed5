"""Feature kinds: how a raw feature becomes inputs of the models; one file per kind, a registry."""
