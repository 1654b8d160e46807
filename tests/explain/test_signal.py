"""What is measured in a piece of a track, on sounds with known answers and on real ones."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from genrescope.audio.decode import AudioFile
from genrescope.errors import (
    AudioCorruptError,
    AudioNotFoundError,
    AudioSilentError,
    AudioTooShortError,
    AudioUnsupportedError,
    DataError,
)
from genrescope.explain.signal.compare import between, measures_of, what_differs
from genrescope.explain.signal.excerpt import SR, encode_sound, read_excerpt
from genrescope.explain.signal.measures import HOP, LONG_FFT, N_FFT, TrackSignal, analyse_excerpt
from genrescope.explain.signal.pipeline import band_edges, followed_band
from genrescope.explain.signal.pitch import NOTES, note_name
from genrescope.explain.signal.words import READING, seen, tempo_in_words
from tests.explain.tracks import chord, clicks, excerpt_of, noise, progression, tone


@pytest.fixture(scope="module")
def sine() -> TrackSignal:
    return analyse_excerpt(excerpt_of(tone(440, 4)))


@pytest.fixture(scope="module")
def metronome() -> TrackSignal:
    return analyse_excerpt(excerpt_of(clicks(120, 20)))


@pytest.fixture(scope="module")
def song() -> TrackSignal:
    return analyse_excerpt(excerpt_of(progression()))


# --- spectra ----------------------------------------------------------------------------------


def test_a_sine_is_one_partial_at_its_frequency(sine: TrackSignal) -> None:
    (peak,) = sine.frame.peaks
    assert peak.hz == pytest.approx(440, abs=0.5)
    assert note_name(peak.hz) == "A4"
    assert sine.frame.fundamental is None
    assert abs(int(sine.frame.db.argmax()) * SR / N_FFT - 440) < SR / N_FFT
    assert abs(int(sine.frame.long_db.argmax()) * SR / LONG_FFT - 440) < SR / LONG_FFT
    assert "single tone, at 440\u00a0Hz (A4)" in seen("spectrum", sine)


def test_decibels_are_those_of_a_full_scale_sine() -> None:
    on_a_bin = 40 * SR / N_FFT
    for amplitude in (1.0, 0.1):
        found = analyse_excerpt(excerpt_of(tone(on_a_bin, 2, amplitude=amplitude)))
        expected = 20 * math.log10(amplitude)
        assert found.stft_db[:, 20].max() == pytest.approx(expected, abs=0.05)
        assert found.frame.db.max() == pytest.approx(expected, abs=0.05)
        assert found.level.peak_db == pytest.approx(expected, abs=0.05)
        assert found.level.rms_db == pytest.approx(expected - 3.01, abs=0.05)


def test_overtones_have_a_fundamental() -> None:
    y = sum(tone(196 * k, 3, amplitude=0.3 / k) for k in range(1, 7))
    found = analyse_excerpt(excerpt_of(np.asarray(y)))
    assert found.frame.fundamental == pytest.approx(196, abs=0.5)
    assert "the overtones of one G3" in seen("spectrum", found)


def test_noise_has_no_partials() -> None:
    found = analyse_excerpt(excerpt_of(noise(4)))
    strongest = max((p.db for p in found.frame.peaks), default=-99.0)
    assert found.frame.fundamental is None
    assert strongest < -30
    assert found.tone.half_hz == pytest.approx(SR / 4, rel=0.05)


def test_the_moment_can_be_chosen() -> None:
    y = np.concatenate([tone(300, 2), tone(900, 2)])
    piece = excerpt_of(y, start=10.0)
    for at, hz in ((11.0, 300), (13.0, 900)):
        frame = analyse_excerpt(piece, at=at).frame
        assert frame.at == at
        assert frame.index == round((at - 10) * SR / HOP)
        assert frame.peaks[0].hz == pytest.approx(hz, abs=0.5)
    with pytest.raises(DataError, match=r"at is 14\.5 s; the excerpt goes from 10\.0 to 14\.0 s"):
        analyse_excerpt(piece, at=14.5)


def test_spectrograms_are_librosas(song: TrackSignal) -> None:
    import librosa

    y = song.excerpt.y
    full_scale = (N_FFT / 4) ** 2
    expected = librosa.feature.melspectrogram(y=y, sr=SR) / full_scale
    db = librosa.power_to_db(expected, amin=1e-20)
    np.testing.assert_allclose(song.mel_db, db, atol=1e-2)
    np.testing.assert_allclose(song.mfcc, librosa.feature.mfcc(S=db, n_mfcc=20), atol=0.1)
    few = librosa.feature.melspectrogram(y=y, sr=SR, n_mels=10) / full_scale
    np.testing.assert_allclose(song.few_db, librosa.power_to_db(few, amin=1e-20), atol=1e-2)
    chroma = librosa.feature.chroma_cqt(y=y, sr=SR, tuning=song.pitch.tuning_cents / 100)
    n = min(chroma.shape[1], song.chroma.shape[1])
    middle = slice(20, n - 20)
    # Ours has thirds of the resolution and keeps only peaks, so it is compared where it matters.
    assert (chroma[:, middle].argmax(axis=0) == song.chroma[:, middle].argmax(axis=0)).mean() > 0.95
    assert np.abs(chroma[:, middle] - song.chroma[:, middle]).mean() < 0.1


def test_ten_bands_share_the_energy() -> None:
    low, _, high = band_edges(4, 10)
    found = analyse_excerpt(excerpt_of(tone((low + high) / 2, 2)))
    assert found.few_shares.argmax() == 3
    assert found.few_shares.sum() == pytest.approx(1)
    low, _, high = band_edges(followed_band(found) + 1)
    assert low < found.frame.peaks[0].hz < high


def test_an_offset_is_no_bass() -> None:
    found = analyse_excerpt(excerpt_of(tone(440, 2, amplitude=0.1) + np.float32(0.1)))
    assert found.tone.half_hz == pytest.approx(440, abs=30)
    assert found.tone.bass < 0.05


def test_held_notes_and_drum_hits_are_told_apart(metronome: TrackSignal, song: TrackSignal) -> None:
    assert song.tone.held > 0.9
    assert metronome.tone.held < 0.3
    assert "held notes" in seen("mel-spectrogram", song)
    assert "drum hits" in seen("mel-spectrogram", metronome)


# --- notes ------------------------------------------------------------------------------------


def test_a_sine_of_440_is_an_a(sine: TrackSignal) -> None:
    assert sine.chroma is not None
    assert sine.pitch is not None
    middle = sine.chroma[:, 10:-10]
    assert set(middle.argmax(axis=0)) == {NOTES.index("A")}
    assert sine.pitch.strongest(1) == ("A",)
    assert sine.pitch.shares[NOTES.index("A")] > 0.9
    assert sine.pitch.tuning_cents == pytest.approx(0, abs=2)


def test_a_song_in_c_is_in_c(song: TrackSignal) -> None:
    assert song.pitch is not None
    assert song.pitch.key == "C major"
    assert song.pitch.fit > 0.8
    assert "C major fits best" in seen("chroma", song)


def test_a_recording_that_is_sharp_is_said_to_be() -> None:
    found = analyse_excerpt(excerpt_of(tone(440 * 2 ** (0.3 / 12), 3)))
    assert found.pitch is not None
    assert found.pitch.tuning_cents == pytest.approx(30, abs=2)
    assert "cents above A = 440 Hz" in seen("chroma", found)


@given(st.integers(12, 120), st.floats(-0.49, 0.49))
def test_every_note_has_its_name(midi: int, off: float) -> None:
    name = note_name(440 * 2 ** ((midi + off - 69) / 12))
    assert name == f"{NOTES[midi % 12]}{midi // 12 - 1}"


# --- rhythm -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bpm", [60, 92, 120, 174])
def test_clicks_have_their_tempo(bpm: int) -> None:
    rhythm = analyse_excerpt(excerpt_of(clicks(bpm, 20))).rhythm
    assert rhythm.pulse == "clear"
    assert rhythm.tempo == pytest.approx(bpm, rel=0.005)
    assert rhythm.presence > 0.9
    gaps = np.diff(rhythm.beats)
    assert np.median(gaps) == pytest.approx(60 / bpm, abs=0.03)
    assert len(rhythm.onsets) == pytest.approx(20 * bpm / 60, abs=2)


def test_a_tempo_is_said(metronome: TrackSignal) -> None:
    assert tempo_in_words(metronome) == "about 120\u00a0BPM, steady"
    assert "0.50 s apart" in seen("onsets", metronome)
    line = np.abs(metronome.rhythm.bpm - 120).argmin()
    rows = metronome.rhythm.tempogram
    assert rows[line].mean() > 0.5
    assert rows[line].mean() > rows[np.abs(metronome.rhythm.bpm - 140).argmin()].mean() + 0.5


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_tempo(seed: int) -> None:
    found = analyse_excerpt(excerpt_of(noise(20, seed=seed)))
    assert found.rhythm.pulse == "none"
    assert not len(found.rhythm.beats)
    assert tempo_in_words(found) == "no steady pulse"
    assert found.to_dict()["rhythm"]["tempo_bpm"] is None


def test_a_short_piece_has_no_tempo() -> None:
    found = analyse_excerpt(excerpt_of(clicks(120, 2)))
    assert found.rhythm.pulse == "short"
    assert tempo_in_words(found) == "too short to show a tempo"


def test_half_a_second_is_enough_for_every_sentence() -> None:
    found = analyse_excerpt(excerpt_of(tone(440, 0.5)))
    for key in READING:
        assert seen(key, found).endswith(".")


# --- sentences --------------------------------------------------------------------------------


def test_every_figure_has_one_sentence_with_a_number(
    sine: TrackSignal, metronome: TrackSignal, song: TrackSignal
) -> None:
    for signal in (sine, metronome, song):
        for key in READING:
            text = seen(key, signal)
            assert text[0].isupper()
            assert text.endswith(".")
            assert not text.endswith("..")
            assert re.search(r"\bnan\b", text) is None


def test_numbers_are_json(sine: TrackSignal, metronome: TrackSignal) -> None:
    for signal in (sine, metronome):
        text = json.dumps(signal.to_dict(), allow_nan=False)
        assert json.loads(text)["seconds"] == signal.excerpt.seconds


def test_differences_are_told_from_both_sides(metronome: TrackSignal, song: TrackSignal) -> None:
    there = {m.name: m for m in measures_of(metronome, song)}
    back = {m.name: m for m in measures_of(song, metronome)}
    assert there.keys() == back.keys()
    for name, measure in there.items():
        assert (measure.first, measure.second) == (back[name].second, back[name].first)
        assert measure.weight == pytest.approx(back[name].weight)
    assert there["brightness (mean frequency)"].words.startswith("A sounds brighter")
    assert back["brightness (mean frequency)"].words.startswith("B sounds brighter")
    told = what_differs(tuple(there.values()))
    assert len(told) == 5
    assert any("held notes" in line.lower() for line in told)
    assert "onsets a second" in between(tuple(there.values()), "onsets")


def test_a_track_does_not_differ_from_itself(song: TrackSignal) -> None:
    measures = measures_of(song, song)
    assert [m.words for m in measures if m.words and m.name != "notes"] == []
    assert between(measures, "waveform") == "Here the two hardly differ."


# --- excerpts ---------------------------------------------------------------------------------


def _write(path: Path, y: np.ndarray, sr: int = SR) -> Path:
    sf.write(path, y, sr)
    return path


def test_a_short_track_is_taken_whole(tmp_path: Path) -> None:
    path = _write(tmp_path / "short.wav", tone(440, 3))
    piece = read_excerpt(path)
    assert (piece.chosen, piece.start) == ("whole", 0.0)
    assert piece.seconds == pytest.approx(3)
    assert (piece.title, piece.artist) == ("short.wav", "")
    np.testing.assert_allclose(piece.y, tone(440, 3), atol=1e-4)


def test_of_a_long_track_the_loudest_part_is_taken(tmp_path: Path) -> None:
    loud = [0.05] * 40 + [0.5] * 8 + [0.05] * 30
    y = np.concatenate([tone(440, 1, amplitude=a) for a in loud])
    piece = read_excerpt(_write(tmp_path / "long.flac", y), seconds=8)
    assert piece.chosen == "loudest"
    assert piece.start == pytest.approx(40, abs=1)
    assert piece.seconds == pytest.approx(8)
    assert piece.track_seconds == pytest.approx(78)


def test_the_excerpt_holds_the_moment(tmp_path: Path) -> None:
    path = _write(tmp_path / "long.flac", tone(440, 60))
    for at, start in ((30.0, 25.0), (1.0, 0.0), (59.5, 50.0)):
        piece = read_excerpt(path, seconds=10, at=at)
        assert (piece.chosen, piece.start) == ("at", start)
        assert piece.seconds == pytest.approx(10)
    with pytest.raises(DataError, match=r"there is no moment 60 s; the track has 60\.0 s"):
        read_excerpt(path, at=60.0)


def test_no_more_than_the_excerpt_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sr = 8000
    quiet = (0.01 * np.sin(np.arange(sr * 1200))).astype(np.float32)
    quiet[sr * 700 : sr * 740] *= 50
    path = _write(tmp_path / "long.wav", quiet, sr)
    sizes = []
    read = AudioFile.read

    def watched(self: AudioFile, **options: object) -> np.ndarray:
        y = read(self, **options)
        sizes.append(len(y) / (options.get("sr") or self.sr))
        return y

    monkeypatch.setattr(AudioFile, "read", watched)
    piece = read_excerpt(path, seconds=20)
    assert max(sizes) <= 20
    assert 700 - 20 < piece.start < 740


def test_what_is_played_is_the_excerpt(tmp_path: Path) -> None:
    y = np.stack([tone(440, 5, sr=48_000), tone(660, 5, sr=48_000)], axis=1)
    piece = read_excerpt(_write(tmp_path / "stereo.wav", y, 48_000))
    assert piece.played.shape == (5 * 44_100, 2)
    sound = encode_sound(piece)
    assert len(sound.data) < 120_000
    back, sr = sf.read(io.BytesIO(sound.data))
    assert back.shape[1] == 2
    assert len(back) / sr == pytest.approx(5, abs=0.1)
    spectrum = np.abs(np.fft.rfft(back[sr : 2 * sr, 0]))
    assert spectrum.argmax() == pytest.approx(440, abs=2)


def test_many_channels_are_mixed(tmp_path: Path) -> None:
    y = np.stack([tone(440, 2)] * 6, axis=1)
    piece = read_excerpt(_write(tmp_path / "six.wav", y))
    assert piece.played.shape[1] == 1
    assert encode_sound(piece).data


def test_another_format_where_mp3_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, sine: TrackSignal
) -> None:
    check = sf.check_format
    monkeypatch.setattr(sf, "check_format", lambda form, sub: form != "MP3" and check(form, sub))
    sound = encode_sound(sine.excerpt)
    assert sound.media_type == "audio/ogg"
    assert sf.info(io.BytesIO(sound.data)).duration == pytest.approx(4, abs=0.01)


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("no sound at all")
    (tmp_path / "cut.flac").write_bytes(b"fLaC" + b"\0" * 100)
    _write(tmp_path / "silent.wav", np.zeros(SR * 3, np.float32))
    _write(tmp_path / "blip.wav", tone(440, 0.2))
    for name, error in (
        ("nothing.wav", AudioNotFoundError),
        ("text.mp3", AudioUnsupportedError),
        ("cut.flac", AudioCorruptError),
        ("silent.wav", AudioSilentError),
        ("blip.wav", AudioTooShortError),
    ):
        with pytest.raises(error, match=name):
            read_excerpt(tmp_path / name)
    path = _write(tmp_path / "fine.wav", tone(440, 1))
    for seconds in (0.1, 301.0, math.nan):
        with pytest.raises(DataError, match=r"an excerpt has 0\.5 to 300 seconds"):
            read_excerpt(path, seconds=seconds)


def test_silence_around_a_moment_says_so(tmp_path: Path) -> None:
    y = np.concatenate([tone(440, 5), np.zeros(SR * 30, np.float32)])
    with pytest.raises(AudioSilentError, match=r"between 15\.0 and 25\.0 s.*another moment"):
        read_excerpt(_write(tmp_path / "half.wav", y), seconds=10, at=20)


# --- real music -------------------------------------------------------------------------------


@pytest.mark.data
def test_hip_hop_differs_from_folk(fma_clips: list[Path]) -> None:
    clips = {path.stem: path for path in fma_clips}
    hip_hop = analyse_excerpt(read_excerpt(clips["000002"]))
    folk = analyse_excerpt(read_excerpt(clips["000140"]))
    assert hip_hop.excerpt.name == "Food (AWOL)"
    assert hip_hop.tone.held < 0.5 < folk.tone.held
    assert hip_hop.tone.ninety_hz > 2 * folk.tone.ninety_hz
    assert hip_hop.rhythm.pulse == "clear"
    assert min(abs(hip_hop.rhythm.tempo - b) for b in (83, 166)) < 2
    told = " ".join(what_differs(measures_of(hip_hop, folk)))
    assert "louder" in told
    assert "Held notes" in told


def test_a_chord_is_heard_as_its_notes() -> None:
    found = analyse_excerpt(excerpt_of(chord((57, 60, 64), 3)))
    assert found.pitch is not None
    assert set(found.pitch.strongest(3)) == {"A", "C", "E"}
