"""What is fuzzed: the code of this project that reads bytes from elsewhere.

A target may return, or raise a GenrescopeError. Anything else that it raises is a find; so is one
that takes more than ten seconds, or a result that breaks a rule that the target asserts.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "TARGETS", "Target"]

FOLDER = "GENRESCOPE_FUZZ_FOLDER"
"""The variable that names the folder to work in; without it, one is made."""

Seeds = Callable[[], list[bytes]]


@dataclass(frozen=True)
class Target:
    """One entrance."""

    name: str
    about: str
    run: Callable[[bytes], None]
    seeds: Seeds
    words: tuple[bytes, ...] = ()
    max_len: int = 1 << 14
    json: bool = False


@functools.cache
def _folder() -> Path:
    if given := os.environ.get(FOLDER):  # of a parent that removes it, however this ends
        return Path(given)
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="genrescope-fuzz-", dir=where))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file(data: bytes, name: str) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


# --- sound -------------------------------------------------------------------


def _mpeg(data: bytes) -> None:
    from genrescope.audio.mpeg import FrameView, after_tags, scan_frames

    path = _file(data, "a.mp3")
    fd = os.open(path, os.O_RDONLY)
    try:
        after_tags(fd)
        scan = scan_frames(fd, len(data))
        if scan is None:
            return
        assert 0 <= scan.n_samples <= len(data) * 8 * 1152
        assert all(0 <= a <= b <= len(data) for a, b in scan.segments)
        view = FrameView(fd, scan)
        whole = view.read(1 << 30)
        assert view.tell() == len(whole) == view.seek(0, os.SEEK_END)
        view.seek(len(whole) // 2)
        assert view.read(100) == whole[len(whole) // 2 :][:100]
    finally:
        os.close(fd)


@functools.cache
def _sounds() -> list[bytes]:
    from tests.audio.sounds import encode, encode_av, id3, music

    y = music(0.4, 44_100)
    made = [
        encode(y, 44_100, format="MP3", subtype="MPEG_LAYER_III"),
        encode(y, 44_100),
        encode(y[:4000], 44_100, format="FLAC"),
        encode(y[:4000], 44_100, format="OGG", subtype="VORBIS"),
        encode(y[:4000], 44_100, format="AIFF"),
        encode(y[:4000], 44_100, format="AU", subtype="ULAW"),
        encode_av(y, 44_100, codec="aac", format="ipod"),
        encode_av(y, 44_100, codec="wmav2", format="asf"),
        encode_av(y, 44_100, codec="aac", format="matroska"),
        encode_av(y[:4000], 44_100, codec="wavpack", format="wv"),
    ]
    return [*made, id3(b"picture") + made[0], b"garbage" * 9 + made[0], made[0][:700]]


_SUFFIXES = ("", ".mp3", ".wav", ".flac", ".ogg", ".m4a", ".wma", ".aiff")


def _decode(data: bytes) -> None:
    from genrescope.audio.decode import open_audio

    suffix = _SUFFIXES[data[0] % len(_SUFFIXES)] if data else ""
    with open_audio(_file(data[1:], f"a{suffix}")) as audio:
        first = audio.read(duration=2.0)
        assert first.ndim == 1
        assert len(first) <= 2.0 * audio.sr
        audio.read(offset=min(1e6, audio.duration / 2), duration=0.1, mono=False)
        assert audio.duration >= 0


def _decode_seeds() -> list[bytes]:
    places = (1, 2, 3, 4, 7, 0, 5, 6, 0, 0, 1, 1, 1)
    return [bytes([place]) + data for place, data in zip(places, _sounds(), strict=True)]


_SOUND_WORDS = (
    b"ID3\x03\0\0\0\0", b"ID3\x04\0\x10\0\0", b"TAG", b"APETAGEX", b"Xing", b"Info", b"LAME",
    b"\xff\xfb\x90\x44", b"\xff\xf3\x40\xc0", b"\xff\xfd\xa0\x00", b"RIFF", b"fmt ", b"data",
    b"fLaC", b"OggS", b"ftypM4A ", b"moov", b"\xff\xff\xff\xff",
)  # fmt: skip


# --- tags --------------------------------------------------------------------


def _tags(data: bytes) -> None:
    from genrescope.catalog.tags import read_tags

    tags = read_tags(_file(data, "a"))
    for text in (tags.title, tags.artist, tags.album, tags.date, *tags.genres):
        assert text is None or 0 < len(text) <= 500
    assert len(tags.genres) <= 100


@functools.cache
def _tagged() -> list[bytes]:
    import mutagen
    from mutagen.id3 import ID3, TCON, TIT2, TPE1

    out = []
    for at, data in enumerate(_sounds()[:9]):
        path = _file(data, f"t{at}")
        if at == 0:
            tags = ID3()
            for frame in (TIT2(text="Title"), TPE1(text=["One", "Two"]), TCON(text=["(17)Pop"])):
                tags.add(frame)
            tags.save(path)
        else:
            file = mutagen.File(path, easy=True)
            if file is None:
                continue
            try:
                if file.tags is None:
                    file.add_tags()
                keys = {7: ("Title", "WM/Genre")}.get(at, ("title", "genre"))
                file[keys[0]] = ["Title"]
                file[keys[1]] = ["Rock", "Pop; Folk"]
                file.save()
            except Exception:  # a container that this key does not suit
                continue
        out.append(path.read_bytes())
    return out


def _genres(data: bytes) -> None:
    from genrescope.catalog.genres import GenreTree, split_genres

    text = data.decode("utf-8", "surrogateescape")
    names = split_genres(text)
    assert all(name == name.strip() and name for name in names)
    assert len({name.casefold() for name in names}) == len(names)
    tree = GenreTree.fma()
    for name in (text[:200], *names[:3]):
        if name in tree:
            assert tree.top(name) in tree.top_level
            assert tree.canonical(tree.canonical(name)) == tree.canonical(name)
    from genrescope.errors import UnknownGenreError

    message = ""
    try:
        tree.canonical(text)
    except UnknownGenreError as error:
        message = str(error)
    assert len(message) < 2000, "a message as long as the tag"


def _genre_seeds() -> list[bytes]:
    texts = (
        "Rock; Old-Time / Historic/Pop", "(17)(21)", "(RX)(4)Eurodisco", "R&B/Soul", "Hip-Hop, Rap",
        "Électronique|Trance\0House", "17", "((Foo)", "Big Band/Swing,Jazz", "١٢", "ﬁ Ǆ ẞ", "",
    )  # fmt: skip
    return [text.encode() for text in texts]


# --- tables ------------------------------------------------------------------


def _fma(table: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        from genrescope.catalog.fma_tables import Unreadable, batches, read_header

        path = _file(data, f"{table}.csv")
        header = read_header(path, table=table)
        for batch in batches(path, table=table, header=header, unreadable=Unreadable()):
            assert batch.num_columns == len(header.names)

    return run


def _rows(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


_TRACKS = _rows(
    ",album,album,artist,set,set,track,track,track,track,track,track,track",
    ",comments,date_created,latitude,split,subset,bit_rate,date_recorded,duration,genre_top,genres,"
    "tags,title",
    "track_id,,,,,,,,,,,,",
    '2,0,2008-11-26 01:44:45,40.05,training,small,256000,2008-11-26,168,Hip-Hop,"[21, 10]",'
    "\"['a', 'b']\",Food",
    '3,-1,11/26/2008 1:44,,test,large,x,,-1,,[],"[""it\'s"", \'\\u00e9\']","two\nlines, ""q"""',
)
_GENRES = _rows(
    "genre_id,#tracks,parent,title,top_level", "1,8693,38,Avant-Garde,38", "38,9,0,Experimental,38"
)
_FEATURES = _rows(
    "feature,mfcc,mfcc", "statistics,mean,std", "number,01,01", "track_id,,", "2,1.5,-2e3", "3,,0"
)
_ECHONEST = _rows(
    ",echonest,echonest,echonest",
    ",audio_features,metadata,ranks",
    ",danceability,album_name,artist_hotttnesss_rank",
    "track_id,,,",
    "2,0.5,Name,3",
)
_TABLE_WORDS = (
    b",", b"\n", b"\r\n", b'"', b'""', b"[", b"]", b"'", b"\\", b"nan", b"inf", b"-1", b"1e400",
    b"9" * 30, b"\xef\xbb\xbf", b"\0", b"0x1F", b"['\\ud800']", b"[[", b"track_id", b"genre_id",
    b"2008-11-26 01:44:45", b"9999-12-31", b"-",
)  # fmt: skip


def _manifest(data: bytes) -> None:
    from genrescope.catalog.folders import read_manifest

    table = read_manifest(_file(data, "manifest.csv"))
    assert all(table["path"])


def _manifest_seeds() -> list[bytes]:
    return [
        _rows("path,genre,title,duration", "a.mp3,Rock,One,12.5", "b/c.mp3,Pop|Folk,Two,"),
        _rows("track_id;path;genre_top;split;subset", "2;a.mp3;Rock;training;small"),
        _rows("path\tgenres", "x.mp3\t['Rock', 'Pop']", "y.mp3\t[21]"),
        "path,artist_name\nä.mp3,=1+1\n".encode("latin-1"),
    ]


# --- bundles -----------------------------------------------------------------


def _card(data: bytes) -> None:
    from genrescope.learn.card import check_card
    from genrescope.learn.graphs import parse_object

    check_card(parse_object(data, where="card.json"), where="card.json")


@functools.cache
def _tiny() -> tuple[bytes, bytes]:
    """The card and the graph of a small bundle."""
    from genrescope.learn.bundle import write_bundle
    from tests.learn.tinybundle import make_card, make_graph

    folder = _folder() / "made"
    graph = make_graph(n_features=12)
    write_bundle(folder, graph=graph, card=make_card(n_features=12))
    return (folder / "card.json").read_bytes(), graph


@functools.cache
def _shipped_card() -> bytes:
    from importlib import resources

    card = json.loads((resources.files("genrescope.bundles") / "default/card.json").read_bytes())
    card["training"]["track_ids"] = card["training"]["track_ids"][:3]
    return json.dumps(card).encode()


def _card_seeds() -> list[bytes]:
    return [_tiny()[0], _shipped_card()]


def _graph(data: bytes) -> None:
    from genrescope.audio.encoders.onnx_check import check_graph

    told = check_graph(data)
    # What was let through must be harmless as another reader has it, too.
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        return
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return
    for text in _texts_of(model):
        assert text in ("", "ai.onnx", "ai.onnx.ml"), f"an operator of the domain {text!r}"
    weights = [tensor.name for tensor in model.graph.initializer]
    weights += [tensor.values.name for tensor in model.graph.sparse_initializer]
    inputs = [tensor.name for tensor in model.graph.input if tensor.name not in weights]
    assert sorted(tensor.name for tensor in told.inputs) == sorted(inputs)
    assert len(told.outputs) == len(model.graph.output)


def _texts_of(message: Any) -> list[str]:
    """Domains of operators, wherever they are; asserts that no tensor lies elsewhere."""
    found, waiting = [], [message]
    while waiting:
        here = waiting.pop()
        kind = type(here).__name__
        assert kind != "FunctionProto"
        if kind == "NodeProto":
            found.append(here.domain)
            assert here.op_type not in ("Loop", "Scan")
        if kind == "TensorProto":
            assert not here.external_data
            assert here.data_location == 0
        for field, value in here.ListFields():
            if field.message_type is not None:
                try:
                    waiting += list(value)
                except TypeError:
                    waiting.append(value)
    return found


def _graph_seeds() -> list[bytes]:
    from genrescope.audio.encoders.protobuf import field

    tiny = _tiny()[1]
    outside = field(13, field(1, "location") + field(2, "/etc/passwd")) + field(14, 1)
    weights = field(1, 2) + field(2, 1) + field(8, "weights")
    node = field(1, "a") + field(2, "b") + field(4, "Relu")
    inner = field(5, field(1, "body") + field(6, field(1, node)))
    value = field(1, "x") + field(2, field(1, field(1, 1) + field(2, field(1, field(1, 3)))))
    graph = field(1, node + inner) + field(5, weights) + field(11, value) + field(12, value)
    return [
        tiny,
        field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 18)),
        field(7, graph + field(5, weights + outside)),
        field(7, field(1, node + field(7, "com.microsoft")) + field(12, value)),
        field(7, field(1, field(4, "Loop") + inner) + field(12, value)),
        field(7, graph) + field(25, field(1, "f") + field(7, node)),
        field(7, graph + field(15, field(1, weights))),
    ]


def _bundle(data: bytes) -> None:
    """A card that fits its graph: everything that loading one does, and a first answer."""
    import numpy as np

    from genrescope.errors import BundleError
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.recogniser import Recogniser

    folder = _folder() / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "card.json").write_bytes(data)
    (folder / "model.onnx").write_bytes(_tiny()[1])
    bundle = Bundle.load(folder)
    repr(bundle)
    bundle.run(np.zeros((1, 2, 12), np.float32))
    with contextlib.suppress(BundleError):  # no front end makes these few features
        Recogniser(bundle)


def _bundle_seeds() -> list[bytes]:
    return [_tiny()[0]]


@functools.cache
def _shipped_bundle() -> tuple[Path, bytes]:
    """The shipped bundle in a folder of its own, and its card; without the large main graph."""
    from importlib import resources

    folder = _folder() / "shipped"
    folder.mkdir()
    shipped = resources.files("genrescope.bundles") / "default"
    card = json.loads((shipped / "card.json").read_bytes())
    for part in card["parts"].values():
        name = part["graph"]["file"]
        (folder / name).write_bytes((shipped / name).read_bytes())
    (folder / "model.onnx").write_bytes(b"none")
    card["graph"] |= {"bytes": 4, "sha256": hashlib.sha256(b"none").hexdigest()}
    card["training"]["track_ids"] = [2, 5]
    return folder, json.dumps(card).encode()


def _parts(data: bytes) -> None:
    """A card whose settings of parts may be anything: what each part makes of them."""
    import numpy as np

    from genrescope.audio import frames
    from genrescope.errors import GenrescopeError
    from genrescope.learn.bundle import Bundle
    from genrescope.learn.parts.about import About
    from genrescope.learn.parts.company import Company
    from genrescope.learn.prediction import Prediction
    from genrescope.learn.recogniser import Recogniser

    folder, _ = _shipped_bundle()
    (folder / "card.json").write_bytes(data)
    bundle = Bundle.load(folder)
    recogniser = Recogniser(bundle)
    p = np.full(len(bundle.genres), 1 / len(bundle.genres))
    sound = np.zeros((2, frames.N_FEATURES), np.float32)
    sources: tuple[str, ...] = ("sound",)
    threshold, quantile = recogniser._threshold, recogniser._quantile
    if recogniser._text is not None:
        p, sources = recogniser._text.fuse(p, About(title="A title", artist="Someone"))
        threshold, quantile = recogniser._text.decision(sources)
    if recogniser._familiar is not None:
        recogniser._familiar.judge(sound, seconds=30.0)
    if recogniser.known is not None:
        recogniser.known.look(sound)
    branches = ()
    if recogniser._tree is not None:
        branches = recogniser._tree.describe(sound, p).paths()
    made = Prediction.from_probabilities(
        dict(zip(bundle.genres, p.tolist(), strict=True)),
        threshold=threshold,
        quantile=quantile,
        path=Path("a.mp3"),
        artist="Someone",
        sources=sources,
        branches=branches,
    )
    assert abs(sum(made.probabilities.values()) - 1) < 1e-6
    with contextlib.suppress(GenrescopeError):
        Company.of_card(bundle.card).answer([made, made])


def _parts_seeds() -> list[bytes]:
    card = json.loads(_shipped_bundle()[1])
    # Small ones, so that changes hit what is used.
    parts = [{}, *({name: part} for name, part in card["parts"].items()), card["parts"]]
    return [json.dumps({**card, "parts": chosen}).encode() for chosen in parts]


def _declaration(data: bytes) -> None:
    from genrescope.audio.encoders.graph import GraphEncoder, _read_declaration

    path = _file(data, "graph.json")
    said = _read_declaration(path, graph=path)
    encoder = GraphEncoder("onnx:x", path=path, declaration=said)
    encoder.parameters()


def _declaration_seeds() -> list[bytes]:
    mel = {
        "format": 1, "version": 1, "licence": "CC BY 4.0", "sample_rate": 16000,
        "input": {
            "tensor": "mel", "kind": "mel", "layout": ["batch", 1, "time", "band"], "n_fft": 512,
            "hop": 256, "bands": 96, "scale": "log10(10000x+1)", "length": 187, "step": 187,
        },
        "embedding": {"tensor": "embedding", "size": 200},
        "tags": {"tensor": "tags", "names": ["rock", "pop"]},
    }  # fmt: skip
    plain = {
        "tensor": "x", "kind": "samples", "layout": ["batch", "time"], "length": 99, "step": 9
    }  # fmt: skip
    samples = {**mel, "input": plain, "tags": None}
    return [json.dumps(said).encode() for said in (mel, samples)]


# --- what the service takes ----------------------------------------------------


@functools.cache
def _workshop() -> Any:
    from genrescope.apps.service.temporary import Workshop

    workshop = Workshop()
    workshop.open()
    atexit.register(workshop.close)
    return workshop


def _upload(data: bytes) -> None:
    """A request: its content type on the first line, then the body."""
    import asyncio
    import logging

    from starlette.requests import Request

    from genrescope.apps.service.settings import Settings
    from genrescope.apps.service.uploads import receive

    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    kind, _, body = data.partition(b"\n")
    pieces = [body[i : i + 100] for i in range(0, len(body), 100)] or [b""]

    async def told() -> dict[str, Any]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", kind)]}
    settings, workshop = Settings(max_bytes=8000, max_files=4), _workshop()
    into: list[Any] = []
    try:
        asyncio.run(
            receive(
                Request(scope, told), settings=settings, workshop=workshop, into=into, name="a\0/b"
            )
        )
    finally:
        assert len(into) <= 4
        for upload in into:
            assert upload.path.parent == workshop.folder
            assert "/" not in upload.name
            assert "\\" not in upload.name
            assert upload.name.isprintable()
            assert len(upload.name) <= 200
            workshop.remove(upload.path)
        assert [entry.name for entry in workshop.folder.iterdir()] in ([], [".lock"])


def _upload_seeds() -> list[bytes]:
    def part(about: str, body: bytes) -> bytes:
        head = f'--b\r\nContent-Disposition: form-data; name="file"{about}\r\n'
        return head.encode() + b"Content-Type: audio/mpeg\r\n\r\n" + body + b"\r\n"

    form = b"multipart/form-data; boundary=b\n"
    one = part('; filename="a.mp3"', b"sound" * 9)
    return [
        form + one + b"--b--\r\n",
        form + one + part("; filename*=UTF-8''%2e%2e%2fx.wav", b"") + part("", b"1") + b"--b--",
        form + part('; filename="../../etc/passwd\\0"', b"x") + b"--b--\r\n",
        b'multipart/form-data; boundary="b"; charset=x\n' + one,
        b"audio/mpeg\nsound",
        b"text/plain\nnone",
    ]


_UPLOAD_WORDS = (
    b"--b\r\n", b"--b--", b"\r\n", b"\r\n\r\n", b"Content-Disposition: form-data; ",
    b"filename=", b"filename*=UTF-8''", b"%2f", b"../", b'"', b"\\", b";", b"boundary=", b"\0",
)  # fmt: skip


# --- tags, written -------------------------------------------------------------


@functools.cache
def _tagger() -> Any:
    from genrescope.apps.journal import Journal
    from genrescope.apps.tagger import Tagger

    journal = Journal.open(_folder() / "journal.sqlite3")
    atexit.register(journal.close)
    return Tagger(journal, command="fuzz", bundle="none")


def _genre_field(data: bytes) -> None:
    """What is written is read back; what is refused is as it was."""
    from genrescope.catalog.genre_tags import read_genre_field
    from genrescope.errors import TagError

    folder = _folder() / "tagged"
    folder.mkdir(exist_ok=True)
    path = folder / "a"
    path.write_bytes(data)
    try:
        _tagger().write(path, ("Rock", "Jazz"))
    except TagError:
        assert path.read_bytes() == data, "refused, and changed all the same"
        raise
    finally:
        assert [entry.name for entry in folder.iterdir()] == ["a"], "something is left"
    after = read_genre_field(path).values
    assert after in (("Rock", "Jazz"), ("Rock",)), after


# --- archives ----------------------------------------------------------------


def _unzip(data: bytes) -> None:
    from genrescope.catalog.unzip import unzip

    around = _folder() / "zip"
    shutil.rmtree(around, ignore_errors=True)
    root = around / "to"
    root.mkdir(parents=True)
    try:
        unzip(_file(data, "a.zip"), to=root, max_bytes=1 << 24)
    finally:
        assert [entry.name for entry in around.iterdir()] == ["to"], "outside the folder"
        for entry in root.rglob("*"):
            assert not entry.is_symlink()
            assert entry.is_dir() or entry.is_file()


def _zip_seeds() -> list[bytes]:
    out = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as opened:
            opened.writestr("a/b.txt", b"text " * 50)
            opened.writestr("a/c.txt", bytes(300))
            link = zipfile.ZipInfo("a/link")
            if method == zipfile.ZIP_STORED:
                link.external_attr = 0o120777 << 16
                opened.writestr(link, "../../x")
        out.append(buffer.getvalue())
    return [*out, out[1] + out[1], out[1].replace(b"a/b.txt", b"../.txt")]


_ZIP_WORDS = (
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"../", b"..\\", b"/", b"C:",
    struct.pack("<I", 0xA1FF0000), b"\x08\0", b"\x0c\0", b"\0\0",
)  # fmt: skip


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("genres", "split_genres, GenreTree", _genres, _genre_seeds,
               (b"/", b",", b";", b"|", b"(17)", b"(RX)", b"Old-Time / Historic", b"R&B/", b"&")),
        Target("tags", "read_tags", _tags, _tagged, _SOUND_WORDS, 1 << 15),
        Target("mpeg", "frame headers of mp3", _mpeg, _sounds, _SOUND_WORDS, 1 << 15),
        Target("decode", "the dispatcher of decoders", _decode, _decode_seeds, _SOUND_WORDS,
               1 << 15),
        Target("tracks", "tracks.csv", _fma("tracks"), lambda: [_TRACKS], _TABLE_WORDS),
        Target("fma-genres", "genres.csv", _fma("genres"), lambda: [_GENRES], _TABLE_WORDS),
        Target("features", "features.csv", _fma("features"), lambda: [_FEATURES], _TABLE_WORDS),
        Target("echonest", "echonest.csv", _fma("echonest"), lambda: [_ECHONEST], _TABLE_WORDS),
        Target("manifest", "tables of tracks", _manifest, _manifest_seeds, _TABLE_WORDS),
        Target("card", "card.json", _card, _card_seeds, json=True, max_len=1 << 16),
        Target("graph", "ONNX graphs", _graph, _graph_seeds, (b"\x6a", b"\x70\x01", b"\x3a")),
        Target("bundle", "bundles, loaded and run", _bundle, _bundle_seeds, json=True),
        Target("parts", "parts of bundles", _parts, _parts_seeds, json=True, max_len=1 << 18),
        Target("declaration", "what is declared of encoders", _declaration, _declaration_seeds,
               json=True),
        Target("upload", "requests to the service", _upload, _upload_seeds, _UPLOAD_WORDS),
        Target("genre-field", "tags, written and read again", _genre_field, _tagged, _SOUND_WORDS,
               1 << 15),
        Target("unzip", "archives", _unzip, _zip_seeds, _ZIP_WORDS),
    )
}  # fmt: skip
