"""`curate browse`: a page on this machine to look at a run's clips, play them, search, and decide by hand. Imports
tables, policies, export (to play what is not exported), and nothing imports it but the command.
"""

import secrets
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from clipmill.curate.common.log import say

if TYPE_CHECKING:
    from clipmill.curate.browse.clips import Clips
    from clipmill.curate.browse.guard import Guard

__all__ = ["browse", "guarded_app"]


def browse(root: Path, port: int = 0, opens: bool = False) -> None:
    """Serve the page until Ctrl-C, and tell its address. port: 0 takes a free one. opens: in the user's browser, too.
    Raises UserError where the folder is no finished run, OSError where the port is taken.
    """
    import uvicorn

    from clipmill.curate.browse.clips import Clips

    clips = Clips(root)
    with socket.create_server(("127.0.0.1", port)) as listening, tempfile.TemporaryDirectory() as folder:
        port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
        address = f"http://127.0.0.1:{port}/?token={token}"
        say(f"{clips.facts.n_clips} clips of {root}: {address}")
        say("the address is for this machine alone; Ctrl-C ends the page")
        if opens:
            import webbrowser

            webbrowser.open(address)
        app = guarded_app(clips, Path(folder), token, port)
        config = uvicorn.Config(app, log_level="error", lifespan="off", access_log=False)
        uvicorn.Server(config).run([listening])


def guarded_app(clips: "Clips", folder: Path, token: str, port: int) -> "Guard":
    """The page as an ASGI application. folder: for videos that are made on demand. token, port: see `Guard`."""
    from clipmill.curate.browse.app import Desk
    from clipmill.curate.browse.guard import Guard
    from clipmill.curate.browse.hand import user_name
    from clipmill.curate.browse.media import Media
    from clipmill.curate.browse.stills import Stills

    desk = Desk(clips, Media(clips.run, folder), Stills(clips.run), user_name())
    return Guard(desk.app(), token, port)
