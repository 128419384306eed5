"""ExampleValidator: holds the examples to their schema and to each other."""
