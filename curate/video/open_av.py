"""The one place where the product opens media.

libav guesses what a file is from its bytes and its name, and some guesses read more than the file: playlists and lists
(hls, dash, concat) name other files, SDP opens network sockets, `lavfi` runs filters, others turn any text into
pictures (tty, bin). So the containers are named here, a file may open itself alone, and bytes may open nothing. The
external references of MOV stay off, as they are in libav (`enable_drefs`, `use_absolute_path`).
"""

import errno
import io
from pathlib import Path

import av
from av.container import InputContainer

from clipmill.curate.errors import DecodeError, one_line
from clipmill.curate.video.refusals import indirection, refusal

# Containers and raw streams whose pictures lie in the file itself.
_VIDEO = (
    "4xm,amv,anm,apng,apv,asf,asf_o,av1,avi,avif,avs,avs2,avs3,bethsoftvid,bfi,bink,bmv,c93,cavsvideo,cdg,cdxl,cine,"
    "derf,dfa,dhav,dirac,dnxhd,dsicin,dv,dxa,ea,ea_cdata,evc,film_cpk,filmstrip,flic,flv,gdv,gif,gxf,h261,h263,h264,"
    "hevc,hnm,hxvs,idcin,iff,ifv,ingenient,ipmovie,ipu,iss,iv8,ivf,ivr,jpegxl_anim,jv,kux,live_flv,lmlm4,luodat,lvf,"
    "lxf,m4v,matroska,webm,mjpeg,mjpeg_2000,mlv,mm,mods,moflex,mov,mp4,3gp,3g2,mj2,mpeg,mpegts,mpegtsraw,mpegvideo,"
    "mpjpeg,msnwctcp,mtv,mv,mvi,mxf,mxg,nc,nsv,nut,nuv,obu,ogg,paf,pdv,pmp,psxstr,pva,r3d,rl2,rm,roq,rpl,ser,sga,siff,"
    "simbiosis_imx,smjpeg,smk,smush,swf,thp,tiertexseq,tmv,ty,usm,v210,v210x,vc1,vc1test,vividas,vivo,vmd,vvc,wc3movie,"
    "webp,wsvqa,wtv,xmv,yop,yuv4mpegpipe,"
    "jpeg_pipe"  # a JPEG called .mp4 has always been a video of one frame, which is too short for anything
)
# Sound: nothing is made of it, but the reason given is then the true one.
_SOUND = "aac,ac3,ac4,aiff,amr,ape,au,caf,dts,eac3,flac,m4a,mlp,mp3,oma,truehd,tta,w64,wav,wv"
_PICTURES = "bmp_pipe,gif_pipe,j2k_pipe,jpegxl_pipe,png_pipe,pgm_pipe,ppm_pipe,tiff_pipe,webp_pipe"


def open_av(source: Path | bytes, pictures: bool = False) -> InputContainer:
    """The container of a media file, or of the bytes of one; close it, or use it as a context manager.

    pictures: single pictures (PNG, JPEG, ...) are taken, too. Raises DecodeError, in one line that says what the file
    is, where it is no container of the list above.
    """
    formats = f"{_VIDEO},{_SOUND},{_PICTURES}" if pictures else f"{_VIDEO},{_SOUND}"
    # An absolute path, because libav takes what precedes a colon for a protocol.
    whole, protocols = (io.BytesIO(source), "none") if isinstance(source, bytes) else (str(source.absolute()), "file")
    options = {"format_whitelist": formats, "protocol_whitelist": protocols}
    try:
        container = av.open(whole, "r", options=options, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(refusal(source) or _told(error)) from error
    # libav would look for the pictures of a reference movie in the movie itself.
    if "mov" in container.format.name and (reason := indirection(source)) is not None:
        container.close()
        raise DecodeError(reason)
    return container


def is_allowed(container: str) -> bool:
    """Whether a container, by libav's name of it (`videos.container`), is opened."""
    return bool(set(container.split(",")) & set(f"{_VIDEO},{_SOUND}".split(",")))


def _told(error: Exception) -> str:
    if getattr(error, "errno", None) == errno.EINVAL:  # what libav says of a format that is not on the list
        return "not a video format: text, a single picture, or a list of other files"
    return one_line(error)
