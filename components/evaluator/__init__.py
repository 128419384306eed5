"""Evaluator: the student judged against its teacher, by TFMA and by what TFMA cannot measure."""
