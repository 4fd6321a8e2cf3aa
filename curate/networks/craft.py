"""CRAFT's text detection through easyocr's own network and box code."""

from pathlib import Path

import numpy as np

from clipmill.curate.errors import UserError, one_line
from clipmill.curate.networks.rapidocr import Detector
from clipmill.curate.weights import load_state


def check_easyocr() -> None:
    """Raises UserError where easyocr, which brings CRAFT's network, is not installed; imports nothing."""
    from importlib.util import find_spec

    if find_spec("easyocr") is None:
        raise UserError("text.method = easyocr needs the package easyocr: pip install easyocr")


def load_craft(device: str, path: Path) -> Detector:
    """CRAFT through easyocr's own network and box code: RGB uint8 [H, W, 3] -> kernels. Raises UserError where the file
    does not fit.
    """
    from easyocr.craft import CRAFT as Network
    from easyocr.detection import copyStateDict, get_textbox

    state = copyStateDict(load_state(path))
    network = Network()
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{path} does not hold CRAFT's weights: {one_line(error, 120)}") from None
    network.eval().to(device)

    def detect(rgb: np.ndarray) -> list[np.ndarray]:
        boxes = get_textbox(network, rgb, 2560, 1.0, 0.7, 0.4, 0.4, False, device)[0]
        return [shrunk(np.asarray(b, np.float32).reshape(-1, 2)) for b in boxes]

    return detect


def shrunk(box: np.ndarray) -> np.ndarray:
    """The kernel of a full line's box: each side moved inwards by a quarter of the line's height."""
    import cv2

    centre, (w, h), angle = cv2.minAreaRect(box)
    by = 0.5 * min(w, h)
    return np.asarray(cv2.boxPoints((centre, (max(w - by, 1), max(h - by, 1)), angle)))


def unshrunk(kernel: np.ndarray) -> np.ndarray:
    """The box that `shrunk` made a kernel of, which is half as high."""
    import cv2

    centre, (w, h), angle = cv2.minAreaRect(np.asarray(kernel, np.float32))
    by = min(w, h)
    return np.asarray(cv2.boxPoints((centre, (w + by, h + by), angle)))
