"""Training a student on labels and teachers: losses, methods, the training model and its loop."""
