"""Examples: sources, preprocessing, splits, input pipelines and augmentation."""
