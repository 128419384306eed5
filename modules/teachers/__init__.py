"""What the teachers answer: computed once and kept for every student."""
