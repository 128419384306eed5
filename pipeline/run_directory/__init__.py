"""The output directory of a run: its lock, and the student that was refused."""
