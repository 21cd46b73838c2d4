"""The one kind of error that bad data raises."""


class DataError(Exception):
    """Something about the data is wrong and the user can mend it.

    The message is complete as it stands: it names the file or folder and says what to do, so a command prints it
    without a traceback.
    """
