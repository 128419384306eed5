"""Errors that are meant for the user: one line, no traceback.

The message names the argument, the rule and the value, then says what to do.
"""


class UserError(Exception):
    """Something the user can mend; the command line prints the message alone."""


class ConfigError(UserError):
    """The command line or the configuration is wrong (exit code 2)."""


class DataError(UserError):
    """The data cannot be used as they are (exit code 1)."""


class ModelError(UserError):
    """A model cannot be built, converted or trusted (exit code 1)."""
