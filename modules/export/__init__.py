"""Files that ship: SavedModel and TFLite, quantization, and the runtimes that run them."""
