"""Reading text in a picture, by the two networks inside rapidocr's wheel (PP-OCR): one finds lines, the other reads
each.

The second network gives a row of letters' probabilities per step along the line, of which repeats and blanks are
dropped (A. Graves et al., "Connectionist Temporal Classification", ICML 2006).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.curate.networks.rapidocr import GROW, grown, load_rapidocr

_LINE_PX = 48
_SHORTEST_PX, _LONGEST_PX = 320, 3200
_UPRIGHT_ASPECT = 1.5  # higher than so many widths: the line runs downwards


@dataclass(frozen=True)
class Line:
    """confidence: mean probability of its letters, 0 to 1. top, left: px of the picture, of the box's middle and left
    end.
    """

    text: str
    confidence: float
    top: float
    left: float


def recognition_model() -> Path:
    """The reading model inside the installed rapidocr. Raises UserError where it is missing."""
    from importlib.util import find_spec

    spec = find_spec("rapidocr")
    found = (
        sorted((Path(spec.origin).parent / "models").glob("*_rec_*.onnx")) if spec is not None and spec.origin else []
    )
    if not found:
        raise UserError("reading text needs the models of rapidocr: pip install --force-reinstall rapidocr onnxruntime")
    return found[0]


class Reader:
    """One CPU thread; the same picture gives the same lines."""

    def __init__(self, device: str, side_px: int = 192) -> None:
        """side_px: short side of the finding network's input. Raises UserError where rapidocr's models are missing."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._find = load_rapidocr(device, side_px)
        self._session = onnxruntime.InferenceSession(
            str(recognition_model()), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        letters = self._session.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._letters = ["", *letters, " "]

    def __call__(self, rgb: np.ndarray) -> list[Line]:
        """Lines of uint8 [H, W, 3] RGB, from top to bottom, then from left to right."""
        lines = []
        for kernel in self._find(rgb):
            box = grown(kernel, GROW)
            text, confidence = self._read(upright_line(rgb, box))
            if text:
                lines.append(Line(text, confidence, float(box[:, 1].mean()), float(box[:, 0].min())))
        rows = max(1.0, 0.04 * rgb.shape[0])  # lines at about the same height are one row
        return sorted(lines, key=lambda line: (round(line.top / rows), line.left))

    def _read(self, line: np.ndarray) -> tuple[str, float]:
        import cv2

        width = min(_LONGEST_PX, max(1, round(_LINE_PX * line.shape[1] / line.shape[0])))
        resized = cv2.resize(line[..., ::-1], (width, _LINE_PX), interpolation=cv2.INTER_LINEAR)
        batch = np.zeros((1, 3, _LINE_PX, max(_SHORTEST_PX, width)), np.float32)
        batch[0, :, :, :width] = (resized.astype(np.float32).transpose(2, 0, 1) - 127.5) / 127.5
        chances = np.asarray(self._session.run(None, {self._input: batch})[0])[0]
        return decoded(chances, self._letters)


def decoded(chances: np.ndarray, letters: list[str]) -> tuple[str, float]:
    """(text, mean probability of its letters) of float32 [steps, letters], of which the first is the blank; ("", 0)
    where all are blank.
    """
    if chances.shape[1] != len(letters):
        raise UserError(
            f"rapidocr's model knows {chances.shape[1]} letters, its list {len(letters)}: another version of rapidocr"
        )
    best = chances.argmax(axis=1)
    kept = (best != 0) & np.concatenate([[True], best[1:] != best[:-1]])
    text = "".join(letters[i] for i in best[kept]).strip()
    return text, float(chances.max(axis=1)[kept].mean()) if text else 0.0


def upright_line(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The box, float32 [4, 2], corners in px, cut out of the picture and turned so that its line runs to the right."""
    import cv2

    centre, (w, h), angle = cv2.minAreaRect(np.asarray(box, np.float32))
    if angle > 45:
        w, h, angle = h, w, angle - 90
    size = max(1, round(w)), max(1, round(h))
    turn = np.asarray(cv2.getRotationMatrix2D(centre, angle, 1.0), np.float64)
    turn[:, 2] += np.array([size[0] / 2 - centre[0], size[1] / 2 - centre[1]])
    line = cv2.warpAffine(rgb, turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.rot90(line) if line.shape[0] >= _UPRIGHT_ASPECT * line.shape[1] else line
