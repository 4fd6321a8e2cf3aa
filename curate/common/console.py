"""How every command of clipmill ends: a user's mistake is one line on stderr and exit code 2, never a traceback."""

import errno
import os
import shlex
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from clipmill.curate.common.log import visible
from clipmill.curate.errors import UserError, full_disk, is_full_disk, one_line

INTERRUPTED = 128 + signal.SIGINT


def new_app(name: str, help: str) -> typer.Typer:
    """An empty command line that looks as all of ours do. name: of the command. help: one sentence."""
    app = typer.Typer(
        name=name,
        help=help,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def show(asked: bool) -> None:
        if asked:
            from clipmill import __version__

            print(f"{name} (clipmill) {__version__}")
            raise typer.Exit

    @app.callback()
    def options(
        version: Annotated[bool, typer.Option("--version", callback=show, is_eager=True, help="The version.")] = False,
    ) -> None:
        pass

    return app


def run_app(app: typer.Typer, name: str) -> NoReturn:
    """Run a command line and exit. name: of the command, before the colon of an error."""
    usage_error: Any = typer.BadParameter.__bases__[
        0
    ]  # typer carries its own click, whose error classes it does not export
    no_arguments: Any = tuple(kind for kind in usage_error.__subclasses__() if kind.__name__ == "NoArgsIsHelpError")
    try:
        code = app(standalone_mode=False) or 0
        if code == INTERRUPTED:  # so typer ends on Ctrl-C; earlier ones raise Abort
            raise KeyboardInterrupt
        sys.exit(code)
    except UserError as error:
        _fail(name, str(error), 2)
    except OSError as error:
        if is_full_disk(error):
            _fail(name, str(full_disk()), 2)
        _fail(name, _told(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        _fail(name, "interrupted; run the same command again to go on", INTERRUPTED)
    except no_arguments as error:
        print(error.format_message())
        sys.exit(2)
    except usage_error as error:
        _fail(name, " ".join(error.format_message().split()), 2)


def command_line(name: str) -> str:
    """The command as typed, for what remembers how it was made. name: of the command."""
    return shlex.join([name, *sys.argv[1:]])


def _told(error: OSError) -> str:
    """What the system says, with the file where it names one, and what to do where the disk is the reason."""
    if error.errno is None:  # libraries raise such: pyarrow's FileNotFoundError is the file's name alone
        reason = f": {os.strerror(errno.ENOENT)}" if isinstance(error, FileNotFoundError) else ""
        return f"{one_line(error)}{reason}"
    place = "" if error.filename is None else f"{error.filename}: "
    disk = error.errno in (errno.EROFS, errno.EIO)
    remedy = "; once the disk can be written again, the same command goes on" if disk else ""
    return f"{place}{error.strerror}{remedy}"


def _fail(name: str, message: str, code: int) -> NoReturn:
    print(visible(f"{name}: {message}"), file=sys.stderr)
    sys.exit(code)
