"""Exact slices of every format, and lengths that headers do not tell."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genrescope.audio.decode import audio_info, open_audio, read_audio
from tests.audio.sounds import SR, encode, encode_av, mp3_frames, music


def _slice_file(kind: str, folder: Path) -> Path:
    y = music()
    lossy = {"format": "MP3", "subtype": "MPEG_LAYER_III"}
    data = {
        "wav": lambda: encode(y, SR),
        "telephone wav": lambda: encode(y[:, 0], 8_000, subtype="GSM610"),  # cannot be sought in
        "flac": lambda: encode(y, SR, format="FLAC", subtype="PCM_24"),
        "ogg": lambda: encode(y, SR, format="OGG", subtype="VORBIS"),
        "opus": lambda: encode(y, 48_000, format="OGG", subtype="OPUS"),
        "mp3 cbr": lambda: encode(y, SR, **lossy, bitrate_mode="CONSTANT"),
        # 32 kbit/s: frames lean on bytes of many frames before them
        "mp3 cbr low": lambda: encode(
            y, SR, **lossy, bitrate_mode="CONSTANT", compression_level=0.99
        ),
        "mp3 vbr": lambda: encode(y, SR, **lossy, bitrate_mode="VARIABLE", compression_level=0.2),
        "mp3 vbr low": lambda: encode(
            y, SR, **lossy, bitrate_mode="VARIABLE", compression_level=0.99
        ),
        "mp3 half rate": lambda: encode(
            y, 16_000, **lossy, bitrate_mode="CONSTANT", compression_level=0.99
        ),
        # without the noise that a decoder makes up: it is another one after a seek
        "m4a": lambda: encode_av(y, SR, codec="aac", format="ipod", options={"aac_pns": "0"}),
        "lossless m4a": lambda: encode_av(y, SR, codec="alac", format="ipod"),
        "mp3 in mp4": lambda: encode_av(y, SR, codec="libmp3lame", format="mp4"),
        "aac": lambda: encode_av(y, SR, codec="aac", format="adts", options={"aac_pns": "0"}),
        "wma": lambda: encode_av(y, SR, codec="wmav2", format="asf"),
        "webm": lambda: encode_av(y, 48_000, codec="libopus", format="webm"),
        "ac3": lambda: encode_av(y, SR, codec="ac3", format="ac3"),
    }[kind]()
    path = folder / f"{kind.replace(' ', '_')}.bin"  # no suffix helps
    path.write_bytes(data)
    return path


KINDS = [
    "wav",
    "telephone wav",
    "flac",
    "ogg",
    "opus",
    "mp3 cbr",
    "mp3 cbr low",
    "mp3 vbr",
    "mp3 vbr low",
    "mp3 half rate",
    "m4a",
    "lossless m4a",
    "mp3 in mp4",
    "aac",
    "wma",
    "webm",
    "ac3",
]


@pytest.mark.parametrize("kind", KINDS)
def test_slice_equals_part_of_full_decode(tmp_path: Path, kind: str) -> None:
    path = _slice_file(kind, tmp_path)
    full, sr = read_audio(path)
    rng = np.random.default_rng(3)
    # Backwards and forwards, near and far, from one open file.
    starts = [len(full) - 5000, *rng.integers(0, len(full) - 9000, 8).tolist(), 0, 1, len(full) - 1]
    with open_audio(path) as audio:
        for start in starts:
            got = audio.read(offset=(start + 0.5) / sr, duration=8000.5 / sr)
            want = full[start : start + 8000]
            assert len(got) == len(want)
            # Half an ulp: some mp3 decoders add up in an order that depends on the position.
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-7, err_msg=f"at {start}")
    # And from a file that was not open before.
    start = len(full) // 2
    got, _ = read_audio(path, offset=(start + 0.5) / sr, duration=0.1)
    np.testing.assert_allclose(got, full[start : start + int(0.1 * sr)], rtol=0, atol=2e-7)


def test_slices_of_real_songs(songs: list[Path]) -> None:
    for path in songs[:2]:
        full, sr = read_audio(path)
        with open_audio(path) as audio:
            assert audio.exact
            assert audio.n_samples == len(full)
            for start in (len(full) - 40_000, 777_777, 1):
                got = audio.read(offset=(start + 0.5) / sr, duration=0.5)
                np.testing.assert_array_equal(got, full[start : start + sr // 2])


def test_made_up_noise_of_aac_stays_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(encode_av(music(), SR, codec="aac", format="ipod"))
    full, _ = read_audio(tmp_path / "a.m4a")
    got, _ = read_audio(tmp_path / "a.m4a", offset=5.0, duration=1.0)
    assert np.corrcoef(got, full[5 * SR : 6 * SR])[0, 1] > 0.95


@pytest.mark.parametrize("kind", ["mp3 vbr", "flac", "ogg", "m4a", "wma"])
def test_reading_at_and_past_the_end(tmp_path: Path, kind: str) -> None:
    path = _slice_file(kind, tmp_path)
    full, sr = read_audio(path)
    with open_audio(path) as audio:
        last = audio.read(offset=(len(full) - 10.5) / sr, duration=5.0)
        np.testing.assert_array_equal(last, full[-11:])
        assert audio.n_samples == len(full)  # it has seen the end
        assert audio.exact
        assert len(audio.read(offset=len(full) / sr + 1, duration=5.0)) == 0
        assert len(audio.read(offset=1e6)) == 0
        assert audio.read(offset=1e6, mono=False).shape == (0, 2)
        assert len(audio.read(duration=0)) == 0


def test_reading_in_blocks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("mp3 cbr low", "flac", "ogg", "m4a"):
        path = _slice_file(kind, tmp_path)
        full, _ = read_audio(path)
        monkeypatch.setattr("genrescope.audio.decode._BLOCK", 20_000)
        np.testing.assert_array_equal(read_audio(path)[0], full)
        monkeypatch.undo()


# --- lengths ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mp3() -> list[bytes]:
    """Frames of a variable-bit-rate mp3 of 8 s, the information frame first."""
    loud = music()
    loud[SR:] *= 1e-3
    data = encode(
        loud, SR, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE",
        compression_level=0.1,
    )  # fmt: skip
    return list(mp3_frames(data))


def _claim(info: bytes, n_frames: int) -> bytes:
    at = max(info.find(b"Xing"), info.find(b"Info")) + 8
    return info[:at] + struct.pack(">I", n_frames) + info[at + 4 :]


@pytest.mark.parametrize("claimed", [1, 3, 10**6])
def test_lying_frame_count(tmp_path: Path, mp3: list[bytes], claimed: int) -> None:
    honest, liar = tmp_path / "honest.mp3", tmp_path / "liar.mp3"
    honest.write_bytes(b"".join(mp3))
    liar.write_bytes(_claim(mp3[0], claimed) + b"".join(mp3[1:]))
    want, _ = read_audio(honest)
    info = audio_info(liar)
    assert info.exact
    assert abs(info.n_samples - len(want)) < 1152  # the padding at the end is not known any more
    got, _ = read_audio(liar)
    n = min(len(got), len(want))
    assert len(got) == info.n_samples
    np.testing.assert_array_equal(got[:n], want[:n])


def test_variable_bit_rate_without_header(tmp_path: Path, mp3: list[bytes]) -> None:
    largest = max(range(1, 60), key=lambda i: len(mp3[i]))
    frames = mp3[largest:]
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join(frames))
    # The decoder guesses the length from the first frame: too short if that is a large one.
    assert soundfile.info(path).frames < 0.8 * 1152 * len(frames)
    info = audio_info(path)
    y, _ = read_audio(path)
    assert info.exact
    assert len(y) == info.n_samples
    assert abs(len(y) - 1152 * len(frames)) < 1152


def test_cut_mp3_has_the_length_of_what_is_left(tmp_path: Path, fma_clips: list[Path]) -> None:
    path = tmp_path / "cut.mp3"
    path.write_bytes(fma_clips[0].read_bytes()[:400_000])
    full, _ = read_audio(fma_clips[0])
    info = audio_info(path)
    y, _ = read_audio(path)
    assert info.exact
    assert len(y) == info.n_samples
    np.testing.assert_array_equal(y, full[: len(y)])
    assert abs(len(y) / len(full) - 400_000 / fma_clips[0].stat().st_size) < 0.01


def test_garbage_between_frames_is_skipped(tmp_path: Path, mp3: list[bytes]) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join(mp3))
    want, _ = read_audio(path)
    path.write_bytes(b"".join([*mp3[:60], b"garbage\xff\xfb\x11" * 999, *mp3[60:]]))
    got, _ = read_audio(path)
    assert len(got) == len(want)
    same = np.isclose(got, want, atol=1e-6)
    assert same[: 55 * 1152].all()
    assert same[75 * 1152 :].all()


def test_glued_files_are_read_to_the_end(tmp_path: Path, fma_clips: list[Path]) -> None:
    path = tmp_path / "glued.mp3"
    path.write_bytes(fma_clips[0].read_bytes() + fma_clips[1].read_bytes())
    info = audio_info(path)
    assert info.exact
    assert info.duration == pytest.approx(60.0, abs=0.1)
    second, _ = read_audio(fma_clips[1], offset=10, duration=5)
    at = audio_info(fma_clips[0]).n_samples
    around, _ = read_audio(path, offset=(at / SR) + 9.8, duration=5.4)
    best = np.argmax(np.correlate(around[: 2 * SR // 5 + SR], second[:SR], mode="valid"))
    np.testing.assert_allclose(around[best : best + 4 * SR], second[: 4 * SR], atol=1e-6)


def test_flac_that_claims_too_much_can_be_measured(tmp_path: Path) -> None:
    y = music(3.0)
    flac = encode(y, SR, format="FLAC")
    for n in (10 * SR, 0, 2**36 - 1):
        path = tmp_path / f"{n}.flac"
        path.write_bytes(
            flac[:21] + bytes([flac[21] & 0xF0 | n >> 32]) + struct.pack(">I", n & 0xFFFFFFFF)
            + flac[26:]
        )  # fmt: skip
        with open_audio(path) as audio:
            if n == 10 * SR:
                assert not audio.exact
                assert audio.duration == 10.0
                assert len(audio.read(offset=7.0, duration=1.0)) == 0  # how the caller finds out
            assert audio.measure() == len(y)
            assert audio.exact
            assert audio.duration == 3.0
            got = audio.read(mono=False)
        np.testing.assert_allclose(got, y, atol=2**-15)


def test_streamed_wav_is_read_to_the_end(tmp_path: Path) -> None:
    wav = encode(music(2.0), SR)
    at = wav.index(b"data") + 4
    for size in (b"\xff\xff\xff\xff", bytes(4)):
        (tmp_path / "a.wav").write_bytes(wav[:4] + size + wav[8:at] + size + wav[at + 4 :])
        assert len(read_audio(tmp_path / "a.wav")[0]) == 2 * SR


@pytest.mark.skipif(not hasattr(os, "truncate"), reason="needs sparse files")
def test_windows_of_a_3_hour_mix_take_no_memory(tmp_path: Path) -> None:
    path, seconds = tmp_path / "mix.wav", 3 * 3600
    head = bytearray(encode(music(1.0), SR))
    at = head.index(b"data") + 4
    n_bytes = seconds * SR * 4
    head[4:8], head[at : at + 4] = struct.pack("<I", n_bytes + at - 4), struct.pack("<I", n_bytes)
    path.write_bytes(head)
    os.truncate(path, n_bytes + at + 4)  # a hole in the file, nothing on the disk
    tracemalloc.start()
    with open_audio(path) as audio:
        assert audio.duration == seconds
        for offset in np.linspace(0, seconds - 30, 5):
            assert len(audio.read(offset=float(offset), duration=30.0)) == 30 * SR
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_slices_of_a_long_mp3(tmp_path: Path, fma_clips: list[Path]) -> None:
    frames = list(mp3_frames(fma_clips[0].read_bytes()))[1:]
    path = tmp_path / "long.mp3"
    path.write_bytes(b"".join(frames) * 40)
    once = len(frames) * 1152 / SR
    with open_audio(path) as audio:
        assert audio.exact
        assert audio.duration == pytest.approx(40 * once, abs=0.1)
        early = audio.read(offset=once + 5, duration=3)
        late = audio.read(offset=38 * once + 5, duration=3)
    np.testing.assert_allclose(early, late, atol=1e-6)
