"""Video in and out: every frame at its own time, upright, with its sound; clear errors; nothing half-written."""

import itertools
import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline import video as module
from pipeline.audio import sound_packets
from pipeline.errors import InputError, OutputError
from pipeline.video import Frame, VideoInfo, VideoWriter, check_output, probe, read_frames
from tests.full_disk import files_up_to
from tests.pipeline.clips import (
    BEEP_S,
    Contents,
    atoms,
    beep_s,
    contents,
    make_clip,
    make_flat,
    make_song_with_cover,
    make_sound,
    number_of,
    numbered,
    picture,
    quarters,
)

UPRIGHT = ["red", "green", "blue", "white"]
NTSC = [Fraction(30_000, 1001), Fraction(24_000, 1001), Fraction(60_000, 1001)]
INFO = VideoInfo(64, 48, Fraction(25), Fraction(1, 25), None, None, has_audio=False, rotation=0)


def rewrite(source: Path, output: Path, *, use_sound: bool = True) -> list[Frame]:
    """Send a clip through reader and writer; returns the frames that were read."""
    info, frames = probe(source), []
    with VideoWriter(output, (info.width, info.height), info=info, source=source if use_sound else None) as writer:
        for frame in read_frames(source, salvage=True):
            writer.write(frame.image, frame)
            frames.append(frame)
    return frames


def times(frames: list[Frame]) -> list[float]:
    return [frame.time_s for frame in frames]


def seconds(found: Contents) -> list[float]:
    return [float(time) for time in found.times]


def numbers(images: list[np.ndarray]) -> list[int]:
    return [number_of(image) for image in images]


def write_some(path: Path, count: int, *, size: tuple[int, int] = (64, 48), info: VideoInfo = INFO) -> None:
    with VideoWriter(path, size, info=info) as writer:
        for index in range(count):
            writer.write(numbered(index, size), Frame(index, float(index / info.rate), numbered(0, size)))


# --- times ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", NTSC, ids=str)
def test_ntsc_rates_stay_exact(tmp_path: Path, rate: Fraction) -> None:
    source = make_clip(tmp_path / "in.mp4", time_base=1 / rate)
    frames = rewrite(source, tmp_path / "out.mp4")
    found = contents(tmp_path / "out.mp4")
    exact = [index / rate for index in range(12)]
    assert probe(source).rate == rate
    assert times(frames) == [float(time) for time in exact]
    assert found.times == exact
    assert found.rate == rate
    assert found.duration == 12 / rate
    assert [frame.index for frame in frames] == numbers(found.images) == list(range(12))


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov"])
def test_a_variable_rate_keeps_every_time(tmp_path: Path, ending: str) -> None:
    ticks = [0, 40, 73, 200, 201, 1500, 1533, 1700]
    images = [numbered(index, (64, 48)) for index in range(8)]
    source = make_clip(tmp_path / f"in{ending}", images=images, ticks=ticks, time_base=Fraction(1, 1000))
    frames = rewrite(source, tmp_path / "out.mp4")
    found = contents(tmp_path / "out.mp4")
    assert found.times == contents(source).times == [Fraction(tick, 1000) for tick in ticks]
    assert times(frames) == [tick / 1000 for tick in ticks]
    assert numbers(found.images) == list(range(8))


def test_the_last_frame_is_shown_for_an_average_time(tmp_path: Path) -> None:
    info = VideoInfo(64, 48, Fraction(10), Fraction(1, 1000), None, None, has_audio=False, rotation=0)
    with VideoWriter(tmp_path / "out.mp4", (64, 48), info=info) as writer:
        for index, time_s in enumerate([0.0, 0.1, 2.0]):
            writer.write(numbered(index, (64, 48)), Frame(index, time_s, numbered(0, (64, 48))))
    assert contents(tmp_path / "out.mp4").duration == Fraction(21, 10)


@pytest.mark.parametrize(
    ("ending", "codec", "container"),
    [(".avi", "libx264", "avi"), (".avi", "mpeg4", "avi"), (".h264", "libx264", "h264"), (".ts", "libx264", "mpegts")],
)
def test_clips_without_presentation_times_are_in_order(tmp_path: Path, ending: str, codec: str, container: str) -> None:
    """With B-frames, an AVI has times of decoding only and a raw stream none; a TS does not start at 0."""
    options = {"bf": "2", "flags": "+bitexact"}
    rate = NTSC[0]
    source = make_clip(tmp_path / f"in{ending}", codec=codec, container=container, time_base=1 / rate, options=options)
    frames = rewrite(source, tmp_path / "out.mp4")
    assert times(frames) == [float(index / rate) for index in range(12)]
    assert contents(tmp_path / "out.mp4").times == [index / rate for index in range(12)]
    if codec == "libx264":
        assert numbers([frame.image for frame in frames]) == list(range(12))


def test_a_gap_in_an_avi_stays_a_gap(tmp_path: Path) -> None:
    ticks = [0, 1, 2, 5, 6, 9]
    images = [numbered(index, (64, 48)) for index in range(6)]
    source = make_clip(tmp_path / "in.avi", images=images, ticks=ticks, codec="mjpeg", pix_fmt="yuvj420p")
    assert times(list(read_frames(source))) == [tick / 25 for tick in ticks]


def joined(folder: Path, *, sizes: list[tuple[int, int]], sounds: list[dict]) -> Path:
    """Recordings of a camera, one appended to the other: time starts anew, the size of the pictures may change."""
    data = b""
    for index, (size, sound) in enumerate(zip(sizes, sounds, strict=True)):
        images = [numbered(number, size) for number in range(10)]
        part = folder / f"part{index}.ts"
        data += make_clip(part, images=images, time_base=Fraction(1, 5), container="mpegts", **sound).read_bytes()
    path = folder / "joined.ts"
    path.write_bytes(data)
    return path


def test_a_clock_that_is_reset_goes_on(tmp_path: Path) -> None:
    source = joined(tmp_path, sizes=[(64, 48), (96, 80)], sounds=[{"sound": "aac"}] * 2)
    frames = rewrite(source, tmp_path / "out.mp4")
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 20
    assert numbers([frame.image for frame in frames]) == [*range(10), *range(10)]
    np.testing.assert_allclose(np.diff(times(frames)), 1 / 5, atol=1e-4)
    found = contents(tmp_path / "out.mp4")
    np.testing.assert_allclose(np.diff(seconds(found)), 1 / 5, atol=1e-4)
    assert float(found.sound[-1][0]) == pytest.approx(4.0, abs=0.2)  # the sound of the second comes after the first's


def test_frames_that_grow_too_large_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = joined(tmp_path, sizes=[(64, 48), (96, 80)], sounds=[{}] * 2)
    monkeypatch.setenv("POSECLI_MAX_MEGAPIXELS", str(64 * 80 / 1e6))
    found = numbers([frame.image for frame in read_frames(source)])
    assert 7 < len(found) <= 10  # the decoder may drop those that it holds back
    assert found == list(range(len(found)))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_sound_may_change_its_kind(tmp_path: Path) -> None:
    sounds = [{"sound": "mp2"}, {"sound": "mp2", "sound_rate": 48_000, "layout": "mono"}]
    source = joined(tmp_path, sizes=[(64, 48)] * 2, sounds=sounds)
    assert len(rewrite(source, tmp_path / "out.mp4")) == 20
    found = contents(tmp_path / "out.mp4")
    assert len(found.images) == 20
    assert float(found.sound[-1][0]) == pytest.approx(4.0, abs=0.2)


def test_frames_held_back_by_the_decoder_come_out(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", options={"bf": "4", "b-pyramid": "normal", "g": "12"})
    assert numbers([frame.image for frame in read_frames(source)]) == list(range(12))


def test_a_fine_time_base_falls_back(tmp_path: Path) -> None:
    info = VideoInfo(64, 48, NTSC[0], Fraction(1, 1_000_000_000), None, None, has_audio=False, rotation=0)
    write_some(tmp_path / "out.mp4", 5, info=info)
    assert contents(tmp_path / "out.mp4").times == [index / NTSC[0] for index in range(5)]


# --- pictures ---------------------------------------------------------------------------------------------------

# What a player shows of a clip that notes a turn, clockwise, and after it a mirror image.
TURNED = {
    (0, False): ["red", "green", "blue", "white"],
    (90, False): ["blue", "red", "white", "green"],
    (180, False): ["white", "blue", "green", "red"],
    (270, False): ["green", "white", "red", "blue"],
    (0, True): ["green", "red", "white", "blue"],
    (90, True): ["red", "blue", "green", "white"],
}


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot note a turn")
@pytest.mark.parametrize(("turn", "mirrored"), TURNED)
def test_phones_clips_are_upright(tmp_path: Path, turn: int, mirrored: bool) -> None:
    source = make_clip(tmp_path / "in.mp4", images=[picture((64, 48))] * 3, turn=turn, mirrored=mirrored)
    frames = rewrite(source, tmp_path / "out.mp4")
    width, height = (48, 64) if turn % 180 else (64, 48)
    info = probe(source)
    assert (info.width, info.height) == (width, height)
    assert [frame.image.shape for frame in frames] == [(height, width, 3)] * 3
    assert all(frame.image.flags.c_contiguous for frame in frames)
    assert quarters(frames[-1].image) == TURNED[turn, mirrored]
    assert quarters(contents(tmp_path / "out.mp4").images[-1]) == TURNED[turn, mirrored]
    if not mirrored:
        assert info.rotation == turn


def test_an_old_rotate_tag_is_honoured(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", images=[picture((64, 48))] * 3, tags={"rotate": "90"})
    assert probe(source).rotation == 90
    assert quarters(next(read_frames(source)).image) == TURNED[90, False]


def test_pixels_are_square(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", images=[picture((48, 48))] * 3, pixel_aspect=Fraction(4, 3))
    info = probe(source)
    assert (info.width, info.height) == (64, 48)
    assert next(read_frames(source)).image.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "ending"),
    [
        ("libx264", "yuv422p10le", ".mp4"),
        ("ffv1", "yuva420p", ".mkv"),
        ("ffv1", "bgra", ".mkv"),
        ("ffv1", "yuv420p10le", ".mkv"),
        ("mjpeg", "yuvj420p", ".avi"),
        ("prores_ks", "yuva444p10le", ".mov"),
        ("gif", "rgb8", ".gif"),
    ],
)
def test_every_pixel_format_becomes_bgr(tmp_path: Path, codec: str, pix_fmt: str, ending: str) -> None:
    images = [picture((64, 48))] * 3
    frames = list(read_frames(make_clip(tmp_path / f"in{ending}", images=images, codec=codec, pix_fmt=pix_fmt)))
    assert len(frames) == 3
    for frame in frames:
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        np.testing.assert_allclose(frame.image[12, 16], [0, 0, 255], atol=12)
        assert quarters(frame.image) == UPRIGHT


def test_grey_becomes_bgr(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pix_fmt="gray16le")
    assert numbers([frame.image for frame in read_frames(source)]) == list(range(12))


@pytest.mark.parametrize("kind", [{}, {"turn": 90}, {"pix_fmt": "yuvj420p"}, {"pixel_aspect": Fraction(4, 3)}], ids=str)
def test_colours_that_need_not_be_exact_are_nearly(tmp_path: Path, kind: dict) -> None:
    """No level is off by more than a few where colours change slowly, and none on average anywhere."""
    y, x = np.mgrid[:96, :128]
    smooth = np.stack([128 + 100 * np.sin(x / 40), 2.0 * y + 20, 128 + 90 * np.cos((x + y) / 50)], axis=-1)
    noisy = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).repeat(8, 0).repeat(8, 1)
    images = [smooth.astype(np.uint8), noisy.astype(np.uint8)]
    source = make_clip(tmp_path / "in.mp4", images=images, options={"crf": "5"}, **kind)
    exact, quick = ([f.image.astype(int) for f in read_frames(source, exact=exact)] for exact in (True, False))
    assert [image.shape for image in quick] == [image.shape for image in exact]
    off = [other - image for image, other in zip(exact, quick, strict=True)]
    assert np.abs(off[0]).max() <= 8
    for each in off:
        np.testing.assert_allclose(each.mean(axis=(0, 1)), 0, atol=1)


def test_interlaced_frames_are_read(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    source = make_clip(tmp_path / "in.mp4", images=[picture((64, 48))] * 3, options=options)
    assert [quarters(frame.image) for frame in read_frames(source)] == [UPRIGHT] * 3


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (17, 34), (64, 47)], ids=str)
def test_odd_sizes_repeat_their_last_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    images = [picture(size)] * 3
    source = make_clip(tmp_path / "in.mkv", images=images, codec="ffv1", pix_fmt="bgra")
    frames = rewrite(source, tmp_path / "out.mp4")
    np.testing.assert_array_equal(frames[0].image, images[0])
    found = contents(tmp_path / "out.mp4")
    width, height = size
    assert [image.shape for image in found.images] == [(height + height % 2, width + width % 2, 3)] * 3
    if size in {(3, 5), (17, 34), (64, 47)}:
        assert quarters(found.images[0]) == UPRIGHT
    if size == (64, 47):
        np.testing.assert_allclose(found.images[0][47, 8], [255, 0, 0], atol=12)


def test_colours_and_their_tags_agree(tmp_path: Path) -> None:
    """A pure red is 63, 102, 240 in BT.709; read as BT.601 it would be another red."""
    red = np.full((48, 64, 3), (0, 0, 255), np.uint8)
    with VideoWriter(tmp_path / "out.mp4", (64, 48), info=INFO) as writer:
        writer.write(red, Frame(0, 0.0, red))
    with av.open(str(tmp_path / "out.mp4")) as file:
        planes = [np.frombuffer(bytes(plane), np.uint8)[0] for plane in next(file.decode(video=0)).planes]
    np.testing.assert_allclose(planes, [63, 102, 240], atol=2)
    assert contents(tmp_path / "out.mp4").colours == (1, 1, 1, 1)
    np.testing.assert_allclose(next(read_frames(tmp_path / "out.mp4")).image[24, 32], [0, 0, 255], atol=3)


@pytest.mark.parametrize(("size", "red"), [((64, 48), (81, 90, 240)), ((16, 720), (63, 102, 240))], ids=str)
def test_untagged_colours_are_those_of_players(
    tmp_path: Path, size: tuple[int, int], red: tuple[int, int, int]
) -> None:
    """Small pictures are taken for BT.601, large ones for BT.709: in each the numbers are a pure red."""
    source = make_flat(tmp_path / "in.mkv", red, size=size)
    np.testing.assert_allclose(next(read_frames(source)).image[24, 8], [0, 0, 255], atol=3)


def test_players_can_play_it(tmp_path: Path) -> None:
    rewrite(make_clip(tmp_path / "in.mp4", sound="aac"), tmp_path / "out.mp4")
    found = contents(tmp_path / "out.mp4")
    assert (found.codec, found.pix_fmt) == ("h264", "yuv420p")
    names = atoms(tmp_path / "out.mp4")
    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")  # so that it plays while it loads
    with av.open(str(tmp_path / "out.mp4")) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    assert [packet.dts for packet in packets] == [packet.pts for packet in packets]  # no reordering, no edit list


# --- sound ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "codec", "rate"),
    [(".mp4", "aac", 44_100), (".mp4", "libmp3lame", 44_100), (".mkv", "libopus", 48_000), (".mp4", "ac3", 48_000)],
)
def test_sound_is_copied(tmp_path: Path, ending: str, codec: str, rate: int) -> None:
    source = make_clip(tmp_path / f"in{ending}", sound=codec, sound_rate=rate)
    rewrite(source, tmp_path / "out.mp4")
    before, after = contents(source), contents(tmp_path / "out.mp4")
    assert len(before.sound) > 10
    assert after.sound_codec == before.sound_codec
    assert after.sound == before.sound  # times and sizes of all packets


@pytest.mark.parametrize(
    ("ending", "codec", "options"),
    [
        (".avi", "pcm_s16le", {}),
        (".mov", "pcm_s16le", {"layout": "mono"}),
        (".mkv", "pcm_s16le", {"layout": "5.1"}),
        (".mkv", "pcm_s16le", {"sound_rate": 11_127}),  # a rate that AAC does not know
        (".mkv", "mp2", {}),
    ],
)
def test_sound_that_mp4_cannot_hold_becomes_aac(tmp_path: Path, ending: str, codec: str, options: dict) -> None:
    images = [numbered(index, (64, 48)) for index in range(20)]
    picture_codec = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
    source = make_clip(tmp_path / f"in{ending}", images=images, sound=codec, **picture_codec, **options)
    rewrite(source, tmp_path / "out.mp4")
    after = contents(tmp_path / "out.mp4")
    assert after.sound_codec == "aac"
    assert len(after.images) == 20
    assert float(after.sound[-1][0]) + 0.024 > 19 / 25 + 0.2 - 0.002  # the last packet, of 0.023 s, reaches the end
    assert beep_s(tmp_path / "out.mp4") == pytest.approx(beep_s(source), abs=0.002)


def test_sound_of_a_rare_kind_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = make_clip(tmp_path / "in.mkv", sound="pcm_s16le", layout="9 channels")
    assert len(rewrite(source, tmp_path / "out.mp4")) == 12
    assert len(contents(tmp_path / "out.mp4").images) == 12
    (record,) = caplog.records
    said = "its sound, damaged or of a rare kind, is not kept to the end ("
    assert record.getMessage().startswith(f"{source}: {said}")


def test_a_mov_gets_sound_that_it_can_hold(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", sound="libopus", sound_rate=48_000)
    rewrite(source, tmp_path / "out.mov")
    assert contents(tmp_path / "out.mov").sound_codec == "aac"
    assert beep_s(tmp_path / "out.mov") == pytest.approx(BEEP_S, abs=0.002)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(("first_tick", "sound_start_s"), [(0, 0.1), (5, 0.0)], ids=["sound late", "pictures late"])
def test_sound_and_pictures_stay_in_step(tmp_path: Path, ending: str, first_tick: int, sound_start_s: float) -> None:
    images = [numbered(index, (64, 48)) for index in range(12)]
    ticks = range(first_tick, first_tick + 12)
    source = make_clip(tmp_path / f"in{ending}", images=images, ticks=ticks, sound="aac", sound_start_s=sound_start_s)
    frames = rewrite(source, tmp_path / "out.mp4")
    before, after = contents(source), contents(tmp_path / "out.mp4")
    lag = beep_s(tmp_path / "out.mp4") - seconds(after)[0]
    assert lag == pytest.approx(beep_s(source) - seconds(before)[0], abs=0.002)
    assert seconds(after) == pytest.approx(times(frames), abs=1e-4)
    assert min(times(frames)[0], float(after.sound[0][0])) == pytest.approx(0, abs=0.025)
    assert after.sound_s == pytest.approx(float(ticks[-1] / 25) + 0.2 - sound_start_s, abs=0.05)


def test_without_sound_there_is_none(tmp_path: Path) -> None:
    silent = make_clip(tmp_path / "silent.mp4")
    loud = make_clip(tmp_path / "loud.mp4", sound="aac")
    assert (probe(silent).has_audio, probe(loud).has_audio) == (False, True)
    rewrite(silent, tmp_path / "a.mp4")
    rewrite(loud, tmp_path / "b.mp4", use_sound=False)
    assert contents(tmp_path / "a.mp4").sound_codec is None
    assert contents(tmp_path / "b.mp4").sound_codec is None


# --- what cannot be read ----------------------------------------------------------------------------------------

NO_VIDEO = "is no video, or one that was cut short; copy it again or convert it to mp4"
UNDECODABLE = (
    "none of its frames can be decoded, as they are damaged or exceed 100 megapixels; copy it again or make it smaller"
)


def half(path: Path, *, of: Path, part: float = 0.5) -> Path:
    path.write_bytes(of.read_bytes()[: int(of.stat().st_size * part)])
    return path


def playlist(path: Path) -> Path:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    return path


def nothing_decodes(path: Path) -> Path:
    make_clip(path, codec="mjpeg", pix_fmt="yuvj420p")
    for index in range(12):
        wipe_picture(path, index)
    return path


def wipe_picture(path: Path, index: int) -> None:
    """Overwrite a picture of an AVI with zeros."""
    data = bytearray(path.read_bytes())
    at = data.index(b"movi") + 4
    for _ in range(index):
        at = data.index(b"00dc", at + 4)
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    data[at + 8 : at + 8 + size] = bytes(size)
    path.write_bytes(data)


UNREADABLE = {
    "missing": (lambda folder: folder / "x.mp4", "there is no such file; check its name and folder"),
    "in a file": (
        lambda folder: _written(folder, b"x") / "y.mp4",
        "there is no such file; check its name and folder",
    ),
    "long name": (
        lambda folder: folder / ("x" * 300 + ".mp4"),
        "cannot be read (File name too long); check its name and permissions",
    ),
    "folder": (lambda folder: folder, "is a folder; give a video file"),
    "device": (
        lambda folder: Path(os.devnull),
        "is no regular file and cannot be read twice; save the video to a file first",
    ),
    "empty": (lambda folder: _written(folder, b""), "is empty (0 bytes); copy or download it again"),
    "text": (lambda folder: _written(folder, b"not a video\n" * 99), NO_VIDEO),
    "text by name": (lambda folder: _written(folder, b"not a video\n" * 99, "x.txt"), NO_VIDEO),
    "zeros": (lambda folder: _written(folder, bytes(9999)), NO_VIDEO),
    "no index": (lambda folder: half(folder / "x.mp4", of=make_clip(folder / "y.mp4")), NO_VIDEO),
    "playlist": (lambda folder: playlist(folder / "x.mp4"), NO_VIDEO),
    "song": (lambda folder: make_sound(folder / "x.m4a"), "has sound but no pictures; give a video file"),
    "song with cover": (
        lambda folder: make_song_with_cover(folder / "x.m4a"),
        "has sound but no pictures; give a video file",
    ),
    "nothing decodes": (lambda folder: nothing_decodes(folder / "x.avi"), UNDECODABLE),
}


def _written(folder: Path, data: bytes, name: str = "x.mp4") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_video_is_said_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str) -> None:
    make, said = UNREADABLE[kind]
    path = make(tmp_path)
    for use in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(InputError) as caught:
            use(path)
        assert str(caught.value) == f"{path}: {said}"
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_others_is_said(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    source.chmod(0)
    with pytest.raises(InputError) as caught:
        probe(source)
    assert str(caught.value) == f"{source}: cannot be read (Permission denied); check its name and permissions"


def test_absurd_sizes_are_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, b"YUV4MPEG2 W12000 H9000 F25:1 C420jpeg\nFRAME\n" + bytes(1000), "big.y4m")
    with pytest.raises(InputError) as caught:
        probe(path)
    said = "frames of 12000 x 9000 pixels exceed the limit of 100 megapixels; make the picture smaller, "
    said += "or set POSECLI_MAX_MEGAPIXELS"
    assert str(caught.value) == f"{path}: {said}"


@pytest.mark.parametrize(("size", "threads"), [((64, 48), 8), ((7680, 4320), 4), ((9984, 9984), 1)])
def test_large_frames_are_decoded_by_few_threads(tmp_path, monkeypatch, size, threads):
    """Each holds some frames, so that a small file of huge ones would fill the memory."""
    width, height = size
    start = f"YUV4MPEG2 W{width} H{height} F25:1 C420jpeg\nFRAME\n".encode()
    path = _written(tmp_path, start + bytes(width * height * 3 // 2), "a.y4m")
    monkeypatch.setattr(module.os, "cpu_count", lambda: 16)
    with module._opened(path) as clip:
        assert clip.stream.codec_context.thread_count == threads


def test_absurd_sizes_are_not_decoded(tmp_path: Path) -> None:
    """The header of a small file is made to claim 16000 x 8000 pixels, which the decoder must not even try."""
    data = make_clip(tmp_path / "in.mov", codec="qtrle", pix_fmt="rgb24").read_bytes()
    at = data.index(b"rle ") + 28  # width and height in the description of the samples
    assert data[at : at + 4] == bytes([0, 64, 0, 48])
    sizes = (16_000).to_bytes(2, "big") + (8_000).to_bytes(2, "big")
    path = _written(tmp_path, data[:at] + sizes + data[at + 4 :], "big.mov")
    with pytest.raises(InputError) as caught:
        probe(path)
    assert str(caught.value) == f"{path}: {UNDECODABLE}"


# --- damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.mp4", {"faststart": True}),
        ("x.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("x.mkv", {}),
    ],
)
def test_a_clip_cut_short_gives_what_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, options: dict
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
    whole = make_clip(tmp_path / f"whole_{name}", images=list(noise), **options)
    assert len(list(read_frames(whole))) == 40
    assert caplog.records == []
    path = half(tmp_path / name, of=whole)
    with pytest.raises(InputError) as error:
        list(read_frames(path))
    frames = rewrite(path, tmp_path / "out.mp4")
    assert str(error.value) == (
        f"{path}: was cut short: only {len(frames)} frames can be read; copy it again, or use --salvage"
    )
    assert 5 < len(frames) < 35
    assert len(contents(tmp_path / "out.mp4").images) == len(frames)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("pipeline.video", logging.WARNING)
    assert record.getMessage() == f"{path}: is damaged or was cut short; {len(frames)} frames could be read"


def test_an_avi_cut_between_two_frames_is_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Then every frame that is left decodes, and only the header tells that there were more."""
    path = make_clip(tmp_path / "in.avi", codec="rawvideo")
    data = path.read_bytes()
    at = data.index(b"movi")
    for _ in range(7):
        at = data.index(b"00dc", at + 4)
    path.write_bytes(data[:at])
    assert len(list(read_frames(path, salvage=True))) == 6
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: is damaged or was cut short; 6 frames could be read"
    ]


def test_damaged_frames_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_clip(tmp_path / "in.avi", codec="mjpeg", pix_fmt="yuvj420p")
    wipe_picture(path, 4)
    frames = list(read_frames(path))
    assert numbers([frame.image for frame in frames]) == [0, 1, 2, 3, *range(5, 12)]
    assert [frame.index for frame in frames] == list(range(11))
    assert [round(25 * frame.time_s) for frame in frames] == [0, 1, 2, 3, *range(5, 12)]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: is damaged or was cut short; 11 frames could be read"
    ]


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_damaged_sound_does_not_stop_the_pictures(tmp_path: Path, codec: str) -> None:
    source = make_clip(tmp_path / "in.ts", container="mpegts", sound=codec)
    data = bytearray(source.read_bytes())
    rng = np.random.default_rng(0)
    for start in range(0, len(data), 188):  # the packets of the second stream
        if int.from_bytes(data[start + 1 : start + 3], "big") & 0x1FFF == 0x101:
            data[start + 40 : start + 188] = rng.integers(0, 256, 148, dtype=np.uint8).tobytes()
    source.write_bytes(data)
    assert len(rewrite(source, tmp_path / "out.mp4")) == 12
    assert len(contents(tmp_path / "out.mp4").images) == 12


def test_a_packet_of_sound_that_does_not_decode_is_left_out(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", sound="flac")
    data = bytearray(source.read_bytes())
    at = data.index(b"\xff\xf8", data.index(b"\xff\xf8") + 99)  # the second packet
    data[at : at + 16] = bytes(16)
    source.write_bytes(data)
    rewrite(source, tmp_path / "out.mov")  # which cannot hold FLAC
    found = contents(tmp_path / "out.mov")
    assert len(found.images) == 12
    assert float(found.sound[-1][0]) > 0.6


def test_a_packet_of_sound_that_mp4_refuses_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_garbage(*args: object, **options: object) -> Iterator[object]:
        for index, (due, packet) in enumerate(sound_packets(*args, **options)):
            yield due, packet
            if index == 3:
                garbage = av.Packet(b"\xff\xf1" + bytes(30))
                garbage.stream, garbage.time_base = packet.stream, packet.time_base
                garbage.pts = garbage.dts = packet.pts + 1
                yield due, garbage

    monkeypatch.setattr(module, "sound_packets", with_garbage)
    source = make_clip(tmp_path / "in.ts", container="mpegts", sound="aac")
    rewrite(source, tmp_path / "out.mp4")
    assert len(contents(tmp_path / "out.mp4").sound) == len(contents(source).sound)


def test_the_reader_lets_go_of_the_file(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    frames = read_frames(source)
    next(frames)
    assert str(source) in _open_files()
    frames.close()
    assert str(source) not in _open_files()


def _open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open files can be listed on Linux only")
    return {os.path.realpath(entry) for entry in folder.iterdir()}


def test_odd_names_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes what is before a colon for a protocol and a per cent sign for a counter."""
    monkeypatch.chdir(tmp_path)
    source = make_clip(tmp_path / "in.mp4", sound="aac").rename("12:30 50%d é.mp4")
    rewrite(source, Path("13:30 -%03d ü.mp4"))
    assert len(contents(tmp_path / "13:30 -%03d ü.mp4").images) == 12


def test_tags_in_another_encoding_do_no_harm(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", tags={"title": "abcdefgh"})
    data = source.read_bytes()
    assert b"abcdefgh" in data
    source.write_bytes(data.replace(b"abcdefgh", b"\xff\xfe\xfd\xfcefgh"))
    assert len(list(read_frames(source))) == 12


# --- what cannot be written -------------------------------------------------------------------------------------


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(path: Path, source: Path | None = None) -> str:
    """What is said of an output, by the early check and by the writer alike."""
    with pytest.raises(OutputError) as early:
        check_output(path, source)
    with pytest.raises(OutputError) as late:
        VideoWriter(path, (64, 48), info=INFO, source=source)
    assert str(early.value) == str(late.value)
    return str(early.value)


def test_outputs_that_cannot_be_are_refused_early(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    link = tmp_path / "link.mp4"
    link.symlink_to(source)
    (tmp_path / "folder.mp4").mkdir()
    lost, folder, gif = tmp_path / "nowhere" / "out.mp4", tmp_path / "folder.mp4", tmp_path / "out.gif"
    assert refused(lost) == f"{lost}: there is no folder {lost.parent}; create it first"
    assert refused(folder) == f"{folder}: is a folder; give the name of a file in it"
    assert refused(gif) == f"{gif}: videos are written as .mp4, .m4v, .mov; choose one of these endings"
    same = "is the video that is read; choose another name for the result"
    assert refused(source, source) == f"{source}: {same}"
    assert refused(link, source) == f"{link}: {same}"
    assert entries(tmp_path) == ["folder.mp4", "in.mp4", "link.mp4"]


def test_an_unwritable_folder_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)  # permissions would not stop root
    path = tmp_path / "out.mp4"
    reason = "cannot be written (Read-only file system); free some space or choose another folder"
    assert refused(path) == f"{path}: {reason}"


def test_a_good_output_passes_and_nothing_is_left(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4")
    (tmp_path / "old.mp4").write_bytes(b"old")
    for name in ("new.mp4", "old.mp4", "NEW.MOV", "new.m4v"):
        check_output(tmp_path / name, source)
    check_output(tmp_path / "old.mp4", tmp_path / "missing.mp4")
    assert entries(tmp_path) == ["in.mp4", "old.mp4"]
    assert (tmp_path / "old.mp4").read_bytes() == b"old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("count", [0, 3, 12])
def test_an_exception_leaves_the_old_file(tmp_path: Path, error: type[BaseException], count: int) -> None:
    source = make_clip(tmp_path / "in.mp4", sound="aac")
    (tmp_path / "out.mp4").write_bytes(b"old")
    with pytest.raises(error, match="stop"):
        _write_and_raise(error("stop"), count, source=source, output=tmp_path / "out.mp4")
    assert entries(tmp_path) == ["in.mp4", "out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"old"


def _write_and_raise(error: BaseException, count: int, *, source: Path, output: Path) -> None:
    with VideoWriter(output, (64, 48), info=probe(source), source=source) as writer:
        for frame in itertools.islice(read_frames(source), count):
            writer.write(frame.image, frame)
        raise error


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with VideoWriter(path, (64, 48), info=INFO) as writer:
        writer.write(numbered(0, (64, 48)), Frame(0, 0.0, numbered(0, (64, 48))))
        assert path.read_bytes() == b"old"
    assert len(contents(path).images) == 1
    assert entries(tmp_path) == ["out.mp4"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99, 1.0], ids=str)
def test_a_full_disk_leaves_nothing(tmp_path: Path, part: float) -> None:
    """Wherever it happens: at the first byte, amid the frames, or when the index is moved to the front."""
    write_some(tmp_path / "whole.mp4", 25, size=(320, 240))
    size = (tmp_path / "whole.mp4").stat().st_size
    path = tmp_path / "out.mp4"
    with files_up_to(int(part * size) - (part == 1)), pytest.raises(OutputError) as caught:
        write_some(path, 25, size=(320, 240))
    assert str(caught.value).startswith(f"{path}: cannot be written (")
    assert entries(tmp_path) == ["whole.mp4"]


def test_no_frame_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(OutputError) as caught, VideoWriter(path, (64, 48), info=INFO):
        pass
    assert str(caught.value) == f"{path}: there was no frame to write"
    assert entries(tmp_path) == []


def test_an_image_of_another_size_is_a_bug(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"expected a 64 x 48 image or its planes, uint8, got \(48, 65, 3\) uint8"),
        VideoWriter(tmp_path / "out.mp4", (64, 48), info=INFO) as writer,
    ):
        writer.write(numbered(0, (65, 48)), Frame(0, 0.0, numbered(0, (65, 48))))
    assert entries(tmp_path) == []


# --- descriptions, and real clips -------------------------------------------------------------------------------


def test_probe_tells_what_a_clip_is(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", time_base=1 / NTSC[0], sound="aac")
    info = probe(str(source))
    assert (info.width, info.height, info.rate, info.frames) == (64, 48, NTSC[0], 12)
    assert info.duration_s == pytest.approx(12 * 1001 / 30_000, abs=0.001)
    assert (1 / NTSC[0] / info.time_base).denominator == 1  # a frame is a whole number of ticks


def test_a_header_without_a_count_gives_an_estimate_or_none(tmp_path: Path) -> None:
    assert probe(make_clip(tmp_path / "in.mkv")).frames == 12
    raw = probe(make_clip(tmp_path / "in.h264", container="h264"))
    assert (raw.frames, raw.duration_s) == (None, None)


def _real_clips() -> list[Path]:
    folder = os.environ.get("POSECLI_DATA")
    return sorted(p for p in Path(folder, "clips").iterdir() if p.suffix in {".mp4", ".avi"}) if folder else []


@pytest.mark.skipif(not _real_clips(), reason="POSECLI_DATA does not name a folder with clips")
@pytest.mark.parametrize("source", _real_clips(), ids=lambda path: path.name)
def test_real_clips_keep_frames_times_and_sound(tmp_path: Path, source: Path) -> None:
    frames = []
    with VideoWriter(tmp_path / "out.mp4", (160, 90), info=probe(source), source=source) as writer:
        for frame in read_frames(source, salvage=True):
            writer.write(np.ascontiguousarray(frame.image[:90, :160]), frame)
            frames.append(frame.time_s)
    before, after = contents(source, times_only=True), contents(tmp_path / "out.mp4", times_only=True)
    assert frames == seconds(before)
    assert after.times == before.times
    assert after.sound == before.sound
