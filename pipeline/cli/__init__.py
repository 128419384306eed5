"""What a person types: the command `tfx-distill`, one file per group of commands."""
