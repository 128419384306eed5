"""SoftTargets: the teacher's answers to the training examples, computed once."""
