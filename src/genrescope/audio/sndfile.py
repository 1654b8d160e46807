"""Decoding by libsndfile: mp3, flac, wav, aiff, ogg, opus and two dozen others."""

from __future__ import annotations

import os

import numpy as np

from genrescope.audio.mpeg import PREROLL, FrameView, MpegScan, scan_frames
from genrescope.audio.source import SourceEmptyError, SourceError

__all__ = ["SndfileSource"]

_UNKNOWN = 2**62  # frames; libsndfile gives 2**63 - 1 where a header does not say

# Samples decoded before a wanted position. An mp3 frame refers back to bytes of earlier ones,
# and libsndfile goes back too few of them at low bit rates; after a seek, it leaves out the
# overlap with the block before of Vorbis (at most 8192 samples).
_PREROLL = {"MPEG": PREROLL, "OGG": 16_384}

# Their length is a claim of the header or of the last page; all others divide the bytes.
_CLAIMING = frozenset({"FLAC", "OGG"})


class SndfileSource:
    """One open file, decoded by libsndfile (a :class:`~genrescope.audio.source.Source`).

    libsndfile is given the descriptor: no name, however strange, has to be encoded, and no
    format is guessed from a suffix.

    Parameters
    ----------
    fd : int
        Descriptor of the file; it stays the caller's to close.
    path : str
        Its name, needed where descriptors cannot be handed over (Windows).
    size : int
        Bytes in the file.
    mpeg : bool
        Whether to look for MPEG frames and to correct what their header claims.

    Raises
    ------
    SourceError
        If libsndfile refuses the file, or says nothing useful about it.
    """

    name = "libsndfile"

    def __init__(self, fd: int, path: str, *, size: int, mpeg: bool) -> None:
        self._fd, self._path, self._size = fd, path, size
        self._view: FrameView | None = None
        self._begin = 0
        scan = scan_frames(fd, size) if mpeg else None
        if scan is not None:
            self._begin = scan.begin
            if not (scan.clean and scan.honest):
                self._view = FrameView(fd, scan)
        self._open()
        if scan is not None:
            self._believe(scan)

    def _open(self) -> None:
        import soundfile

        self._error = soundfile.SoundFileError
        where: object = self._view
        if self._view is not None:
            self._view.seek(0)
        elif os.name == "posix":
            # Where the descriptor stands is where libsndfile takes the file to begin: past
            # tags and garbage, where there are any.
            os.lseek(self._fd, self._begin, os.SEEK_SET)
            where = self._fd
        else:
            where = self._path
        try:
            self._file = soundfile.SoundFile(where, closefd=False)
        except (self._error, RuntimeError) as error:
            raise SourceError(_reason(error)) from error
        self.sr, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.format = f"{self._file.format}/{self._file.subtype}"
        self._ogg = self._file.format == "OGG"
        mpeg = "MPEG" in self.format
        self._preroll = _PREROLL["MPEG"] if mpeg else _PREROLL["OGG"] if self._ogg else 0
        frames = int(self._file.frames)
        if frames > _UNKNOWN or frames == 0:
            # Empty, or a stream that was written without going back to fill its header in.
            self.close()
            kind = SourceError if frames else SourceEmptyError
            raise kind("its header does not say how long it is")
        self._end = frames  # libsndfile reads no further than this
        self._at = 0  # where it stands, should seeking be impossible
        self.n_samples: int | None = frames
        self.exact = self._file.format not in _CLAIMING and not mpeg

    def _believe(self, scan: MpegScan) -> None:
        """Take the length from the frames, and make libsndfile read all of them."""
        if self._view is None and scan.n_samples > self._end + scan.samples_per_frame:
            self.close()
            self._view = FrameView(self._fd, scan)
            self._open()
        self.n_samples = min(self._end, scan.n_samples)
        self.exact = True

    def read(self, start: int, stop: int) -> np.ndarray:
        """See :meth:`genrescope.audio.source.Source.read`."""
        stop = min(stop, self._end)
        if start >= stop:
            return np.empty((0, self.channels), np.float32)
        # Also where the last read ended: soundfile seeks to where it already is.
        first = max(0, start - self._preroll)
        try:
            if self._ogg and self._at:
                # Its seeks in Vorbis are exact from the start only (libsndfile issue 885).
                self.close()
                self._open()
            if self._file.seekable():
                self._file.seek(first)
            else:
                self._skip(first)
            out = np.empty((stop - first, self.channels), np.float32)
            n = self._file.buffer_read_into(out, "float32")
            self._at = first + n
        except (self._error, RuntimeError) as error:
            raise SourceError(_reason(error)) from error
        return out[start - first : n]

    def _skip(self, start: int) -> None:
        """Decode up to `start` in a file that cannot be sought in."""
        if start < self._at:
            self.close()
            self._open()
        out = np.empty((65_536, self.channels), np.float32)
        while self._at < start:
            n = self._file.buffer_read_into(out[: start - self._at], "float32")
            if n == 0:
                return
            self._at += n

    def close(self) -> None:
        """See :meth:`genrescope.audio.source.Source.close`."""
        self._file.close()


def _reason(error: BaseException) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return str(text).strip().rstrip(".")
