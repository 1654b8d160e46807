"""What the page *Track* draws, and what it keeps, without a browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from genrescope.audio.decode import audio_info, read_audio
from genrescope.audio.mel import hz_to_mel
from genrescope.errors import AudioUnsupportedError, DataError
from genrescope.learn.recogniser import Recogniser

pytest.importorskip("nicegui", reason="the extra serve is not installed")

from genrescope.apps import clips
from genrescope.apps.pages.track_listen import (
    BANDS,
    COLUMNS,
    look,
    playable,
    slices,
    transcode,
)
from genrescope.apps.pages.track_samples import samples
from genrescope.apps.pages.track_sounds import Opened, Sounds
from tests.apps.pages.sounds import music, tone


def test_a_tone_is_drawn_where_it_sounds_and_as_high_as_it_is(tmp_path: Path) -> None:
    seen = look(tone(tmp_path / "tone.wav", hz=1000.0))
    assert seen.duration == pytest.approx(12.0)
    assert seen.mel.shape == (BANDS, COLUMNS)
    assert seen.peaks.shape == (2, COLUMNS)
    begins = int(np.argmax(seen.peaks[1] > 20))
    assert begins * seen.duration / COLUMNS == pytest.approx(6.0, abs=0.02)
    loudest = int(seen.mel[:, -100].argmax())
    place = float(hz_to_mel(1000.0) / hz_to_mel(15_000.0)) * BANDS
    assert loudest == pytest.approx(place, abs=1.5)
    assert seen.mel[:, : begins - 10].max() == 0  # silence is black
    assert seen.peaks.min() == pytest.approx(-64, abs=2)
    assert seen.peaks.max() == pytest.approx(64, abs=2)


def test_blocks_leave_no_seam(tmp_path: Path) -> None:
    # Longer than what is read at once: no column may differ where two blocks meet.
    seen = look(tone(tmp_path / "tone.wav", hz=440.0, seconds=70.0, sounding=0.0))
    row = seen.mel[:, 5:-5].astype(int)
    assert np.abs(np.diff(row[row.max(axis=1) > 200], axis=1)).max() <= 2


def test_a_piece_is_drawn_in_more_detail(tmp_path: Path) -> None:
    path = tone(tmp_path / "tone.wav", hz=1000.0)
    piece = look(path, start=5.0, stop=7.0)
    begins = int(np.argmax(piece.peaks[1] > 20))
    assert 5.0 + begins * 2.0 / piece.peaks.shape[1] == pytest.approx(6.0, abs=0.005)
    assert (piece.start, piece.stop) == (5.0, 7.0)
    assert piece.duration == pytest.approx(12.0)
    with pytest.raises(DataError, match="nothing from 13"):
        look(path, start=13.0)


def test_what_is_no_sound_is_refused_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "letter.mp3"
    path.write_text("Dear reader" * 50)
    with pytest.raises(AudioUnsupportedError, match="not audio"):
        look(path)


def test_a_clip_is_heard_in_slices_and_a_song_is_not(tmp_path: Path) -> None:
    recogniser = Recogniser.load()
    found = slices(recogniser, music(tmp_path / "clip.wav", seconds=30.0))
    assert [(round(one.start), round(one.end)) for one in found] == [
        (0, 10), (5, 15), (10, 20), (15, 25), (20, 30),
    ]  # fmt: skip
    y, sr = read_audio(tmp_path / "clip.wav")
    alone = recogniser.predict(y[10 * sr : 20 * sr], sr=sr).probabilities
    assert found[2].probabilities == pytest.approx(alone)
    assert slices(recogniser, music(tmp_path / "song.wav", seconds=61.0)) == ()
    assert slices(recogniser, music(tmp_path / "jingle.wav", seconds=12.0)) == ()


def test_what_a_browser_cannot_play_is_written_again(tmp_path: Path) -> None:
    path = music(tmp_path / "song.aiff", seconds=35.0)
    assert playable(audio_info(path).format) is None
    media = transcode(path, out=tmp_path / "played")
    made = audio_info(tmp_path / "played")
    assert playable(made.format) == media
    assert made.duration == pytest.approx(35.0, abs=0.1)
    was, _ = read_audio(path, sr=8000, offset=29.0, duration=3.0)  # across two blocks
    now, _ = read_audio(tmp_path / "played", sr=8000, offset=29.0, duration=3.0)
    n = min(len(was), len(now))
    assert np.abs(np.fft.rfft(was[:n])).argmax() == pytest.approx(
        np.abs(np.fft.rfft(now[:n])).argmax(), abs=2
    )


def test_sounds_are_forgotten_and_only_uploads_removed(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.wav" for n in range(4)]
    for path in paths:
        path.write_bytes(b"x" * 100)
    sounds = Sounds(kept=2)
    library = sounds.add(Opened(paths[0], "mine"))
    first = sounds.add(Opened(paths[1], "sent", ours=True))
    first.made["played"] = paths[2]
    assert sounds.get(library.id) is library
    last = sounds.add(Opened(paths[3], "sent, too", ours=True))
    assert sounds.get(first.id) is None  # the one that was not asked for the longest
    assert [path.exists() for path in paths] == [True, False, False, True]
    sounds.close(library.id)
    assert paths[0].exists()
    assert sounds.get(last.id) is last
    assert len(sounds) == 1


def test_sounds_end_by_age_and_by_size(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.wav" for n in range(2)]
    for path in paths:
        path.write_bytes(b"x" * 100)
    sounds = Sounds(total=150)
    first = sounds.add(Opened(paths[0], "a", ours=True))
    second = sounds.add(Opened(paths[1], "b", ours=True))
    assert sounds.get(first.id) is None
    assert sounds.get(second.id) is second
    assert not paths[0].exists()
    aged = Sounds(seconds=0.0)
    one = aged.add(Opened(paths[1], "b", ours=True, used=-1.0))
    assert aged.get(one.id) is None
    assert not paths[1].exists()


def test_ids_cannot_be_guessed(tmp_path: Path) -> None:
    ids = {Opened(tmp_path, "x").id for _ in range(50)}
    assert len(ids) == 50
    assert min(map(len, ids)) >= 22


def test_samples_are_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrescope.apps.pages.track_samples.cache_folder", lambda: tmp_path)
    assert {one.track_id for one in samples()} == {None}  # no clip was fetched: our own remain
    path = samples()[0].ready()
    assert audio_info(path).duration == pytest.approx(10.0)
    folder = tmp_path / "fma"
    folder.mkdir()
    clip = clips.CLIPS[4]
    music(folder / "x.wav").rename(folder / clip.file)
    first = samples()[0]
    assert (first.track_id, first.note, first.key) == (1039, "Rock", "1039")


def test_nothing_is_made_twice_and_nothing_waits_for_another_thing(tmp_path: Path) -> None:
    sound, made = Opened(tmp_path, "x"), []

    async def check() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def slow() -> str:
            made.append("slow")
            begun.set()
            await go.wait()
            return "reasons"

        async def quick() -> str:
            made.append("quick")
            return "sound"

        async def fails() -> str:
            raise DataError("not now")

        waiting = [asyncio.create_task(sound.once("why", slow)) for _ in range(3)]
        await begun.wait()
        assert await sound.once("look", quick) == "sound"  # while the reasons are being made
        assert await sound.once("look", quick) == "sound"
        go.set()
        assert await asyncio.gather(*waiting) == ["reasons"] * 3
        with pytest.raises(DataError):
            await sound.once("other", fails)
        assert await sound.once("other", quick) == "sound"

    asyncio.run(check())
    assert made == ["slow", "quick", "quick"]
