"""What an installation has, what it can do, and what is wrong with it.

Formats are told by trying: a moment of made-up sound is encoded, and decoded by the worker that
decodes everything else. Nothing is looked up on the network, and nothing is written but into a
temporary folder.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrescope.apps.configuration import short_path
from genrescope.apps.kept import places
from genrescope.errors import GenrescopeError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EXTRAS", "Diagnosis", "diagnose"]

EXTRAS = {
    "lab": "the laboratory, pages that explain, features as Parquet",
    "deep": "networks: look into them, export them",
    "encoders": "pretrained encoders that run in torch",
    "hub": "bundles of the Hugging Face Hub",
    "serve": "the service and its pages",
    "scale": "many machines, by Dask",
    "beets": "the beets plugin",
    "train": "training",
}
"""What each extra brings; `dev`, for those who change genrescope, is left out."""

_LITTLE_ROOM = 500 << 20  # bytes that should be free
_SECONDS = 0.5  # of made-up sound
_RATE = 44_100


@dataclass
class Diagnosis:
    """What was found.

    Attributes
    ----------
    sections : dict
        Facts by section, as JSON has them.
    problems : list of str
        What is wrong, each with the way out.
    """

    sections: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def section(self, name: str, find: Callable[[Diagnosis], Any]) -> None:
        """Add a section; what goes wrong while it is looked for is a problem, not the end."""
        try:
            self.sections[name] = find(self)
        except Exception as error:  # noqa: BLE001 (the other sections still tell something)
            self.sections[name] = {}
            text = error if isinstance(error, GenrescopeError) else _named(error)
            self.problems.append(f"{name}: {short_text(str(text))}")


def diagnose(*, configuration: Callable[[], list[str]] | None = None) -> Diagnosis:
    """Look at everything.

    Parameters
    ----------
    configuration : callable, optional
        Says what is wrong with the configuration; the command line knows its options.

    Returns
    -------
    Diagnosis
    """
    found = Diagnosis()
    found.section("system", _system)
    found.section("packages", _packages)
    found.section("formats", _formats)
    found.section("recogniser", _recogniser)
    found.section("computing", _computing)
    found.section("places", _kept)
    found.section("disk", _disk)
    found.section("configuration", lambda one: _configured(one, configuration))
    return found


def short_text(text: str) -> str:
    """Text without the name of the home folder, and with it of the user."""
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


# --- the system ------------------------------------------------------------


def _system(found: Diagnosis) -> dict[str, Any]:
    import locale

    import genrescope
    from genrescope.audio.workers import available_cores

    encoding = (sys.stdout.encoding or "").lower()
    if not encoding.startswith("utf"):
        found.problems.append(
            f"encoding {encoding or 'unknown'}: names and bars are printed with stand-ins; "
            "set PYTHONUTF8=1, or a locale such as C.UTF-8"
        )
    return {
        "genrescope": genrescope.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "cores": available_cores(),
        "locale": ".".join(filter(None, locale.getlocale())) or "C",
        "encoding": encoding,
        "file names": sys.getfilesystemencoding(),
        "terminal": os.environ.get("TERM", "") if sys.stdout.isatty() else "none",
    }


def _disk(found: Diagnosis) -> dict[str, Any]:
    import shutil

    import platformdirs

    from genrescope.catalog.storage import human_bytes

    free = {}
    folders = (platformdirs.user_cache_path("genrescope"), Path(tempfile.gettempdir()))
    for folder in folders:
        there = next(one for one in (folder, *folder.parents) if one.exists())
        room = shutil.disk_usage(there).free
        free[short_path(folder)] = room
        if room < _LITTLE_ROOM:
            found.problems.append(
                f"{short_path(folder)}: {human_bytes(room)} are free; "
                f"{human_bytes(_LITTLE_ROOM)} should be: `genrescope doctor --clean`"
            )
        if not os.access(there, os.W_OK):
            found.problems.append(
                f"{short_path(there)}: may not be written to; change its owner or its mode, or set "
                "XDG_CACHE_HOME or TMPDIR to a folder of yours"
            )
    return {"free": free}


# --- packages --------------------------------------------------------------


def _packages(found: Diagnosis) -> dict[str, Any]:
    from importlib import metadata

    try:
        lines = metadata.requires("genrescope") or []
    except metadata.PackageNotFoundError:
        found.problems.append(
            "genrescope: it runs from a folder and is not installed, so what it needs is not "
            "known; install it with pip"
        )
        return {}
    core, extras = _required(lines)
    told = {name: _version_of(name) for name in core}
    for name, least in core.items():
        _complain_of(found, name, told[name], least, line="pip install genrescope")
    record: dict[str, Any] = {}
    for extra, brings in EXTRAS.items():
        if extra not in extras:  # what is installed knows no such extra yet
            continue
        versions = {name: _version_of(name) for name in extras[extra]}
        line = f'pip install "genrescope[{extra}]"'
        for name, least in extras[extra].items():
            if versions[name] is not None:
                _complain_of(found, name, versions[name], least, line=f"{line} --upgrade")
        missing = [name for name, version in versions.items() if version is None]
        record[extra] = {
            "brings": brings,
            "versions": versions,
            "missing": missing,
            "install": line if missing else None,
        }
    return {"core": told, "extras": record}


def _required(lines: list[str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Packages with the least version of each: of the core, and of each extra."""
    core: dict[str, str] = {}
    extras: dict[str, dict[str, str]] = {}
    for line in lines:
        requirement, _, marker = line.partition(";")
        match = re.match(r"\s*([\w.-]+)", requirement)
        least = re.search(r">=\s*([\d.]+)", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)", marker)
        if match is None or not _applies(marker) or match[1] == "genrescope":
            continue
        where = extras.setdefault(extra[1], {}) if extra else core
        where[match[1]] = least[1] if least else "0"
    return core, extras


def _applies(marker: str) -> bool:
    """Whether what a marker says of the machine holds: the few words that are used."""
    facts = {"platform_machine": platform.machine(), "sys_platform": sys.platform}
    for name, sign, value in re.findall(r"(\w+)\s*(==|!=)\s*['\"]([\w.-]+)['\"]", marker):
        if name in facts and (facts[name] == value) != (sign == "=="):
            return False
    return True


def _version_of(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _complain_of(
    found: Diagnosis, name: str, version: str | None, least: str, *, line: str
) -> None:
    text = None
    if version is None:
        text = f"{name}: is not installed; run: {line}"
    elif _numbers(version) < _numbers(least):
        text = f"{name} {version}: {least} or later is needed; run: {line}"
    if text is not None and text not in found.problems:
        found.problems.append(text)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


# --- decoding --------------------------------------------------------------

# Name, ending, and how libsndfile or FFmpeg's libraries write it here.
_BY_SNDFILE = (
    ("WAV", "wav", "WAV", "PCM_16"),
    ("FLAC", "flac", "FLAC", "PCM_16"),
    ("AIFF", "aiff", "AIFF", "PCM_16"),
    ("MP3", "mp3", "MP3", "MPEG_LAYER_III"),
    ("Ogg Vorbis", "ogg", "OGG", "VORBIS"),
    ("Opus", "opus", "OGG", "OPUS"),
)
_BY_FFMPEG = (
    ("AAC (m4a)", "m4a", "ipod", "aac"),
    ("ALAC (m4a)", "m4a", "ipod", "alac"),
    ("WMA", "wma", "asf", "wmav2"),
    ("WavPack", "wv", "wv", "wavpack"),
    ("TTA", "tta", "tta", "tta"),
    ("AC-3", "ac3", "ac3", "ac3"),
)


def _formats(found: Diagnosis) -> dict[str, Any]:
    import av
    import soundfile

    from genrescope.audio.workers import map_isolated

    started = time.perf_counter()
    formats: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="genrescope-doctor-") as folder:
        written = dict(_written(Path(folder)))
        results = map_isolated(heard_by, list(written), workers=1)
        for path, result in results:
            name = written[path]
            if isinstance(result, GenrescopeError):
                why = str(result).replace(path, "")
                formats[name] = {"decoder": None, "error": short_text(why.strip(": "))}
                found.problems.append(
                    f"{name}: cannot be decoded here ({type(result).__name__}); run: "
                    "pip install --force-reinstall soundfile av"
                )
            else:
                formats[name] = {"decoder": result[0], "error": None}
    unwritten = [name for name, *_ in (*_BY_SNDFILE, *_BY_FFMPEG) if name not in formats]
    versions = getattr(av, "ffmpeg_version_info", None)
    return {
        "libsndfile": soundfile.__libsndfile_version__,
        "PyAV": av.__version__,
        "FFmpeg": versions or ".".join(map(str, av.library_versions["libavcodec"])),
        "formats": formats,
        "not tried": unwritten,
        "seconds": round(time.perf_counter() - started, 2),
    }


def heard_by(path: str) -> tuple[str, int]:
    """The decoder that reads a file, and how many samples it gives; called in a worker."""
    from genrescope.audio.decode import open_audio, read_audio

    with open_audio(path) as file:
        decoder = file.decoder
    samples, _ = read_audio(path)
    return decoder, len(samples)


def _written(folder: Path) -> Iterator[tuple[str, str]]:
    """Files of every format that can be encoded here, with its name."""
    import soundfile

    sound = made_up(_SECONDS, _RATE)
    for i, (name, ending, container, codec) in enumerate(_BY_SNDFILE):
        path = folder / f"sndfile-{i}.{ending}"
        rate = 48_000 if codec == "OPUS" else _RATE
        try:
            soundfile.write(path, sound, rate, format=container, subtype=codec)
        except (soundfile.LibsndfileError, ValueError):
            continue
        yield str(path), name
    for i, (name, ending, container, codec) in enumerate(_BY_FFMPEG):
        path = folder / f"ffmpeg-{i}.{ending}"
        if _encode(path, sound, container=container, codec=codec):
            yield str(path), name


def _encode(path: Path, sound: np.ndarray, *, container: str, codec: str) -> bool:
    """Write sound with FFmpeg's libraries; whether they can."""
    import av
    import numpy as np

    try:
        with av.open(str(path), "w", format=container) as file:
            stream: Any = file.add_stream(codec, rate=_RATE)
            stream.layout = "mono"
            kind = stream.codec.audio_formats[0]
            stream.format = kind
            stream.bit_rate = 128_000  # WMA has no usual one
            stream.codec_context.open()  # it knows the size of its frames from then on
            resampler = av.AudioResampler(format=kind, layout="mono", rate=_RATE)
            whole = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[None, :], dtype=np.float32), format="fltp", layout="mono"
            )
            whole.sample_rate = _RATE
            fifo = av.AudioFifo()
            for frame in resampler.resample(whole):
                frame.pts = None
                fifo.write(frame)
            for frame in fifo.read_many(stream.codec_context.frame_size or 1024, partial=True):
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    except (av.FFmpegError, ValueError, OSError):
        return False
    return True


def made_up(seconds: float, rate: int) -> np.ndarray:
    """A chord with beats: sound that no codec finds nothing in.

    Returns
    -------
    np.ndarray [shape=(n,), float32]
    """
    import numpy as np

    t = np.arange(round(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6))
    return (0.1 * chord * (1.2 - (4 * t) % 1.0)).astype(np.float32)


# --- recognising -----------------------------------------------------------


def _recogniser(found: Diagnosis) -> dict[str, Any]:
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.recogniser import Recogniser

    started = time.perf_counter()
    bundle = Bundle.load()  # compares every file with the SHA-256 in the card
    bundle.check_graphs()
    loaded = time.perf_counter()
    recogniser = Recogniser.load()
    sound = made_up(10.0, 22_050)
    recogniser.predict(sound, sr=22_050)
    warm = time.perf_counter()
    answer = recogniser.predict(sound, sr=22_050)
    done = time.perf_counter()
    return {
        "bundle": bundle.name,
        "version": bundle.card.get("version"),
        "checksums": "right",
        "genres": len(bundle.genres),
        "load ms": round(1e3 * (loaded - started)),
        "predict ms": round(1e3 * (done - warm), 1),
        "answer": answer.genre or "not sure",
    }


def _computing(found: Diagnosis) -> dict[str, Any]:
    import importlib.util

    import onnxruntime

    record: dict[str, Any] = {"onnxruntime": onnxruntime.get_available_providers()}
    if importlib.util.find_spec("torch") is None:
        return record
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        names = map(torch.cuda.get_device_name, range(torch.cuda.device_count()))
        devices += [f"cuda ({name})" for name in names]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return record | {"torch": devices}


# --- what is kept ---------------------------------------------------------


def _kept(found: Diagnosis) -> dict[str, Any]:
    record = {}
    for place in places():
        record[place.name] = {
            "path": short_path(place.path),
            "bytes": place.size,
            "about": place.about,
            "clean": place.again,
        }
        if place.name == "leftovers" and place.paths:
            found.problems.append(
                f"{len(place.paths)} parts of files that killed processes left in "
                f"{short_path(place.path)}; remove them: genrescope doctor --clean"
            )
        if place.paths and not os.access(place.paths[0], os.R_OK | os.W_OK):
            found.problems.append(
                f"{short_path(place.path)}: may not be read or written; change its owner or mode"
            )
    return record


# --- configuration ---------------------------------------------------------


def _configured(found: Diagnosis, check: Callable[[], list[str]] | None) -> dict[str, Any]:
    from genrescope.apps.configuration import VARIABLES, config_path

    path = config_path()
    if check is not None:
        found.problems += [short_text(problem) for problem in check()]
    if os.name == "posix" and path.exists() and path.stat().st_mode & 0o022:
        found.problems.append(
            f"{short_path(path)}: others may change it; run: chmod go-w {short_path(path)}"
        )
    known = {
        name: "set" if name.endswith("TOKEN") else short_text(os.environ[name])
        for name in sorted(os.environ)
        if name in VARIABLES or name.startswith("GENRESCOPE_")
    }
    return {"file": short_path(path), "exists": path.exists(), "environment": known}
