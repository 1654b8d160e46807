"""Who may ask: names, origins, the token, the form to log in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from genrescope.apps.service import Settings
from genrescope.apps.service.guards import COOKIE, Guards, Sessions
from genrescope.apps.service.settings import is_loopback, read_token
from genrescope.errors import ServiceError
from tests.apps.service.serving import TOKEN, Running, serving, sound


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    with serving(token=TOKEN, hosts=("music.example",)) as found:
        yield found


@pytest.fixture
def browser(locked: Running) -> Iterator[httpx.Client]:
    with locked.client(headers={"Accept": "text/html"}) as found:
        yield found


# --- names ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/v1/bundles", "/metrics", "/", "/made/up"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example",
     "10.0.0.1", "0.0.0.0", "[::2]", "2130706433"],
)  # fmt: skip
def test_foreign_names_are_refused(client: httpx.Client, host: str, path: str) -> None:
    response = client.get(path, headers={"Host": host})
    assert response.status_code == 421
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["", "a b", "localhost/x", "user@localhost", "localhost:x"])
def test_hosts_that_are_none(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:8000"])
def test_its_own_names(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_two_hosts(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
        )
        assert b" 400 " in connection.recv(4096)


def test_names_that_are_given(locked: Running) -> None:
    with locked.client() as client:
        assert client.get("/healthz", headers={"Host": "Music.Example"}).status_code == 200
        assert client.get("/healthz", headers={"Host": "other.example"}).status_code == 421


# --- origins -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost:1",
               "file://", "http://evil.example#http://{host}"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_foreign_origins_are_refused(
    client: httpx.Client, running: Running, origin: str, method: str
) -> None:
    origin = origin.format(host=f"127.0.0.1:{running.port}")
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    response = client.request(method, "/v1/recognise", headers=headers)
    assert response.status_code == 403
    assert not any(name.startswith("access-control-") for name in response.headers)


def test_ones_own_origin(client: httpx.Client, running: Running) -> None:
    files = {"file": ("a.wav", sound())}
    response = client.post("/v1/recognise", files=files, headers={"Origin": running.url})
    assert response.status_code == 200
    assert not any(name.startswith("access-control-") for name in response.headers)


def test_browsers_that_send_no_origin(client: httpx.Client) -> None:
    files = {"file": ("a.wav", b"x")}
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 415)):
        headers = {"Sec-Fetch-Site": site}
        assert client.post("/v1/recognise", files=files, headers=headers).status_code == status
    # A link from elsewhere is followed.
    assert client.get("/healthz", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def ask_websocket(settings: Settings, headers: dict[str, str], sessions: Sessions) -> str:
    """What becomes of a websocket: "app" where it is let through, else the type of refusal."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "app"})

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/_nicegui_ws/socket.io",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
    }
    guards = Guards(app, settings=settings, sessions=sessions, routes={})
    asyncio.run(guards(scope, receive, send))
    return str(sent[-1]["type"])


@pytest.mark.parametrize(
    ("headers", "through"),
    [
        ({"Host": "localhost:8000"}, True),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, True),
        ({"Host": "localhost:8000", "Origin": "http://evil.example"}, False),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, False),
        ({"Host": "localhost", "Sec-Fetch-Site": "cross-site"}, False),
        ({}, False),
    ],
)
def test_websockets(headers: dict[str, str], through: bool) -> None:
    told = ask_websocket(Settings(), headers, Sessions())
    assert told == ("app" if through else "websocket.close")


def test_websockets_need_the_token() -> None:
    settings, sessions = Settings(token=TOKEN), Sessions()
    host = {"Host": "localhost"}
    cookie = {"Cookie": f"{COOKIE}={sessions.new()}"}
    assert ask_websocket(settings, host, sessions) == "websocket.close"
    assert ask_websocket(settings, host | cookie, sessions) == "app"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert ask_websocket(settings, host | bearer, sessions) == "app"


# --- the token -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/bundles", "/metrics", "/openapi.json", "/", "/v1/nothing"])
@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x",
                      "Bearer \xff\xfe"],
)  # fmt: skip
def test_without_the_token(locked: Running, path: str, authorization: str | None) -> None:
    headers = [] if authorization is None else [("Authorization", authorization.encode("latin-1"))]
    with locked.client() as client:
        response = client.get(path, headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in response.text


def test_an_upload_without_the_token_takes_no_place(locked: Running) -> None:
    with locked.client() as client:
        assert client.post("/v1/recognise", files={"file": ("a", b"x")}).status_code == 401
        assert locked.service.state["taken"] == 0
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200


def test_with_the_token(locked: Running) -> None:
    with locked.client(headers={"Authorization": f"bearer {TOKEN}"}) as client:
        assert client.get("/v1/bundles").status_code == 200
        files = {"file": ("a.wav", sound())}
        assert client.post("/v1/recognise", files=files).status_code == 200


# --- the form ------------------------------------------------------------------------


def test_logging_in_and_out(browser: httpx.Client, locked: Running) -> None:
    response = browser.get("/map")
    assert (response.status_code, response.headers["location"]) == (303, "/login?next=/map")
    form = browser.get(response.headers["location"])
    assert form.status_code == 200
    assert 'value="/map"' in form.text
    assert "frame-ancestors 'none'" in form.headers["content-security-policy"]
    assert "script-src" not in form.headers["content-security-policy"]

    wrong = browser.post("/login", data={"token": "wrong" * 5, "next": "/map"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    right = browser.post("/login", data={"token": TOKEN, "next": "/map"})
    assert (right.status_code, right.headers["location"]) == (303, "/map")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie

    assert browser.get("/v1/bundles").status_code == 200
    stolen = dict(browser.cookies)
    elsewhere = {"Origin": "http://evil.example"}
    assert browser.post("/logout", headers=elsewhere).status_code == 403
    assert browser.get("/v1/bundles").status_code == 200
    assert browser.post("/logout").status_code == 303
    with locked.client(cookies=stolen) as again:
        assert again.get("/v1/bundles").status_code == 401


def test_cookies_that_are_guessed(locked: Running) -> None:
    for value in ("", TOKEN, "x" * 43):
        with locked.client(cookies={COOKIE: value}) as client:
            assert client.get("/v1/bundles").status_code == 401


@pytest.mark.parametrize(
    "after", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\r\nX: y", ""]
)
def test_the_form_leads_nowhere_else(browser: httpx.Client, after: str) -> None:
    response = browser.post("/login", data={"token": TOKEN, "next": after})
    assert (response.status_code, response.headers["location"]) == (303, "/")


def test_the_form_shows_what_it_is_told_as_text(browser: httpx.Client) -> None:
    text = browser.get("/login", params={"next": '/"><script>alert(1)</script>'}).text
    assert "<script>" not in text


def test_a_form_that_is_too_long(browser: httpx.Client) -> None:
    assert browser.post("/login", data={"token": "x" * 100_000}).status_code == 413


def test_no_form_without_a_token(client: httpx.Client) -> None:
    assert client.get("/login").headers["location"] == "/"


def test_sessions_end_and_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions()
    monkeypatch.setattr(Sessions, "MOST", 3)
    names = [sessions.new() for _ in range(5)]
    assert [sessions.knows(name) for name in names] == [False, False, True, True, True]
    monkeypatch.setattr(Sessions, "LIFETIME", -1.0)
    assert not sessions.knows(sessions.new())


# --- headers -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/v1/nothing", "/openapi.json", "/login"])
def test_headers_of_every_answer(locked: Running, path: str) -> None:
    with locked.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


# --- settings ------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1"])
def test_wider_needs_a_token(host: str) -> None:
    with pytest.raises(ServiceError, match="GENRESCOPE_TOKEN"):
        Settings(host=host)
    assert TOKEN not in repr(Settings(host=host, token=TOKEN))


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with space and more", "é" * 20])
def test_tokens_that_are_none(token: str) -> None:
    with pytest.raises(ServiceError, match="16"):
        Settings(token=token)


def test_loopback() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "::1", "127.9.9.9", "localhost")] == [
        True
    ] * 4
    assert not is_loopback("0.0.0.0")
    with pytest.raises(ServiceError, match="no address"):
        is_loopback("no.such.host.invalid")


@pytest.mark.parametrize(
    "changes",
    [{"queue": -1}, {"workers": 0}, {"max_bytes": 0}, {"max_seconds": 0}, {"library": "/nowhere"}],
)
def test_settings_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match=next(iter(changes)) + "|nowhere"):
        Settings(**changes)


def test_where_the_token_comes_from(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENRESCOPE_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("GENRESCOPE_TOKEN", "from-the-environment")
    assert read_token(None) == "from-the-environment"
    file = tmp_path / "token"
    with pytest.raises(ServiceError, match="token"):
        read_token(file)
    file.write_text("")
    with pytest.raises(ServiceError, match="0 characters"):
        read_token(file)
    file.write_text(f"{TOKEN}\n")
    assert read_token(file) == TOKEN
