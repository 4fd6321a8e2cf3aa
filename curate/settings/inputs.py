"""How lists of videos are read. Light: imported by the command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InputsConfig:
    """Columns of lists of videos (see `clipmill.curate.inputs.lists`).

    url_col: column with the path or address of the video; "": the first of file, path, video, url and their like.
    caption_col: column with its caption; "": the first of caption, text, description and their like. root: folder from
    which the paths of lists count, and outside of which none of them is read; "": the folder of the list.
    """

    url_col: str = ""
    caption_col: str = ""
    root: str = ""
