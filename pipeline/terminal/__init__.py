"""What a person sees in the terminal: progress, tables, errors and exit codes."""
