"""How a configuration is read and checked: files, overrides, errors in words."""
