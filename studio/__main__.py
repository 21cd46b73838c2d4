"""Start the studio: a page on this machine, in which one trains and asks models without a terminal.

    python -m studio                    on http://127.0.0.1:8501; runs and data are in the current folder
    python -m studio ~/photos /data     and these folders may be read, to train on the images in them

The page is for this machine alone. With --host it listens to others too, who can then do everything that the page can:
there is no password. Ctrl-C ends the studio and no training; `python -m studio` finds it again. Needs Streamlit:
pip install -r requirements-studio.txt
"""

import argparse
import ipaddress
import os
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from common.command import run_command
from common.errors import UserError
from common.paths import named_path
from studio import jobs, pictures, workspace

HOSTS = ("127.0.0.1", "localhost", "[::1]")
LOOPBACK, PORT = "127.0.0.1", 8501
APP = Path(__file__).resolve().parent / "app.py"


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    require_usable()
    folders = [require_folder(folder) for folder in args.folders]
    if not is_loopback(args.host):
        print(
            f"warning: --host {args.host}: whoever reaches this machine can use the studio,\n"
            "read the images of its folders and start trainings. There is no password: do\n"
            "this in a network that you trust.",
            file=sys.stderr,
        )
    print(f"studio  runs and data in {Path.cwd()}")
    for folder in folders:
        print(f"        and images in {folder}")
    print("        Ctrl-C ends the studio; a training goes on, and is found again", flush=True)
    words = [sys.executable, "-m", "streamlit", "run", str(APP), *server_options(args)]
    given = {workspace.GIVEN: os.pathsep.join(map(str, folders))}
    # Started in the background of a script, this process ignores Ctrl-C, and so would the commands that it starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execve(sys.executable, words, jobs.environment() | given)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m studio", description="Train and ask models in the browser.")
    parser.add_argument(
        "folders", nargs="*", metavar="FOLDER", type=named_path, help="other folders with images that may be read"
    )
    parser.add_argument("--port", type=int, default=None, help=f"default: {PORT}, or the next one that is free")
    parser.add_argument("--host", default=LOOPBACK, help="the address to listen on (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page in a browser")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    if args.port is not None and not 1024 <= args.port < 2**16:
        parser.error(f"--port {args.port}: from 1024 to 65535")
    return args


def require_usable() -> None:
    """Raises UserError where the studio cannot run."""
    if jobs.fcntl is None:
        raise UserError("the studio needs the file locks of Linux or macOS; on Windows, start it in WSL")
    if find_spec("streamlit") is None:
        raise UserError("Streamlit is not installed: pip install -r requirements-studio.txt")


def require_folder(folder: Path) -> Path:
    """The whole path. Raises UserError if it is none of a folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: {'a file, where a folder is expected' if folder.exists() else 'no such folder'}")
    whole = folder.resolve()
    if os.pathsep in str(whole):
        raise UserError(f"{folder}: a folder with {os.pathsep} in its path cannot be used here")
    return whole


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_options(args: argparse.Namespace) -> list[str]:
    """Those of Streamlit: nothing is sent anywhere, nothing is reloaded, nothing is offered to be deployed."""
    options = {
        "server.address": args.host,
        "server.headless": str(args.no_browser).lower(),
        "server.showEmailPrompt": "false",
        "server.maxUploadSize": str(pictures.MOST_BYTES // 2**20),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "full",
        "client.showErrorLinks": "false",
        "runner.magicEnabled": "false",
        "logger.level": "warning",
    }
    if args.port is not None:
        options["server.port"] = str(args.port)
    # A page of a stranger whose name leads to this machine has the name of another host.
    hosts = [word for host in HOSTS for word in ("--server.allowedHosts", host)] if is_loopback(args.host) else []
    return [*hosts, *(word for name, value in options.items() for word in (f"--{name}", value))]


if __name__ == "__main__":
    sys.exit(run_command(main))
