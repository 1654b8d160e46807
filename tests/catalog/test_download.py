"""Downloads from a server that drops, lies, ignores and changes."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrescope.catalog import storage
from genrescope.catalog.download import Expected, Retry, download
from genrescope.catalog.storage import check_sha1, human_bytes, require_space
from genrescope.errors import ChecksumError, DiskSpaceError, DownloadError, GenrescopeError
from tests.catalog.web import Way, serving

BODY = random.Random(1).randbytes(700_001)
OTHER = random.Random(2).randbytes(700_001)
SHA1 = hashlib.sha1(BODY).hexdigest()
OLD = random.Random(3).randbytes(500_000)


def fetch(url: str, to: Path, **changes: Any) -> Path:
    said: dict[str, Any] = {"sha1": SHA1, "wait": 0.0, "tries": 3, **changes}
    expected, retry = (
        kind(**{f.name: said.pop(f.name) for f in fields(kind) if f.name in said})
        for kind in (Expected, Retry)
    )
    return download(url, to=to, expected=expected, retry=retry, **said)


def part(to: Path) -> Path:
    return to.with_name(to.name + ".part")


def begun(to: Path, data: bytes, **note: Any) -> None:
    """As a killed download leaves it."""
    part(to).write_bytes(data)
    if note:
        full = {"url": "", "etag": "", "modified": "", "total": None, "wrong": "", **note}
        Path(f"{part(to)}.json").write_text(json.dumps(full))


def alone(to: Path) -> bool:
    return to.read_bytes() == BODY and [p.name for p in to.parent.iterdir()] == [to.name]


def test_a_file_arrives_whole_and_alone_and_is_not_fetched_twice(tmp_path: Path) -> None:
    to, told = tmp_path / "a.zip", []
    with serving(BODY) as web:
        assert fetch(web.url, to, report=lambda *told_: told.append(told_)) == to
        assert alone(to)
        fetch(web.url, to)
        assert len(web.asked) == 1
    assert ("download", len(BODY), len(BODY)) in told
    assert told[-1] == ("check", len(BODY), len(BODY))


def test_a_file_that_is_there_and_wrong_is_refused_and_not_touched(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    to.write_bytes(OTHER)
    with serving(BODY) as web, pytest.raises(ChecksumError, match=f"expected {SHA1}.*Move it"):
        fetch(web.url, to)
    assert not web.asked
    assert to.read_bytes() == OTHER


@pytest.mark.parametrize("after", [200_000, 200_001])
def test_dropped_connections_are_resumed_by_range(tmp_path: Path, after: int) -> None:
    to = tmp_path / "a.zip"
    with serving(BODY, Way(drop_after=after), Way(drop_after=after), Way()) as web:
        fetch(web.url, to)
        ranges = web.ranges()
    assert alone(to)
    if after % 2 == 0:  # a reset loses what was on its way, so that one counts for less
        assert ranges == ["", *(f"bytes={n * after - n * 2**16}-" for n in (1, 2))]
        assert web.sent == len(BODY) + 2 * 2**16  # what was there was not fetched again
        assert web.asked[1]["If-Range"].startswith('"')


def test_many_drops_are_fine_as_long_as_bytes_come(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    with serving(BODY, *[Way(drop_after=100_000)] * 12, Way()) as web:
        fetch(web.url, to, tries=1)
        assert len(web.asked) > 5
    assert alone(to)


def test_a_part_is_resumed_by_the_next_process(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    with serving(BODY, Way(drop_after=300_000), Way(status=503)) as web:
        with pytest.raises(
            DownloadError, match=r"answers 503.*kept as a\.zip\.part\. Again! to resume"
        ):
            fetch(web.url, to, again="Again!")
        assert part(to).stat().st_size == 300_000
        assert not to.exists()
        web.ways[:] = [Way()]
        fetch(web.url, to)
    assert web.ranges()[-1] == f"bytes={300_000 - 2**16}-"
    assert alone(to)


def test_a_whole_part_needs_no_server(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    begun(to, BODY, total=len(BODY))  # killed while it was checked
    fetch("http://127.0.0.1:9/a.zip", to)
    assert alone(to)


def test_a_part_without_a_note_is_resumed(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    begun(to, BODY[:400_000])
    (tmp_path / "a.zip.part.json").write_text('{"url": ')
    with serving(BODY) as web:
        fetch(web.url, to)
    assert web.ranges() == [f"bytes={400_000 - 2**16}-"]
    assert alone(to)


# --- a changed file is never spliced ---


@pytest.mark.parametrize("sha1", [SHA1, None])
@pytest.mark.parametrize(
    "way",
    [
        Way(),  # says by If-Range that it is another one
        Way(etag=""),  # says nothing
        Way(etag='W/"weak"'),
        Way(ranges=False),
        Way(chunked=True),
    ],
)
def test_a_file_that_changed_is_fetched_from_its_start(
    tmp_path: Path, way: Way, sha1: str | None
) -> None:
    to = tmp_path / "a.zip"
    begun(to, OLD, etag=way.etag if way.etag is not None else '"old"', total=len(BODY))
    with serving(BODY, way) as web:
        fetch(web.url, to, sha1=sha1)
    assert alone(to)


def test_a_longer_file_without_validators_is_not_spliced(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    begun(to, BODY[:300_000], total=500_000)  # was cut after these bytes then
    with serving(BODY, Way(etag="")) as web:
        fetch(web.url, to, sha1=None)
    assert web.ranges() == [f"bytes={300_000 - 2**16}-", ""]
    assert alone(to)


def test_a_shorter_file_is_cut_to_its_length(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    begun(to, BODY + b"more", total=len(BODY) + 10)
    with serving(BODY, Way(ranges=False, etag="")) as web:
        fetch(web.url, to, sha1=None)
    assert alone(to)


def test_a_file_that_never_stops_changing_is_given_up(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    bodies = [random.Random(n).randbytes(700_001) for n in range(12)]
    ways = [Way(body=b, etag="", drop_after=300_000) for b in bodies]
    with serving(BODY, *ways) as web, pytest.raises(DownloadError, match="changed while"):
        fetch(web.url, to)


# --- lies ---


@pytest.mark.parametrize("ranges", [True, False])
def test_a_length_that_is_too_long(tmp_path: Path, ranges: bool) -> None:
    to = tmp_path / "a.zip"
    with serving(BODY, Way(length=900_000, ranges=ranges)) as web:
        fetch(web.url, to)
    assert alone(to)


def test_a_length_that_is_too_short_is_found_out(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    with serving(BODY, Way(length=400_000), Way()) as web:
        fetch(web.url, to)
    assert web.ranges() == ["", f"bytes={400_000 - 2**16}-"]
    assert alone(to)


@pytest.mark.parametrize("ranges", [True, False])
def test_wrong_bytes_are_refused_kept_and_then_fetched_anew(tmp_path: Path, ranges: bool) -> None:
    to = tmp_path / "a.zip"
    wrong = hashlib.sha1(OTHER).hexdigest()
    with serving(BODY, Way(body=OTHER, ranges=ranges)) as web:
        with pytest.raises(ChecksumError) as caught:
            fetch(web.url, to, again="Run `genrescope fma fetch small` again")
        assert web.sent < 1.5 * len(BODY)  # and what was on its way when it was told to stop
        assert str(caught.value) == (
            f"a.zip: SHA-1 is {wrong}, expected {SHA1}; the file was kept as a.zip.part. "
            "Run `genrescope fma fetch small` again to fetch it anew."
        )
        assert isinstance(caught.value, OSError)
        assert part(to).read_bytes() == OTHER
        assert not to.exists()
        web.ways[:] = [Way()]
        fetch(web.url, to)
    assert web.ranges()[-1] == ""
    assert alone(to)


def test_a_web_page_is_named(tmp_path: Path) -> None:
    with (
        serving(b"\n<!doctype html><title>Log in to this network</title>") as web,
        pytest.raises(ChecksumError, match="it is a web page"),
    ):
        fetch(web.url, tmp_path / "a.zip")


def test_a_range_that_was_not_asked_for_is_not_taken(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    begun(to, BODY[:400_000], total=len(BODY))
    with serving(BODY, Way(shift=1000)) as web:
        fetch(web.url, to)
    assert web.ranges() == [f"bytes={400_000 - 2**16}-", ""]
    assert alone(to)


def test_416_where_the_file_shrank(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    begun(to, BODY + OTHER)
    with serving(BODY, Way(etag="")) as web:
        fetch(web.url, to)
    assert web.ranges()[0]
    assert web.ranges()[1] == ""
    assert alone(to)


@pytest.mark.parametrize("way", [Way(), Way(chunked=True)])
def test_more_than_the_file_can_have_is_refused(tmp_path: Path, way: Way) -> None:
    with serving(BODY, way) as web, pytest.raises(DownloadError, match="this is not the file"):
        fetch(web.url, tmp_path / "a.zip", max_bytes=600_000)


def test_a_packed_answer_is_refused(tmp_path: Path) -> None:
    way = Way(headers=[("Content-Encoding", "gzip")])
    with serving(BODY, way) as web, pytest.raises(DownloadError, match="packs the file"):
        fetch(web.url, tmp_path / "a.zip")
    assert web.asked[0]["Accept-Encoding"] == "identity"


# --- servers and addresses ---


def test_redirects_keep_the_range(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    begun(to, BODY[:400_000], total=len(BODY))
    with serving(BODY, Way(redirect="/moved.zip")) as web:
        fetch(web.url, to)
    assert web.ranges() == [f"bytes={400_000 - 2**16}-"] * 2
    assert alone(to)


def test_a_redirect_to_this_disk_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(BODY)
    with (
        serving(BODY, Way(redirect=secret.as_uri())) as web,
        pytest.raises(DownloadError, match="302"),
    ):
        fetch(web.url, tmp_path / "a.zip")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "a.zip", ""])
def test_only_web_addresses(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="no web address"):
        fetch(url, tmp_path / "a.zip")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refusal_is_final(tmp_path: Path, status: int) -> None:
    with serving(BODY, Way(status=status)) as web:
        with pytest.raises(DownloadError, match=f"answers {status}.*--url"):
            fetch(web.url, tmp_path / "a.zip")
        assert len(web.asked) == 1


def test_a_busy_server_is_asked_again_when_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, waits = tmp_path / "a.zip", []
    monkeypatch.setattr("genrescope.catalog.download.time.sleep", waits.append)
    busy = Way(status=503, headers=[("Retry-After", "7")])
    with serving(BODY, busy, Way(status=429), Way(status=500), Way()) as web:
        fetch(web.url, to, wait=1.0, tries=4)
    assert [wait for wait in waits if wait] == [7, 2, 4]
    assert alone(to)


def test_a_silent_server_counts_as_lost(tmp_path: Path) -> None:
    to = tmp_path / "a.zip"
    with serving(BODY, Way(silent=True), Way()) as web:
        fetch(web.url, to, timeout=0.2)
    assert alone(to)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"3 tries in a row.*to resume"):
        fetch("http://127.0.0.1:9/a.zip", tmp_path / "a.zip")


def test_only_one_process_fetches_a_file(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    to = tmp_path / "a.zip"
    with serving(BODY, Way(pause=0.1)) as web:
        first = threading.Thread(target=fetch, args=(web.url, to))
        first.start()
        while not part(to).exists() or not part(to).stat().st_size:
            pass
        with pytest.raises(DownloadError, match="another process is fetching it"):
            fetch(web.url, to)
        first.join()
    assert alone(to)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ways=st.lists(
        st.builds(
            Way,
            drop_after=st.none() | st.integers(0, 700_001),
            length=st.none() | st.integers(1, 900_000),
            ranges=st.booleans(),
            etag=st.sampled_from([None, "", 'W/"weak"', '"other"']),
            body=st.sampled_from([None, None, OTHER]),
            status=st.sampled_from([200, 200, 503]),
            chunked=st.booleans(),
            shift=st.sampled_from([0, 0, 5]),
        ),
        max_size=6,
    ),
    begun_with=st.sampled_from([b"", BODY[:100], BODY[:300_000], OLD, BODY + b"more"]),
)
def test_whatever_happens_only_the_right_file_gets_the_name(
    tmp_path: Path, ways: list[Way], begun_with: bytes
) -> None:
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    to = folder / "a.zip"
    begun(to, begun_with)
    with serving(BODY, *ways, Way()) as web:
        for _ in range(10):
            try:
                fetch(web.url, to)
                break
            except GenrescopeError:
                assert not to.exists()
    assert alone(to)


# --- the disk ---


def test_the_disk_is_checked_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "new" / "a.zip"
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000_000)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage)
    with serving(BODY) as web:
        with pytest.raises(DiskSpaceError, match=r"a\.zip \(700\.0 kB, unpacked about 90\.0 MB\)"):
            fetch(web.url, to, room_for=lambda size: 90_000_000)
        assert part(to).stat().st_size == 0
        fetch(web.url, to, room_for=lambda size: 30_000_000)


def test_a_disk_that_fills_up_keeps_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    import signal

    to = tmp_path / "a.zip"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with serving(BODY) as web:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (524_288, before[1]))
            with pytest.raises(DiskSpaceError, match=r"is full.*to resume"):
                fetch(web.url, to)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert part(to).stat().st_size > 200_000
        fetch(web.url, to)
    assert web.ranges()[1].startswith("bytes=")
    assert alone(to)


def test_space_and_sizes(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", needed=1000, what="This")
    with pytest.raises(DiskSpaceError, match=r"This needs 1000000\.0 TB more.*--to"):
        require_space(tmp_path, needed=10**18, what="This")
    require_space(tmp_path, needed=0, what="Nothing")
    assert [human_bytes(n) for n in (0, 999, 1000, 999_960, 7_200_000_000, 2 * 10**12)] == [
        *("0 B", "999 B", "1.0 kB", "1.0 MB", "7.2 GB", "2.0 TB"),
    ]


def test_check_sha1(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(BODY)
    check_sha1(path, expected=SHA1.upper())
    with pytest.raises(ChecksumError, match=SHA1):
        check_sha1(path, expected="0" * 40)
