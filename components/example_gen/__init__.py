"""ExampleGen: images from a source become `tf.train.Example`s in splits train and eval."""
