"""Decoding: the same samples as librosa, and no file that gets through untold."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrescope.audio.decode import AUDIO_SUFFIXES, audio_info, open_audio, read_audio
from genrescope.audio.workers import map_isolated
from genrescope.errors import (
    AudioCorruptError,
    AudioEmptyError,
    AudioError,
    AudioIsDirectoryError,
    AudioNotFiniteError,
    AudioNotFoundError,
    AudioPermissionError,
    AudioSilentError,
    AudioTooShortError,
    AudioUnsupportedError,
)
from tests.audio.broken import make_broken_folder
from tests.audio.sounds import SR, encode, encode_av, music


def open_files() -> int:
    """Descriptors that this process has open (0 where that cannot be seen)."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


# --- the same samples as librosa --------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"sr": 22_050},
        {"offset": 3.21, "duration": 1.7},
        {"offset": 12.0, "duration": 2.5, "sr": 22_050},
        {"offset": 29.0, "sr": 16_000},
    ],
    ids=str,
)
def test_real_clips_match_librosa(fma_clips: list[Path], how: dict[str, float]) -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is the reference")
    for path in fma_clips:
        y, sr = read_audio(path, **how)  # type: ignore[arg-type]
        want, want_sr = librosa.load(path, **{"sr": None, **how})
        assert sr == want_sr
        assert y.dtype == np.float32
        assert y.shape == want.shape
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-7)


def test_whole_songs_match_librosa(songs: list[Path]) -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is the reference")
    for path in songs:
        y, sr = read_audio(path, offset=20, duration=15)
        want, want_sr = librosa.load(path, sr=None, offset=20, duration=15)
        assert sr == want_sr
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-7)


def test_channels_match_librosa(fma_clips: list[Path]) -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is the reference")
    y, _ = read_audio(fma_clips[0], mono=False, duration=2)
    want, _ = librosa.load(fma_clips[0], sr=None, mono=False, duration=2)
    assert y.shape == (2 * SR, 2)
    np.testing.assert_array_equal(y.T, want)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("sr", [8_000, 44_100, 192_000])
def test_any_channels_and_rate_match_librosa(tmp_path: Path, channels: int, sr: int) -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is the reference")
    y = np.tile(music(0.5), (1, 3))[:, :channels]
    (tmp_path / "a.wav").write_bytes(encode(y, sr, subtype="FLOAT"))
    got, _ = read_audio(tmp_path / "a.wav", sr=22_050)
    want, _ = librosa.load(tmp_path / "a.wav", sr=22_050)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 2**-24),
        ("FLOAT", 0),
        ("DOUBLE", 0),
    ],
)
def test_every_depth_keeps_full_scale(tmp_path: Path, subtype: str, tolerance: float) -> None:
    y = music(0.2)
    (tmp_path / "a.wav").write_bytes(encode(y, SR, subtype=subtype))
    got, _ = read_audio(tmp_path / "a.wav", mono=False)
    np.testing.assert_allclose(got, y, rtol=0, atol=tolerance)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
@pytest.mark.parametrize("codec", ["aac", "flac"])
def test_any_channels_by_ffmpeg(tmp_path: Path, codec: str, layout: str) -> None:
    y = np.tile(music(1.0), (1, 4))[:, : {"mono": 1, "stereo": 2, "5.1": 6, "7.1": 8}[layout]]
    path = tmp_path / "a.m4a"
    path.write_bytes(encode_av(y, SR, codec=codec, format="mp4", layout=layout))
    got, sr = read_audio(path, mono=False)
    assert sr == SR
    assert got.shape[1] == y.shape[1]
    if codec != "aac":
        # FFmpeg's order of channels is not the order that they were given in.
        np.testing.assert_allclose(np.sort(got, axis=1), np.sort(y, axis=1), atol=2**-15)
    mono, _ = read_audio(path)
    np.testing.assert_allclose(mono, got.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("codec", "tolerance"),
    [("pcm_u8", 2**-7), ("pcm_s16le", 2**-15), ("pcm_s32le", 2**-24), ("pcm_f64le", 0)],
)
def test_every_depth_by_ffmpeg(tmp_path: Path, codec: str, tolerance: float) -> None:
    y = music(0.5)
    y[:2] = [[-1.0, 0.0], [0.5, -0.5]]
    path = tmp_path / "a.mka"
    path.write_bytes(encode_av(y, SR, codec=codec, format="matroska"))
    assert audio_info(path).decoder == "ffmpeg"
    got, _ = read_audio(path, mono=False)
    np.testing.assert_allclose(got[: len(y)], y, rtol=0, atol=tolerance)


def test_unknown_codec_is_an_error(tmp_path: Path) -> None:
    wav = encode(music(0.5), SR)
    for tag in (0x1234, 0xFFFE):
        (tmp_path / "a.wav").write_bytes(wav[:20] + struct.pack("<H", tag) + wav[22:])
        with pytest.raises(AudioCorruptError):
            read_audio(tmp_path / "a.wav")


def test_float_above_full_scale_is_kept(tmp_path: Path) -> None:
    y = np.array([0.0, 3.5, -7.25] * 100, np.float32)
    (tmp_path / "a.wav").write_bytes(encode(y, SR, subtype="FLOAT"))
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], y)


# --- files that are not what they seem --------------------------------------------------


@pytest.fixture(scope="module")
def broken(
    tmp_path_factory: pytest.TempPathFactory, fma_clips: list[Path]
) -> tuple[Path, dict[str, type[AudioError] | None]]:
    folder = tmp_path_factory.mktemp("broken")
    return folder, make_broken_folder(folder, fma_clips[0])


def test_every_kind_of_broken_file(
    broken: tuple[Path, dict[str, type[AudioError] | None]],
) -> None:
    folder, expected = broken
    assert sum(error is not None for error in expected.values()) >= 30
    list(map_isolated(str, [1]))  # the first worker leaves a helper of multiprocessing behind
    before = open_files()
    names = list(expected)
    results = map_isolated(read_audio, [folder / name for name in names], workers=1, timeout=30)
    for name, (path, result) in zip(names, results, strict=True):
        want = expected[name]
        if want in (None, AudioSilentError, AudioTooShortError):  # a matter of recognition
            assert not isinstance(result, AudioError), f"{name}: {result!r}"
            y, sr = result
            assert y.dtype == np.float32
            assert np.isfinite(y).all()
            assert sr >= 8000
            if want is None:
                assert len(y) > 0.5 * sr
                assert np.abs(y).max() > 0.01
        else:
            assert type(result) is want, f"{name}: {result!r}"
            shown = os.fsencode(path).decode("utf-8", "replace")
            assert str(result).startswith(shown + ": ")
            assert len(str(result)) < len(shown) + 400
    assert open_files() == before


def test_no_file_leaves_a_handle_open(
    broken: tuple[Path, dict[str, type[AudioError] | None]],
) -> None:
    folder, expected = broken
    before = open_files()
    for name in expected:
        try:
            with open_audio(folder / name) as audio:
                audio.read(duration=0.2)
                audio.close()  # twice does no harm
        except AudioError:
            pass
    assert open_files() == before


def test_lost_and_odd_paths(tmp_path: Path) -> None:
    with pytest.raises(AudioNotFoundError) as lost:
        read_audio(tmp_path / "none.mp3")
    assert isinstance(lost.value, FileNotFoundError)
    with pytest.raises(AudioIsDirectoryError):
        read_audio(tmp_path)
    for path in ("a\0b.mp3", str(tmp_path / ("x" * 400)), str(tmp_path / "none" / "a.mp3")):
        with pytest.raises(AudioNotFoundError):
            read_audio(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_sockets_and_devices_never_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp3")
    for path in (tmp_path / "pipe.mp3", Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(AudioUnsupportedError, match="regular"):
            read_audio(path)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs Unix permissions")
def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(music(0.1), SR))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: let the system say no

        def refuse(*args: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("genrescope.audio.files.os.open", refuse)
    with pytest.raises(AudioPermissionError, match="permission"):
        read_audio(path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
@pytest.mark.parametrize("codec", ["wav", "m4a"])
def test_names_of_any_bytes(tmp_path: Path, codec: str) -> None:
    y = music(0.5)
    data = encode(y, SR) if codec == "wav" else encode_av(y, SR, codec="aac", format="ipod")
    for name in (b"\xff\xfe\xe9.x", "\U0001f3b5 – 音.x".encode(), b"-n\n.x", b"%s {}.x"):
        path = os.path.join(os.fsencode(tmp_path), name)
        Path(os.fsdecode(path)).write_bytes(data)
        for spelling in (path, os.fsdecode(path), Path(os.fsdecode(path))):
            assert len(read_audio(spelling)[0]) >= len(y)  # type: ignore[arg-type]
    (tmp_path / os.fsdecode(b"\xff.mp3")).write_bytes(b"text")
    with pytest.raises(AudioUnsupportedError) as error:
        read_audio(tmp_path / os.fsdecode(b"\xff.mp3"))
    str(error.value).encode()  # can be printed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_not_finite_is_found_where_it_is(tmp_path: Path, value: float, subtype: str) -> None:
    y = music(2.0)
    y[SR, 1] = value
    (tmp_path / "a.wav").write_bytes(encode(y, SR, subtype=subtype))
    with pytest.raises(AudioNotFiniteError):
        read_audio(tmp_path / "a.wav")
    assert len(read_audio(tmp_path / "a.wav", duration=0.9)[0]) == int(0.9 * SR)


def test_too_large_for_float32_is_not_finite(tmp_path: Path) -> None:
    y = np.full(SR, 1e300)
    (tmp_path / "a.wav").write_bytes(encode(y, SR, subtype="DOUBLE"))
    with pytest.raises(AudioNotFiniteError):
        read_audio(tmp_path / "a.wav")


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(encode(music(1.0), SR))
    for text in (
        f"ffconcat version 1.0\nfile '{tmp_path}/good.wav'\n",
        "ffconcat version 1.0\nfile 'good.wav'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{tmp_path}/good.wav\n",
    ):
        for suffix in (".mp3", ".m3u8", ".m4a"):
            path = tmp_path / f"list{suffix}"
            path.write_text(text)
            with pytest.raises(AudioUnsupportedError):
                read_audio(path)


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_absurd_rates_are_refused(tmp_path: Path, rate: int) -> None:
    wav = encode(music(0.1), SR)
    (tmp_path / "a.wav").write_bytes(wav[:24] + struct.pack("<I", rate) + wav[28:])
    with pytest.raises(AudioUnsupportedError, match=f"{rate} Hz"):
        read_audio(tmp_path / "a.wav", sr=22_050)


@pytest.mark.parametrize(
    "how", [{"offset": -1.0}, {"offset": float("nan")}, {"duration": -1.0}, {"sr": 0}]
)
def test_senseless_arguments(tmp_path: Path, how: dict[str, float]) -> None:
    (tmp_path / "a.wav").write_bytes(encode(music(0.1), SR))
    with pytest.raises(ValueError, match=next(iter(how))):
        read_audio(tmp_path / "a.wav", **how)  # type: ignore[arg-type]


def test_header_of_sound_without_sound(tmp_path: Path) -> None:
    flac = encode(music(1.0), SR, format="FLAC")
    (tmp_path / "a.flac").write_bytes(flac[:100])
    with pytest.raises((AudioEmptyError, AudioCorruptError)):
        read_audio(tmp_path / "a.flac")


def test_info(tmp_path: Path, fma_clips: list[Path]) -> None:
    info = audio_info(fma_clips[0])
    assert (info.sr, info.channels, info.exact) == (44_100, 2, True)
    assert info.duration == pytest.approx(30.0, abs=0.1)
    assert info.decoder == "libsndfile"
    assert info.format == "MP3/MPEG_LAYER_III"
    (tmp_path / "a.m4a").write_bytes(encode_av(music(1.0), SR, codec="aac", format="ipod"))
    info = audio_info(tmp_path / "a.m4a")
    assert (info.decoder, info.format, info.exact) == ("ffmpeg", "mov/aac", False)
    assert {".mp3", ".flac", ".m4a", ".wma", ".opus"} <= AUDIO_SUFFIXES


def test_imports_no_decoder_before_it_is_needed() -> None:
    code = (
        "import sys; from genrescope.audio import decode, workers;"
        "print([m for m in ('soundfile', 'soxr', 'av', 'librosa', 'pebble') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# --- whatever the bytes -----------------------------------------------------------------


def _survives(path: Path) -> None:
    """Samples or an AudioError, as read whole and as read in windows."""
    try:
        with open_audio(path) as audio:
            audio.read(offset=1.0, duration=0.5)
            y = audio.read()
            assert np.isfinite(y).all()
            assert len(y) > 0
            assert audio.exact
            assert audio.n_samples == len(y)
            assert len(audio.read(offset=(len(y) + 1) / audio.sr)) == 0
    except AudioError:
        pass


def _mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(count):
        wild = bytearray(data)
        for _ in range(rng.choice((1, 3, 30, 300))):
            wild[rng.randrange(min(len(wild), rng.choice((200, 5000, len(wild)))))] = rng.randrange(
                256
            )
        if rng.random() < 0.5:
            del wild[rng.randrange(len(wild)) :]
        if rng.random() < 0.3:
            at = rng.randrange(len(wild) + 1)
            wild[at:at] = rng.randbytes(rng.randrange(3000))
        yield bytes(wild)


@pytest.mark.parametrize("kind", ["mp3", "flac", "ogg", "wav", "m4a", "wma"])
def test_damaged_bytes_give_samples_or_an_error(
    tmp_path: Path, fma_clips: list[Path], kind: str
) -> None:
    y, _ = read_audio(fma_clips[0], duration=2.0, mono=False)
    data = {
        "mp3": lambda: fma_clips[0].read_bytes()[:100_000],
        "flac": lambda: encode(y, SR, format="FLAC")[:100_000],
        "ogg": lambda: encode(y, SR, format="OGG", subtype="VORBIS"),
        "wav": lambda: encode(y, SR)[:100_000],
        "m4a": lambda: encode_av(y, SR, codec="aac", format="ipod"),
        "wma": lambda: encode_av(y, SR, codec="wmav2", format="asf"),
    }[kind]()
    paths = []
    for i, wild in enumerate(_mutants(data, seed=len(kind), count=60)):
        paths.append(tmp_path / f"{i}.{kind}")
        paths[-1].write_bytes(wild)
    results = list(map_isolated(_survives, paths, workers=1, timeout=20))
    for path, result in results:
        assert result is None, f"{path.name}: {result!r}"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=600), st.sampled_from(["", "ID3\x03", "RIFF", "fLaC", "OggS", "ÿû"]))
def test_any_bytes_give_samples_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, head: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mp3"
    path.write_bytes(head.encode("latin-1") + tail)
    _survives(path)
