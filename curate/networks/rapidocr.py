"""PP-OCR's text detection (DB) from the model file inside rapidocr's wheel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from clipmill.curate.errors import UserError

Detector = Callable[[np.ndarray], list[np.ndarray]]


MAP_THRESHOLD = 0.3


BOX_SCORE = 0.6


MAX_KERNEL_HEIGHT = 0.13


LARGE_KERNEL_HEIGHT, LARGE_KERNEL_ASPECT = 0.08, 2.0


GROW = 1.5


MIN_KERNEL_PX = 2


def rapidocr_model() -> Path:
    """The detection model inside the installed rapidocr. Raises UserError where it is missing."""
    from importlib.util import find_spec

    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise UserError("text.method = rapidocr needs the package rapidocr: pip install rapidocr onnxruntime")
    found = sorted((Path(spec.origin).parent / "models").glob("*_det_*.onnx"))
    if not found:
        raise UserError("the installed rapidocr carries no detection model: pip install --force-reinstall rapidocr")
    return found[0]


def load_rapidocr(device: str, side_px: int) -> Detector:
    """PP-OCR detection on one CPU thread: RGB uint8 [H, W, 3] -> kernels."""
    import cv2
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
    available = [p for p in providers if p in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(str(rapidocr_model()), options, providers=available)
    name = session.get_inputs()[0].name

    def detect(rgb: np.ndarray) -> list[np.ndarray]:
        height, width = rgb.shape[:2]
        scale = min(side_px / min(height, width), 4 * side_px / max(height, width))
        size = (max(32, round(width * scale / 32) * 32), max(32, round(height * scale / 32) * 32))
        picture = cv2.resize(rgb[..., ::-1], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        batch = (picture.astype(np.float32).transpose(2, 0, 1)[None] - 127.5) / 127.5
        text_map = np.asarray(session.run(None, {name: batch})[0])[0, 0]
        return [k * np.array([width / size[0], height / size[1]], np.float32) for k in map_kernels(text_map)]

    return detect


def map_kernels(text_map: np.ndarray) -> list[np.ndarray]:
    """Kernels (px of the map) of a DB probability map, float32 [h, w] in [0, 1]: contours above 0.3 whose mean is above
    0.6.

    A kernel higher than 0.13 of the short side (letters of about a quarter) is left out: at that size the network marks
    objects. So is a large kernel that is no wider than twice its height: objects are compact, large words are not.
    """
    import cv2

    mask = (text_map > MAP_THRESHOLD).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    kernels = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        inside = cv2.drawContours(np.zeros((h, w), np.uint8), [contour], -1, 1, cv2.FILLED, offset=(-x, -y))
        rect = cv2.minAreaRect(contour.astype(np.float32) + 0.5)
        height, length = sorted(rect[1])
        if not MIN_KERNEL_PX <= height <= MAX_KERNEL_HEIGHT * min(text_map.shape):
            continue
        if height > LARGE_KERNEL_HEIGHT * min(text_map.shape) and length < LARGE_KERNEL_ASPECT * height:
            continue
        if cv2.mean(text_map[y : y + h, x : x + w], inside)[0] >= BOX_SCORE:
            kernels.append(cv2.boxPoints(rect))
    return kernels


def grown(kernel: np.ndarray, ratio: float) -> np.ndarray:
    """DB's way back from kernel to line: every side moved outwards by area * ratio / perimeter."""
    import cv2

    centre, (w, h), angle = cv2.minAreaRect(np.asarray(kernel, np.float32))
    by = 2 * w * h * ratio / (2 * (w + h))
    return np.asarray(cv2.boxPoints((centre, (w + by, h + by), angle)))
