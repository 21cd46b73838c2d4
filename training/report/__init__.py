"""The report of a run as a page of HTML in one file: `python evaluate.py RUN --html FILE`."""
