"""Errors a person can act on."""


class UserError(Exception):
    """A mistake or a circumstance the user can mend: shown as one line on stderr, exit code 2, never a traceback."""


class DecodeError(Exception):
    """A video that cannot be read or stops being readable; becomes the row's `error_message`, never ends a run."""


class AnnotatorError(Exception):
    """A score that cannot be computed for a clip; becomes that clip's `status = error` in that annotator's table."""
