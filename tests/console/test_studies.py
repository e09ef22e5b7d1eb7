"""A finished study in the console: listed, shown as it was written, and nothing else of the folder."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from tieline.console.rooms.studies import StudyPages

PAGE = "<!doctype html><html><head><title>A &lt;b&gt; study</title></head><body>41 M USD</body></html>"


def client(data: Path | None) -> TestClient:
    pages = StudyPages(data)
    return TestClient(Starlette(routes=[Route(path, handler, methods=[m]) for path, m, _, handler in pages.rows()]))


def test_a_study_is_listed_and_shown_and_may_run_nothing(tmp_path: Path) -> None:
    there = tmp_path / "studies" / "three-stages"
    there.mkdir(parents=True)
    (there / "report.html").write_text(PAGE)
    asked = client(tmp_path)
    listed = asked.get("/studies")
    assert '<a href="/studies/three-stages">A &lt;b&gt; study</a>' in listed.text
    shown = asked.get("/studies/three-stages")
    assert (shown.status_code, shown.text) == (200, PAGE)
    for answer in (listed, shown):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src")
        assert "script-src" not in answer.headers["content-security-policy"]


def test_there_is_no_way_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("secret")
    (tmp_path / "studies").mkdir()
    for name in ("..", "%2e%2e", "..%2f..", "a/../..", "Three", "x" * 200, ""):
        answer = client(tmp_path).get(f"/studies/{name}")
        assert "secret" not in answer.text
    assert client(tmp_path).get("/studies/none").status_code == 404
    assert "None yet" in client(None).get("/studies").text
