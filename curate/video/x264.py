"""Options that make libx264 write the same bytes for the same pictures."""

import cv2

_AVX512 = 13  # CV_CPU_AVX_512F; OpenCV 5 has no name for it in Python


def steady_x264() -> dict[str, str]:
    """Options of libx264, to be added to the others.

    On processors with AVX-512, x264 takes macroblocks behind the end of a row of the picture into account when it
    weighs what later pictures need (macroblock tree, `mbtree_propagate_list`): whatever an earlier encode left in that
    memory moves the quantiser by a step here and there, unless the rows are a multiple of 8 macroblocks. Its AVX2
    code does not, is as fast, and is what processors without AVX-512 use.
    """
    return {"x264-params": "asm=avx2"} if cv2.checkHardwareSupport(_AVX512) else {}
