"""The command line: one file a command; the only room that knows option names, or prints."""

import sys

from cmvae.cli.ending import Stopped, keep_streams, signals_stop


def main() -> None:
    """Run the command line, and exit with its status."""
    keep_streams()
    heard: list[int] = []
    try:
        with signals_stop() as heard:
            from cmvae.cli.app import run  # takes a while, in which signals are heard too

            status = run()
        status = heard[0] if heard else status  # typer knows of Ctrl-C alone
    except Stopped as stop:
        status = stop.status
    except SystemExit:  # of an error that what was raised has become in a library
        if not heard:
            raise
        status = heard[0]
    sys.exit(status)
