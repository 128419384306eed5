"""What a model's output means: the hard loss, and when an answer is right."""
