"""The studio: train, watch and question a model in the browser. `python -m studio` starts it, docs/studio.md says more.

It has no ability of its own. What a button does is a command of this project, which runs as a process of its own and is
shown to be copied. So a page that is closed, or a studio that is killed, ends no training, and what is shown is read
from files that the commands write.

    __main__.py      the command: starts the server, on this machine alone
    app.py           the pages; each is a file of views/
    workspace.py     the folders that the studio was given, and nothing outside them
    commands.py      what each button runs
    jobs.py          a command as a process: begin, follow, stop, find again
    options.py       the options of a preset as fields of a form
    runs.py          the runs that are there, and what they are doing
    curves.py        the course of a run, thinned out for a chart
    pictures.py      pictures that are handed over in the browser
    guesses.py       the guesses of an evaluation: which images were taken for what
    lessons.py       a layer, its source, its chapter and the mistakes that can be planted in it
    parts.py         what the pages share: a command to copy, a job to follow

Only app.py, parts.py and views/ know of Streamlit.
"""

import vit_environment

vit_environment.require_own("studio", "common", "data", "model", "optim", "training", "verify", "checks")
