import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workd_tasks import Reject, Retry, samples

NAMES = ["add", "noop", "resize_image", "scrape_page", "sleep", "slow_square", "square", "update_account"]


def test_one_module_name_registers_them_all_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from workd_tasks import registry; registry.load(['workd_tasks.samples']);"
        "print(sorted(registry.all_tasks()), {'PIL', 'httpx', 'redis', 'asyncio'} & set(sys.modules))"
    )
    paths = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    assert done.stdout == f"{NAMES} set()\n"


def test_numbers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert samples.square(4) == 16
    assert samples.add(1, 2) == 3
    assert samples.slow_square(3) == 9
    samples.sleep(0.5)
    samples.noop()
    assert capsys.readouterr().out == "9\n"
    assert slept == [2, 0.5]


def test_an_image_is_resized_in_one_step(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="the demo's image task needs Pillow (pip install workd[demo])")
    image.new("RGBA", (400, 200), "red").save(tmp_path / "big.png")
    assert samples.resize_image(tmp_path / "big.png", tmp_path / "small.jpg", 100) == (100, 50)
    with image.open(tmp_path / "small.jpg") as small:
        assert (small.size, small.format) == ((100, 50), "JPEG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.png", "small.jpg"]


def test_what_is_no_image_is_rejected(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image", reason="the demo's image task needs Pillow (pip install workd[demo])")
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(Reject, match="is not an image"):
        samples.resize_image(text, tmp_path / "small.jpg", 100)


def test_a_payment_counts_once_however_often_it_is_run(tmp_path: Path) -> None:
    database = tmp_path / "bank.db"
    assert samples.update_account(database, "anna", 500, "p1") == 500
    assert samples.update_account(database, "anna", 500, "p1") == 500
    assert samples.update_account(database, "anna", -200, "p2") == 300
    assert samples.update_account(database, "bert", 10, "p3") == 10


def test_payments_from_many_sides_at_once_all_count(tmp_path: Path) -> None:
    database = tmp_path / "bank.db"
    threads = [
        threading.Thread(target=samples.update_account, args=(database, "anna", 1, f"p{n % 10}")) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(sqlite3.connect(database)) as db:
        assert db.execute("SELECT cents FROM accounts").fetchone() == (10,)


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = {"/gone": 404, "/busy": 429, "/broken": 500}.get(self.path, 200)
        body = b"<html><title> Home </title><body><a href='/a'>a</a><a>b</a><a href=/c>c</a></body></html>"
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def site() -> Iterator[str]:
    pytest.importorskip("httpx", reason="the demo's page task needs httpx (pip install workd[demo])")
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_page_is_scraped(site: str) -> None:
    page = samples.scrape_page(f"{site}/")
    assert (page.title, page.links, page.size_bytes) == ("Home", ("/a", "/c"), 89)


def test_a_page_that_is_gone_is_rejected_and_a_busy_site_is_asked_again(site: str) -> None:
    import httpx

    with pytest.raises(Reject, match="answers 404"):
        samples.scrape_page(f"{site}/gone")
    with pytest.raises(Retry) as caught:
        samples.scrape_page(f"{site}/busy")
    assert caught.value.after_s == 7
    with pytest.raises(httpx.HTTPStatusError):
        samples.scrape_page(f"{site}/broken")
