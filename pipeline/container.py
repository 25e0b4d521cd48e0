"""Opens a video file, and nothing but that file."""

from pathlib import Path

import av
from av.container import InputContainer

# Formats of FFmpeg's that are lists of other files, names of them or addresses of streams; and text drawn as pictures.
ELSEWHERE = {
    *("concat", "concatf", "dash", "hls", "applehttp", "image2", "imf", "lavfi", "mpjpeg", "webm_dash_manifest"),
    *("rtp", "rtp_mpegts", "rtsp", "sap", "sdp", "avisynth", "vapoursynth", "vobsub", "tty"),
}


def open_container(path: Path, options: dict[str, str] | None = None) -> InputContainer:
    """An open file, with `options` of FFmpeg's; av.FFmpegError or ValueError if it is no video.

    A playlist would have FFmpeg open whatever it names, so such formats count as no video, whatever the file's name.
    """
    known = {"format_whitelist": ",".join(sorted(av.formats_available - ELSEWHERE))}
    # "file:" keeps a colon in the name from being taken for the end of a protocol.
    return av.open(f"file:{path}", options={**known, **(options or {})}, metadata_errors="replace")
