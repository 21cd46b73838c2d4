"""Errors that the user can mend. A command prints the message alone; a traceback would say less."""


class UserError(Exception):
    """Bad input of any kind. The message names the file or the key, and says what to do."""


class ConfigError(UserError):
    """A preset, a key or a value that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or of another model."""


class DataError(UserError):
    """A data set that is missing, incomplete or damaged."""
