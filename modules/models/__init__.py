"""Model builders by name: build, check, save and load."""
