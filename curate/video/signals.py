"""Per-frame signals of the one decode: cheap numbers on a small picture of every frame.

They feed annotators (flicker, duplicated frames, near-black) and are stored with the cut scores in `curves/`.
"""

import numpy as np

LUMA_SHAPE = (54, 96)
THUMB_SHAPE = (27, 48, 3)


class SignalBuilder:
    """Collects, for every frame pushed in display order:

    luma_mean: mean luma, 0 to 255 as coded. luma_std: its standard deviation, same unit.
    dark_share: share of pixels at luma <= 32 (near black in both video ranges), 0 to 1.
    difference: mean absolute luma difference to the previous frame, 0 to 255; NaN for the first frame.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, float, float]] = []
        self._previous: np.ndarray | None = None

    def push(self, luma: np.ndarray) -> None:
        """luma: uint8 [54, 96], the whole frame."""
        import cv2

        mean, std = cv2.meanStdDev(luma)
        dark = float(cv2.countNonZero(cv2.inRange(luma, 0, 32))) / luma.size
        difference = float("nan") if self._previous is None else cv2.norm(luma, self._previous, cv2.NORM_L1) / luma.size
        self._rows.append((float(mean[0, 0]), float(std[0, 0]), dark, difference))
        self._previous = luma

    def finish(self) -> dict[str, np.ndarray]:
        """name -> float32 [N]."""
        table = np.asarray(self._rows, np.float32).reshape(-1, 4)
        return {name: table[:, i] for i, name in enumerate(("luma_mean", "luma_std", "dark_share", "difference"))}
