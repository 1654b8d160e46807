"""Decoding by libsndfile: mp3, flac, wav, aiff, ogg, opus and two dozen others."""

from __future__ import annotations

import os

import numpy as np

from genrescope.audio.mpeg import PREROLL, FrameView, MpegScan, scan_frames
from genrescope.audio.source import SourceEmptyError, SourceError

__all__ = ["SndfileSource"]

_UNKNOWN = 2**62  # frames; libsndfile gives 2**63 - 1 where a header does not say

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
        scan = scan_frames(fd, size) if mpeg else None
        if scan is not None and not (scan.clean and scan.honest):
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
            # Where the descriptor stands is where libsndfile takes the file to begin.
            os.lseek(self._fd, 0, os.SEEK_SET)
            where = self._fd
        else:
            where = self._path
        try:
            self._file = soundfile.SoundFile(where, closefd=False)
        except (self._error, RuntimeError) as error:
            raise SourceError(_reason(error)) from error
        self.sr, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.format = f"{self._file.format}/{self._file.subtype}"
        self._preroll = PREROLL if "MPEG" in self.format else 0
        frames = int(self._file.frames)
        if frames > _UNKNOWN or frames == 0:
            # Empty, or a stream that was written without going back to fill its header in.
            self.close()
            kind = SourceError if frames else SourceEmptyError
            raise kind("its header does not say how long it is")
        self._end = frames  # libsndfile reads no further than this
        self.n_samples: int | None = frames
        self.exact = self._file.format not in _CLAIMING and not self._preroll

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
        # An mp3 frame refers back to bytes of earlier ones; libsndfile goes back too few of
        # them at low bit rates, and after every read it seeks to where it already is.
        first = max(0, start - self._preroll)
        try:
            if self._file.seekable():
                self._file.seek(first)
            elif start:
                self._skip(start)
                first = start
            out = np.empty((stop - first, self.channels), np.float32)
            n = self._file.buffer_read_into(out, "float32")
        except (self._error, RuntimeError) as error:
            raise SourceError(_reason(error)) from error
        return out[start - first : n]

    def _skip(self, start: int) -> None:
        """Decode up to `start` in a file that cannot be sought in."""
        self.close()
        self._open()
        out = np.empty((65_536, self.channels), np.float32)
        while start > 0:
            n = self._file.buffer_read_into(out[:start], "float32")
            if n == 0:
                return
            start -= n

    def close(self) -> None:
        """See :meth:`genrescope.audio.source.Source.close`."""
        self._file.close()


def _reason(error: BaseException) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return str(text).strip().rstrip(".")
