"""The dashboard over real HTTP: what it lets through, and to whom."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import ROOT, TINY, Program, trials_of

pytest.importorskip("optuna_dashboard")
WRITING = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")


@dataclass(frozen=True)
class Site:
    """A dashboard that runs."""

    url: str

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def ask(
        self, path: str, method: str = "GET", host: str | None = None, **headers: str
    ) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.putrequest(method, path, skip_host=True)
            for name, value in {
                "Host": host if host is not None else f"127.0.0.1:{self.port}",
                "Accept-Encoding": "identity",
                **headers,
            }.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")

    def write(self, path: str, version: int, body: str) -> int:
        """Save a note, as the page does."""
        headers = {
            "Origin": self.url.partition("/dashboard")[0],
            "Content-Type": "application/json",
        }
        text = json.dumps({"version": version, "body": body})
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("PUT", path, text, headers)
            return connection.getresponse().status


@contextmanager
def dashboard(program: Program, *words: str) -> Iterator[Site]:
    process = program.start("dashboard", "--port", "0", *words)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://"), line + "".join(process.communicate())
        yield Site(line.split()[0])
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "energyopt: interrupted\n")


@pytest.fixture(scope="module")
def site(studied: Program) -> Iterator[Site]:
    """A dashboard as it is by default."""
    with dashboard(studied, "toy") as running:
        yield running


def test_it_shows_studies_and_names_the_page_of_one(studied: Program, site: Site) -> None:
    assert urlsplit(site.url).hostname == "127.0.0.1"
    status, text = site.ask("/api/studies")
    (study,) = (s for s in json.loads(text)["study_summaries"] if s["study_name"] == "toy")
    assert status == 200
    assert urlsplit(site.url).path == f"/dashboard/studies/{study['study_id']}"
    for path in (urlsplit(site.url).path, "/dashboard/", f"/api/studies/{study['study_id']}"):
        assert site.ask(path)[0] == 200
    assert site.ask("/dashboard/", "HEAD") == (200, "")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}",
     "10.0.0.1:{port}", "127.0.0.1:{port}.evil", "", "localhost@evil:{port}"],
)  # fmt: skip
def test_another_host_is_not_served(site: Site, host: str) -> None:
    for method, path in (("GET", "/api/studies"), ("GET", "/dashboard/"), ("DELETE", "/x")):
        status, text = site.ask(path, method, host.format(port=site.port))
        assert status == 403
        assert "toy" not in text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "[::1]"])
def test_this_machine_is_known_by_its_names(site: Site, host: str) -> None:
    assert site.ask("/api/studies", host=f"{host}:{site.port}")[0] == 200


def test_it_only_shows(studied: Program, site: Site) -> None:
    before = trials_of(studied, "toy")
    own = f"http://127.0.0.1:{site.port}"
    for method in WRITING:
        for path in ("/api/studies/1", "/api/studies", "/api/studies/1/rename", "/"):
            assert site.ask(path, method, Origin=own)[0] == 405
    assert trials_of(studied, "toy") == before


@pytest.mark.slow
def test_the_database_itself_refuses_to_be_written(studied: Program) -> None:
    from energyopt.errors import StorageError
    from energyopt.storage.database import open_database, read_only, storage_errors

    file = str(studied.folder / "studies/energyopt.db")
    storage = read_only(open_database(file, create=False))
    study = storage.get_study_id_from_name("toy")
    for write in (
        lambda: storage.set_study_user_attr(study, "x", 1),
        lambda: storage.delete_study(study),
        lambda: storage.create_new_trial(study),
    ):
        with (
            pytest.raises(StorageError, match="readonly database"),
            storage_errors(f"sqlite:///{file}"),
        ):
            write()
    assert len(storage.get_all_trials(study)) == 6
    storage.remove_session()


@pytest.mark.slow
def test_writing_takes_a_word_and_a_page_of_its_own(energyopt: Program) -> None:
    energyopt.ok("-m", *TINY, "lr=interval(0.05,0.1)", "n_trials=1", "study=doomed")
    with dashboard(energyopt, "--write") as site:
        for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert site.ask("/api/studies/1", "DELETE", **origin)[0] == 403
        evil = f"evil.example:{site.port}"
        headers = {"Origin": f"http://{evil}"}
        assert site.ask("/api/studies/1", "DELETE", evil, **headers)[0] == 403
        assert len(trials_of(energyopt, "doomed")) == 1
        own = {"Origin": f"http://127.0.0.1:{site.port}"}
        note = json.loads(site.ask("/api/studies/1")[1])["note"]
        assert "Study doomed: 1 trial" in note["body"]
        assert site.write("/api/studies/1/note", note["version"] + 1, "mine") == 204
        assert json.loads(site.ask("/api/studies/1")[1])["note"] == {"version": 1, "body": "mine"}
        assert site.ask("/api/studies/1", "DELETE", **own)[0] == 204
    assert trials_of(energyopt, "doomed") == []


@pytest.mark.slow
def test_a_study_is_read_while_it_is_written(energyopt: Program) -> None:
    words = ("-m", *TINY, "lr=interval(0.05,0.1)", "study=busy")
    energyopt.ok(*words, "n_trials=1")
    with dashboard(energyopt) as site, energyopt.start(*words, "n_trials=12") as running:
        seen = set()
        while running.poll() is None:
            status, text = site.ask("/csv/1")  # not from a cache
            assert status == 200, text
            seen.add(text.count("\n") - 1)
        assert running.wait() == 0
    assert len(seen) > 1
    assert len(trials_of(energyopt, "busy")) == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: the dashboard has no login"),
        (["--host", "example.com"], "add --allow-remote if all who reach it may see"),
        (["--port", "65536"], "--port 65536: a port is a number from 0 to 65535"),
        (["--host", "192.0.2.1", "--allow-remote"], "cannot listen on 192.0.2.1, port 8080"),
        (["tyo"], "there is no study 'tyo'"),
        (["--storage", "gone.db"], "there is no study database gone.db"),
    ],
)
def test_mistakes_are_sentences(studied: Program, words: list[str], says: str) -> None:
    ran = studied("dashboard", *words)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.text
    assert ran.err.count("\n") == 1


def test_a_port_that_is_taken_is_named(studied: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = studied("dashboard", "--port", str(port))
    assert ran.code == 2
    assert f"port {port}: Address already in use; choose another with --port" in ran.text


def test_others_may_be_let_in_by_address_but_not_by_any_name(studied: Program) -> None:
    with dashboard(studied, "--host", "0.0.0.0", "--allow-remote") as site:
        assert site.ask("/api/studies", host=f"192.0.2.1:{site.port}")[0] == 200
        assert site.ask("/api/studies", host=f"{socket.gethostname()}:{site.port}")[0] == 200
        assert site.ask("/api/studies", host=f"evil.example:{site.port}")[0] == 403
        assert site.ask("/api/studies/1", "DELETE")[0] == 405


def test_without_its_package_it_says_how_to_get_it(studied: Program, tmp_path: Path) -> None:
    (tmp_path / "optuna_dashboard.py").write_text("raise ModuleNotFoundError('not here')\n")
    ran = studied("dashboard", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert ran.code == 2
    assert "pip install 'energyopt[dashboard]'" in ran.text


def test_pages_of_others_may_not_read_artifacts(site: Site) -> None:
    study = urlsplit(site.url).path.rpartition("/")[2]
    trial = json.loads(site.ask(f"/api/studies/{study}")[1])["trials"][0]
    assert [each["filename"] for each in trial["artifacts"]] == ["config.json", "result.json"]
    path = f"/artifacts/{study}/{trial['trial_id']}/{trial['artifacts'][1]['artifact_id']}"
    status, text = site.ask(path, Origin="http://evil.example")
    assert status == 200
    assert json.loads(text)["start"]["provenance"]["kind"] == "simulated"
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
        connection.request("GET", path, headers={"Origin": "http://evil.example"})
        headers = connection.getresponse().headers
    assert "Access-Control-Allow-Origin" not in headers
    assert site.ask(f"/artifacts/{study}/{trial['trial_id']}/99-0")[0] == 404


def test_no_page_frames_it_and_a_database_keeps_no_trace(studied: Program, site: Site) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
        connection.request("GET", "/dashboard/")
        assert connection.getresponse().headers["X-Frame-Options"] == "DENY"
    with closing(sqlite3.connect(studied.folder / "studies/energyopt.db")) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
