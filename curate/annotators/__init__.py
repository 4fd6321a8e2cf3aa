"""What an annotator is. One annotator = one file in this folder = one class; it is found by the file's name.

An annotator turns clips into columns and never decides anything: thresholds live in the policy. The pipeline decodes a
video once and hands each annotator what its class asks for:

- `frames`: pictures of the clip, on a time grid (`fps`) or at named positions (`roles`: first, middle, last);
- `observe`: a small vector measured on the full-resolution luma of sampled frames while the video is decoded;
- the per-frame signals of `clipmill.curate.video.signals` (luma mean, frame difference), always there, for every
  decoded frame;
- the columns that other annotators made of the same clip (`after`, `uses`), and its captions.

`measure(clip)` returns the columns of one clip. One that needs a network, or looks at many clips at once, writes
`load(device, files)` instead: called once per worker, it returns a function of clips that holds what was loaded. The
annotator itself stays frozen settings.

One that is content with the stored pictures and with columns may say so (`from_stored`): it then runs after all
decoding, on many clips of many videos at once, and needs the videos no more.

May import: contract, common, errors, video, networks, captions. Imported by: nobody by name but common/plugins; policy
asks for the columns.
"""

import sys

from clipmill.curate.common import plugins
from clipmill.curate.contract.annotator import Annotator
from clipmill.curate.errors import UserError, closest


def names() -> list[str]:
    """Every annotator of this folder, by file name."""
    return plugins.file_names(sys.modules[__name__])


def annotator_class(name: str) -> type[Annotator]:
    """The class in `curate/annotators/<name>.py`. Raises UserError, naming the closest, where there is none."""
    if name not in names():
        raise UserError(f"no annotator called {name!r}{closest(name, names())}")
    return plugins.plugin(sys.modules[__name__], name, Annotator, "annotator")
