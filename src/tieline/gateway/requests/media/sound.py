"""How long a sound lasts, by its own container: WAV, FLAC, Ogg (Opus, Vorbis), MP3, MP4 and WebM. Pure.

Nothing is decoded. MP3 is walked frame by frame; the others say it, in lengths of samples or in time. A file that says
it lasts shorter than so many bytes of sound can is not believed.

Sources: RIFF WAVE (Microsoft, 1991), RFC 9639 (FLAC), RFC 3533 and RFC 7845 (Ogg, Opus), Vorbis I 4.2.2,
ISO/IEC 11172-3 2.4.1.3 (MP3), ISO/IEC 14496-12 8.2.2 (`mvhd`), RFC 9559 (Matroska, of which WebM is a part).
"""

from __future__ import annotations

import re
import struct
from typing import Final

FORMATS: Final = "WAV, FLAC, Ogg, MP3, MP4 (M4A) or WebM"
MAX_S: Final = 86_400
# 512 kbit/s: above any that lossy sound is kept at. What is denser holds a film, or says what is not so.
MAX_BYTES_PER_S: Final = 64_000
# Beside the sound: tags and a cover.
MAX_BESIDE: Final = 4 * 1024 * 1024
_OGG_OPUS_HZ: Final = 48_000
# Parts of a file that are walked over, in some 50 ms: an hour of MP3, an hour of WebM in blocks of 60 ms, as browsers
# record it.
MAX_FRAMES: Final = 150_000
MAX_BLOCKS: Final = 60_000
MAX_CHUNKS: Final = 1_000
# A WAV's data chunk is its whole rest where it says so little of it, or nothing: a recorder that could not go back.
_WAV_BESIDE: Final = 1_048_576


def seconds_of(raw: bytes) -> float | None:
    """None: of no format above, cut short, or not to be believed."""
    try:
        seconds = _read(raw)
    except (struct.error, IndexError, ZeroDivisionError):
        return None
    return seconds if seconds is not None and 0 < seconds <= MAX_S else None


def _read(raw: bytes) -> float | None:
    if raw[:4] == b"RIFF" and raw[8:12] == b"WAVE":
        return _wav(raw)
    if raw[:4] == b"fLaC":
        return _flac(raw)
    if raw[:4] == b"OggS":
        return _believed(_ogg(raw), raw)
    if raw[4:8] == b"ftyp":
        return _believed(_mp4(raw), raw)
    if raw[:4] == b"\x1a\x45\xdf\xa3":
        return _believed(_webm(raw), raw)
    return _mp3(raw)


def _believed(seconds: float | None, raw: bytes) -> float | None:
    if seconds is None or len(raw) - MAX_BESIDE > seconds * MAX_BYTES_PER_S:
        return None
    return seconds


def _wav(raw: bytes) -> float | None:
    at, per_s = 12, 0
    for _ in range(MAX_CHUNKS):
        name, size = raw[at : at + 4], int.from_bytes(raw[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt ":
            code, channels, rate, per_s, _, bits = struct.unpack_from("<HHIIHH", raw, at)
            if code in (1, 3, 6, 7, 0xFFFE):  # samples of equal size: they are counted, whatever the head says of bytes
                per_s = channels * rate * bits // 8
        elif name == b"data":
            rest = len(raw) - at
            return (size if 0 < size <= rest <= size + _WAV_BESIDE else rest) / per_s
        at += size + size % 2
    return None


def _flac(raw: bytes) -> float | None:
    """Of the stream's head; a length of 0 is one that is not known."""
    bits = int.from_bytes(raw[18:26], "big")
    rate, channels, depth, samples = bits >> 44, (bits >> 41 & 7) + 1, (bits >> 36 & 31) + 1, bits & (1 << 36) - 1
    seconds = samples / rate
    return seconds if len(raw) - MAX_BESIDE <= seconds * rate * channels * depth / 8 * 1.1 else None


def _ogg(raw: bytes) -> float | None:
    """The end of the last page, in samples."""
    first = 27 + raw[26]
    if raw[first : first + 8] == b"OpusHead":
        rate, skipped = _OGG_OPUS_HZ, int.from_bytes(raw[first + 10 : first + 12], "little")
    elif raw[first : first + 7] == b"\x01vorbis":
        rate, skipped = int.from_bytes(raw[first + 12 : first + 16], "little"), 0
    else:
        return None
    last = raw.rfind(b"OggS")
    samples = int.from_bytes(raw[last + 6 : last + 14], "little", signed=True)
    return (samples - skipped) / rate


def _mp4(raw: bytes) -> float | None:
    """Of the film's head, which stands before or behind the sound."""
    at, end = 0, len(raw)
    for _ in range(MAX_CHUNKS):
        if at + 8 > end:
            break
        size, name, head = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(raw[at + 8 : at + 16], "big"), 16
        if name == b"moov":
            at, end = at + head, min(end, at + size)
            continue
        if name == b"mvhd":
            at += head
            scale, length = struct.unpack_from(">IQ" if raw[at] == 1 else ">II", raw, at + (20 if raw[at] == 1 else 12))
            return float(length / scale)
        if size < head:
            return None
        at += size
    return None


# MP3: bits a second by version (1, or 2 and 2.5) and layer, and samples a second by version.
_KBITS: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HZ: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


_INFO_FRAME: Final = re.compile(b"Xing|Info")


def _frame(head: bytes) -> tuple[int, float] | None:
    """(bytes, seconds) of the frame that begins so; None: none does."""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, padded = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 1 & 1
    kbits, hz = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or kbits in (0, 15) or hz == 3:
        return None
    per_s = _KBITS[1 if version == 3 else 2, layer][kbits - 1] * 1000
    rate = _HZ[version][hz]
    samples = 384 if layer == 1 else (576 if layer == 3 and version != 3 else 1152)
    size = (12 * per_s // rate + padded) * 4 if layer == 1 else samples // 8 * per_s // rate + padded
    return size, samples / rate


def _mp3(raw: bytes) -> float | None:
    """Frame by frame, behind its tag; two at least, one right behind the other."""
    at = 0
    if raw[:3] == b"ID3":
        at = 10 + (raw[6] << 21 | raw[7] << 14 | raw[8] << 7 | raw[9])
    known: dict[bytes, tuple[int, float] | None] = {}
    seconds, frames, end = 0.0, 0, len(raw) - 3
    while at < end and frames < MAX_FRAMES:
        head = raw[at : at + 3]
        if head not in known:
            known[head] = _frame(head)
        frame = known[head]
        if frame is None:
            break
        if frames or not _INFO_FRAME.search(raw, at, at + 64):  # its first frame may say how many follow, and be silent
            seconds += frame[1]
        at += frame[0]
        frames += 1
    # What follows the last frame is a tag; a file that goes on in something else is not what it says.
    return seconds if frames > 1 and len(raw) - at <= MAX_BESIDE // 64 else None


# WebM: elements by their ids.
_SEGMENT, _INFO, _CLUSTER, _GROUP = 0x18538067, 0x1549A966, 0x1F43B675, 0xA0
_SCALE, _LENGTH, _TIME, _BLOCKS = 0x2AD7B1, 0x4489, 0xE7, (0xA3, 0xA1)


def _webm(raw: bytes) -> float | None:
    """As its head says, else when its last block begins: what a browser records has no length in its head."""
    at, scale, length, cluster, last = 0, 1_000_000, 0.0, 0, -1
    for step in range(MAX_BLOCKS + 1):
        if step == MAX_BLOCKS:
            return None
        if at >= len(raw):
            break
        id_size = 9 - raw[at].bit_length()
        if id_size > 4:
            return None
        name = int.from_bytes(raw[at : at + id_size], "big")
        at += id_size
        size_size = 9 - raw[at].bit_length()
        if size_size > 8:
            return None
        size = int.from_bytes(raw[at : at + size_size], "big") & (1 << 7 * size_size) - 1
        at += size_size
        if name in (_SEGMENT, _INFO, _CLUSTER, _GROUP):  # walked through; a size that is not known ends with its parent
            continue
        value = raw[at : at + min(size, 8)]
        if name == _SCALE:
            scale = int.from_bytes(value, "big")
        elif name == _LENGTH and size in (4, 8):
            (length,) = struct.unpack(">f" if size == 4 else ">d", value)
        elif name == _TIME:
            cluster = int.from_bytes(value, "big")
        elif name in _BLOCKS:
            track = 9 - value[0].bit_length()
            last = max(last, cluster + int.from_bytes(value[track : track + 2], "big", signed=True))
        at += size
    ticks = max(length, float(last))
    return ticks * scale / 1e9 if ticks > 0 else None
