"""Where examples come from: one file per source, and the registry that finds it by its name."""
