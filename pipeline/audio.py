"""The sound of a clip, carried over into another file."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import TypeAlias

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from pipeline.timeline import Timeline

logger = logging.getLogger(__name__)

# What players expect in these containers and what is therefore copied as it is; anything else becomes AAC.
COPIED = {
    "mp4": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}),
    "mov": frozenset({"aac", "mp3", "ac3", "eac3", "alac"}),
}
FALLBACK_RATE = 48_000  # samples per second, for sound at a rate that AAC does not know
USUAL_SAMPLES = 1024  # in a packet; stands in where the container gives no times

Sound: TypeAlias = "Iterator[tuple[Fraction, Packet[AudioStream]]]"  # when each packet is due, in seconds


def sound_stream(source: InputContainer) -> AudioStream | None:
    """The sound that a player would play; None if there is none that can be decoded."""
    stream = source.streams.best("audio")
    return stream if isinstance(stream, AudioStream) and stream.codec_context is not None and stream.rate else None


def sound_packets(source: InputContainer, output: OutputContainer, *, start: Fraction) -> Sound:
    """Add the sound of `source` as a stream to `output`, and give its packets to be written there, in order.

    `start` is the time of `source`, in seconds, that becomes 0. The stream is added when the first packet is asked
    for; it must be, before `output` gets its first packet. Sound that is damaged ends there, with a warning.
    """
    stream = sound_stream(source)
    if stream is None:
        return
    copied = stream.codec_context.codec.canonical_name in COPIED[output.format.name]
    packets = (_copied if copied else _encoded)(stream, source.demux(stream), output=output)
    timeline: Timeline | None = None
    try:
        for packet in packets:
            tick = Fraction(1, packet.stream.rate)  # as mp4 counts; a tick has room for one packet, not for two
            timeline = timeline or Timeline(tick, origin=round(start / tick), period=Fraction(USUAL_SAMPLES))
            scale = packet.time_base / tick
            given = packet.dts if packet.pts is None else packet.pts
            due = timeline.tick(None if given is None else round(given * scale))
            packet.pts = packet.dts = due
            packet.duration = round((packet.duration or 0) * scale)
            packet.time_base = tick
            yield due * tick, packet
    except (av.FFmpegError, ValueError) as error:
        logger.warning(
            "%s: its sound, damaged or of a rare kind, is not kept to the end (%s)",
            source.name.removeprefix("file:"),
            error,
        )


def _copied(
    stream: AudioStream, packets: "Iterator[Packet[AudioStream]]", *, output: OutputContainer
) -> "Iterator[Packet[AudioStream]]":
    copy = output.add_stream_from_template(stream)
    for packet in packets:
        if packet.size:  # the last one is empty and stands for the end
            packet.stream = copy
            yield packet


def _encoded(
    stream: AudioStream, packets: "Iterator[Packet[AudioStream]]", *, output: OutputContainer
) -> "Iterator[Packet[AudioStream]]":
    rates = av.Codec("aac", "w").audio_rates or ()
    rate = stream.rate if stream.rate in rates else FALLBACK_RATE
    layout = "mono" if stream.channels == 1 else "stereo"
    encoder = output.add_stream("aac", rate=rate, layout=layout)
    for frame in _resampled(packets, layout=layout, rate=rate):
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _resampled(packets: "Iterator[Packet[AudioStream]]", *, layout: str, rate: int) -> Iterator[AudioFrame]:
    """What the packets decode to, in one kind, though broadcasts change theirs on the way."""
    kind: tuple[str, str, int] | None = None
    for packet in packets:
        for frame in _decoded(packet):
            before, kind = kind, (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind != before:
                resampler = av.AudioResampler("fltp", layout, rate)
            yield from resampler.resample(frame)


def _decoded(packet: "Packet[AudioStream]") -> list[AudioFrame]:
    try:
        return packet.decode()
    except av.FFmpegError:
        return []  # a moment of silence is better than the end of the sound
