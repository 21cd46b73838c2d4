"""Errors that the user can fix. A command prints the message without a traceback."""


class UserError(Exception):
    """Invalid input of any kind. The message names the file or the option and says what to do."""


class ConfigError(UserError):
    """An unknown or invalid preset, option or value."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or belongs to another model."""


class DataError(UserError):
    """A data set that is missing, incomplete or damaged."""


class DamagedError(UserError):
    """A file that is there and cannot be what it should be. The message names it and says what is wrong."""
