"""Source frames to normalised pictures: upright, cropped, square pixels, one size, yuv420p, BT.709, by one libav filter
graph per clip.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import PictureType, VideoFrame

from clipmill.curate.contract.crop import crop_box
from clipmill.curate.errors import DecodeError
from clipmill.curate.settings.export import ExportConfig

MAX_SIDE_PX = 8192
_HD_SHORT_SIDE_PX = 720
_UNSPECIFIED = 2  # of AVCOL_SPC, AVCOL_TRC and AVCOL_PRI alike
_WIDE_GAMUT = 9  # AVCOL_PRI_BT2020
_HDR_TRANSFERS = (16, 18)  # AVCOL_TRC: PQ (SMPTE 2084), HLG (ARIB STD-B67)
_FFMPEG_8 = (11, 0, 0)  # libavfilter
# Bicubic with every exact option on: the same bytes on every CPU, whatever its vector units.
_SCALE_FLAGS = "bicubic+accurate_rnd+bitexact+full_chroma_int"
_TURNS = {90: (("transpose", "clock"),), 180: (("hflip", ""), ("vflip", "")), 270: (("transpose", "cclock"),)}


@dataclass(frozen=True)
class Geometry:
    """Pixels of one clip. full: display size of the source, after rotation; mirrored: left to right, after it. crop:
    (x, y, w, h) in that. out: (w, h), square pixels.
    """

    full: tuple[int, int]
    rotation_deg: int
    crop: tuple[int, int, int, int]
    out: tuple[int, int]
    mirrored: bool = False

    @property
    def coded(self) -> tuple[int, int]:
        """Size of the source as decoded, before rotation."""
        return self.full if self.rotation_deg % 180 == 0 else (self.full[1], self.full[0])


def geometry(video: Mapping[str, Any], clip: Mapping[str, Any], config: ExportConfig) -> Geometry:
    """The pixels to show and their size. Raises DecodeError where the result would be absurdly long (over 8192 px)."""
    full = int(video["width"]), int(video["height"])
    sar = Fraction(int(video["sar_num"] or 1), int(video["sar_den"] or 1))
    box = _clip_box(clip, *full)
    if not config.short_side_px:
        out, box = _kept_size(box, sar, config.multiple)
    else:
        square = box[2] * sar, Fraction(box[3])
        scale = config.short_side_px / min(square)
        out = _nearest(square[0] * scale, config.multiple), _nearest(square[1] * scale, config.multiple)
        box = _trim(box, Fraction(*out) / sar)
    if max(out) > MAX_SIDE_PX:
        raise DecodeError(
            f"a picture of {box[2]}x{box[3]} px would become {out[0]}x{out[1]} px, longer than {MAX_SIDE_PX}"
        )
    return Geometry(full, int(video["rotation_deg"] or 0), box, out, bool(video.get("mirrored")))


def _nearest(length: Fraction, multiple: int) -> int:
    return max(1, round(length / multiple)) * multiple


def _clip_box(clip: Mapping[str, Any], width: int, height: int) -> tuple[int, int, int, int]:
    """The crop box inside the picture, on even pixels where it is a real crop: chroma has half the resolution."""
    box = crop_box(clip)
    if box is None:
        return 0, 0, width, height
    x, y, w, h = box
    x0, x1 = _even_inside(max(0, x), min(width, x + w), width)
    y0, y1 = _even_inside(max(0, y), min(height, y + h), height)
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else (0, 0, width, height)


def _even_inside(low: int, high: int, full: int) -> tuple[int, int]:
    low += low % 2
    return low, high if high == full else high - high % 2


def _kept_size(
    box: tuple[int, int, int, int], sar: Fraction, multiple: int
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Source size down to the multiple: pixels that are square already are cut, not scaled."""
    x, y, w, h = box
    out = (max(1, int(w * sar) // multiple) * multiple, max(1, h // multiple) * multiple)
    if sar == 1 and out[0] <= w and out[1] <= h:
        return out, (x, y, *out)
    return out, box


def _trim(box: tuple[int, int, int, int], aspect: Fraction) -> tuple[int, int, int, int]:
    """Cut the sides evenly, by whole pairs of pixels, to width/height = aspect, so that a coarse multiple does not
    stretch the picture.
    """
    x, y, w, h = box
    cut_w, cut_h = max(Fraction(0), (w - h * aspect) / 4), max(Fraction(0), (h - w / aspect) / 4)
    left, top = 2 * round(cut_w), 2 * round(cut_h)
    return (x + left, y + top, w - 2 * left, h - 2 * top) if w > 2 * left and h > 2 * top else box


class ClipFilter:
    """The filter graph of clips of one geometry: pictures come out one for one, in order, also where deinterlacing
    holds one back.

    A stream that changes its size or format in the middle gets a new graph; the new frames are first brought to the
    size of the video's row, so the clip keeps one size.
    """

    def __init__(self, geometry: Geometry, deinterlace: bool) -> None:
        self._geometry, self.deinterlace = geometry, deinterlace
        self._key: tuple[Any, ...] | None = None
        self._graph: Graph | None = None
        self._source: FilterContext | None = None
        self._sink: FilterContext | None = None
        self._tags: deque[int] = deque()

    def push(self, frame: VideoFrame, tag: int) -> Iterator[tuple[VideoFrame, int]]:
        """Put in one frame; yields the finished (picture, tag) pairs, tags in the order they were pushed."""
        key = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if key != self._key:
            yield from self._drain()
            self._build(frame)
            self._key = key
        self._tags.append(tag)
        assert self._source is not None
        self._source.push(frame)
        yield from self._pull()

    def end(self) -> Iterator[tuple[VideoFrame, int]]:
        """The end of a clip: the pictures still inside. Deinterlacing must not look into the next clip, so its graph
        goes; others stay.
        """
        if self.deinterlace:
            yield from self._drain()

    def _drain(self) -> Iterator[tuple[VideoFrame, int]]:
        if self._source is not None:
            self._source.push(None)
            yield from self._pull()
        self._source = self._key = None

    def _pull(self) -> Iterator[tuple[VideoFrame, int]]:
        assert self._sink is not None
        while True:
            try:
                picture = self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(picture, VideoFrame)
            picture.pict_type = PictureType.NONE  # else the encoder would repeat the source's frame types
            yield picture, self._tags.popleft()

    def _build(self, frame: VideoFrame) -> None:
        graph = Graph()
        graph.threads = 1
        source = graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000000:pixel_aspect=1/1"
            f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        steps = [graph.add(name, options or None) for name, options in self._steps(frame)]
        sink = graph.add("buffersink")
        graph.link_nodes(source, *steps, sink).configure()
        self._graph, self._source, self._sink = graph, source, sink

    def _steps(self, frame: VideoFrame) -> Iterator[tuple[str, str]]:
        plan = self._geometry
        if (frame.width, frame.height) != plan.coded:
            yield "scale", f"{plan.coded[0]}:{plan.coded[1]}:flags={_SCALE_FLAGS}"
        if self.deinterlace:
            yield "bwdif", "mode=send_frame:parity=auto:deint=interlaced"
        yield from _TURNS.get(plan.rotation_deg, ())
        if plan.mirrored:
            yield "hflip", ""
        x, y, w, h = plan.crop
        if (x, y, w, h) != (0, 0, *plan.full):
            yield "crop", f"{w}:{h}:{x}:{y}:exact=1"
        yield "scale", f"{plan.out[0]}:{plan.out[1]}:flags={_SCALE_FLAGS}:{_colour(frame, min(plan.full))}"
        yield "setsar", "1"
        yield "format", "pix_fmts=yuv420p"


def _colour(frame: VideoFrame, short_side_px: int) -> str:
    """To BT.709, limited range. Where the source says nothing: BT.709 from 720 lines on, BT.601 below, as players do.

    HDR and wide-gamut sources are mapped to BT.709 by swscale (FFmpeg 8 on); before that only the matrix is converted.
    """
    options = "out_color_matrix=bt709:out_range=limited"
    if int(frame.colorspace) == _UNSPECIFIED and frame.format.name.startswith("yuv"):
        options += f":in_color_matrix={'bt709' if short_side_px >= _HD_SHORT_SIDE_PX else 'smpte170m'}"
    wide = int(frame.color_primaries) == _WIDE_GAMUT or int(frame.color_trc) in _HDR_TRANSFERS
    if wide and av.library_versions["libavfilter"] >= _FFMPEG_8:
        options += ":out_primaries=bt709:out_transfer=bt709"
    return options
