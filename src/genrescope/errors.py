"""Every error genrescope raises on purpose.

Each class can be caught by its own name, by :class:`GenrescopeError`, and by the
builtin a caller expects. A message says the value, the rule that it broke, and the
way out.
"""

from __future__ import annotations

__all__ = [
    "AudioCorruptError",
    "AudioEmptyError",
    "AudioError",
    "AudioIsDirectoryError",
    "AudioNotFiniteError",
    "AudioNotFoundError",
    "AudioPermissionError",
    "AudioSilentError",
    "AudioTooShortError",
    "AudioUnsupportedError",
    "BundleError",
    "ChecksumError",
    "ClusterError",
    "ConfigurationError",
    "DataError",
    "DecoderCrashError",
    "DecoderMemoryError",
    "DecoderTimeoutError",
    "DiskSpaceError",
    "DownloadError",
    "GenrescopeError",
    "JournalError",
    "MissingExtraError",
    "ServiceError",
    "SplitError",
    "TableError",
    "TagError",
    "TrainingError",
    "UnknownGenreError",
]


class GenrescopeError(Exception):
    """Base of every error that genrescope raises on purpose."""


# --- sound -----------------------------------------------------------------


class AudioError(GenrescopeError):
    """One audio file could not be used; others are not affected."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """There is no file at that path."""


class AudioIsDirectoryError(AudioError, IsADirectoryError):
    """The path is a directory where a file was expected."""


class AudioPermissionError(AudioError, PermissionError):
    """The file may not be read."""


class AudioEmptyError(AudioError, ValueError):
    """The file has no bytes, or its container holds no samples."""


class AudioUnsupportedError(AudioError, ValueError):
    """The file is not audio, or in no format that a decoder here reads."""


class AudioCorruptError(AudioError, ValueError):
    """The file looks like audio, but what it holds cannot be decoded."""


class AudioNotFiniteError(AudioError, ValueError):
    """The samples hold NaN or infinity."""


class AudioTooShortError(AudioError, ValueError):
    """Too little sound to say anything about it."""


class AudioSilentError(AudioError, ValueError):
    """Every sample is (all but) zero."""


class DecoderCrashError(AudioError, RuntimeError):
    """The process that decoded the file died (the batch goes on without it)."""


class DecoderTimeoutError(AudioError, TimeoutError):
    """Decoding took longer than allowed and was stopped."""


class DecoderMemoryError(AudioError, MemoryError):
    """Decoding needed more memory than allowed."""


# --- tables and data -------------------------------------------------------


class TableError(GenrescopeError, ValueError):
    """A track table lacks a column or holds a value it may not hold."""


class SplitError(GenrescopeError, ValueError):
    """A split that was asked for cannot be made."""


class UnknownGenreError(GenrescopeError, ValueError):
    """A name that is no genre, alias or genre id."""


class DataError(GenrescopeError, ValueError):
    """A data file or folder is not in the layout that was asked for."""


class ChecksumError(GenrescopeError, OSError):
    """Bytes that were fetched or stored are not the ones expected."""


class DownloadError(GenrescopeError, OSError):
    """A file could not be fetched; what came so far was kept."""


class DiskSpaceError(GenrescopeError, OSError):
    """There is too little room on the disk."""


class ConfigurationError(GenrescopeError, ValueError):
    """The configuration file or a variable says what no option takes."""


# --- tags and services -----------------------------------------------------


class TagError(GenrescopeError, ValueError):
    """The genres in the tags of a file cannot be read, written or taken back; it is as it was."""


class JournalError(GenrescopeError, RuntimeError):
    """The journal of written tags cannot be used; without it nothing is written."""


class ServiceError(GenrescopeError, RuntimeError):
    """The service cannot be started as asked, or cannot take a request now."""


class ClusterError(GenrescopeError, ConnectionError):
    """A cluster cannot be reached, or cannot do what it is asked."""


# --- models ----------------------------------------------------------------


class BundleError(GenrescopeError, ValueError):
    """A recogniser on disk is missing, damaged, or made for another version."""


class TrainingError(GenrescopeError, RuntimeError):
    """Training cannot start or go on; the message says where the last good state is."""


class MissingExtraError(GenrescopeError, ImportError):
    """A feature needs packages that are not installed.

    Parameters
    ----------
    feature : str
        What was asked for, as a user would say it.
    extra : str
        The extra of genrescope that brings the packages.
    package : str
        The package that could not be imported.
    """

    def __init__(self, feature: str, *, extra: str, package: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed; "
            f'run: pip install "genrescope[{extra}]"'
        )
        self.feature: str = feature
        self.extra: str = extra
        self.package: str = package

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders by pickle; keyword-only arguments need saying how.
        return (_missing_extra, (self.feature, self.extra, self.package))


def _missing_extra(feature: str, extra: str, package: str) -> MissingExtraError:
    return MissingExtraError(feature, extra=extra, package=package)
