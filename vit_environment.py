"""What must hold before anything else is imported: the version of Python, the packages, and which modules are found.

The three commands and the packages of this project import this module first, so that what is missing is one sentence
and no traceback. It needs the standard library alone. Its name is not one that a project of yours would have, while
`data` or `common` may well be: see `require_own`.
"""

import importlib.util
import os
import re
import shlex
import signal
import sys

ROOT = os.path.dirname(os.path.realpath(__file__))
REQUIREMENTS = os.path.join(ROOT, "requirements.txt")
OLDEST = (3, 11)
MODULES = {"pyyaml": "yaml", "pillow": "PIL"}  # where the name of a package is not that of its module
BAD_INPUT = 2  # the exit code


# Down to the check of the version, this is read by older Pythons too.


def stop(message: str) -> None:
    """End a command with one line; for a program that imports this project as a library, raise ImportError."""
    if is_command():
        os.write(2, f"error: {message}\n".encode(errors="backslashreplace"))  # sys.stderr is None if it was closed
        sys.exit(BAD_INPUT)
    raise ImportError(message)


def is_command() -> bool:
    """Whether this process is a command of this project, and not a program that uses it as a library."""
    if getattr(sys, "argv", [""])[:1] == ["-m"]:  # what Python sets while it looks for the module of `python -m`
        return True
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return main is not None and os.path.dirname(os.path.realpath(main)) == ROOT


def shown(path: str) -> str:
    """A path as it is written from the current folder, if it lies below."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def open_streams() -> None:
    """Open what was closed of standard input, output and error, as with `>&-`: otherwise the next file that is opened
    takes their place, and receives what is printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)


def leave_at_ctrl_c() -> None:
    """Let Ctrl-C end the process with one word while its modules are imported, which takes a second or more.

    `run_command` handles it from then on. Where it is ignored, as in the background of a script, it stays so.
    """

    def leave(number, frame):  # type: ignore  # this is read by older Pythons too
        try:
            os.write(2, b"interrupted\n")
        finally:
            os._exit(130)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


if is_command():
    leave_at_ctrl_c()
    open_streams()
if sys.version_info < OLDEST:
    stop(
        f"Python {'.'.join(map(str, OLDEST))} or newer is needed, and {sys.executable} is "
        f"{'.'.join(map(str, sys.version_info[:2]))}: install a newer one, and for it the packages of "
        f"{shown(REQUIREMENTS)}"
    )


def missing_packages(requirements: str) -> list[str]:
    """The packages of a requirements file that are not installed, or are too old, each as it stands there."""
    from importlib import metadata  # here, because it did not exist in the oldest Pythons that come this far

    missing = []
    for name, _, oldest in re.findall(r"^([\w-]+)(>=)?([\d.]*)", requirements, re.MULTILINE):
        if importlib.util.find_spec(MODULES.get(name, name)) is None:
            missing.append(name)
            continue
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:  # there without having been installed by pip
            continue
        if _numbers(found) < _numbers(oldest):
            missing.append(f"{name} {oldest} or newer (not {found})")
    return missing


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def require_packages() -> None:
    """Stop if a package of requirements.txt is missing or too old."""
    with open(REQUIREMENTS, encoding="utf-8") as file:
        missing = missing_packages(file.read())
    if missing:
        python, requirements = shlex.quote(sys.executable), shlex.quote(shown(REQUIREMENTS))
        venv = os.path.join(ROOT, ".venv")
        made = os.path.exists(os.path.join(venv, "installed")) and not os.path.abspath(sys.executable).startswith(venv)
        install = f"{python} -m pip install -r {requirements}"
        advice = (
            f"use {shown(os.path.join(venv, 'bin', 'python'))}, where `make` has installed them"
            if made
            else f"install them with {install}"
        )
        stop(f"{', '.join(missing)}: missing in {sys.executable}; {advice}")


def require_own(package: str, *needed: str) -> None:
    """Stop if Python finds modules of somebody else under the names of what `package` needs of this project."""
    for name in needed:
        found = _place_of(name)
        if found and os.path.dirname(found) != ROOT:
            stop(
                f"{found} hides {os.path.join(ROOT, name)}, which {package} of this project imports: rename yours, or "
                f"put {ROOT} at the front of sys.path"
            )


def _place_of(name: str) -> str:
    """The folder of a package or the file of a module that `import name` would find; empty if there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # imported already, in an unusual way
        return ""
    if spec is None or not spec.has_location or spec.origin is None:
        return ""
    origin = os.path.realpath(spec.origin)
    return os.path.dirname(origin) if os.path.basename(origin) == "__init__.py" else origin


if is_command():
    require_packages()
