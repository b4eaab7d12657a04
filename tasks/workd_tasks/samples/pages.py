"""Scrape a web page: work that mostly waits, and fails in more ways than one."""

from dataclasses import dataclass
from html.parser import HTMLParser

from workd_tasks import Reject, Retry, task

_GONE = (404, 410)
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Page:
    """What was found."""

    url: str
    title: str
    links: tuple[str, ...]
    size_bytes: int


@task(timeout=30, max_retries=4, backoff_s=0.5)
def scrape_page(url: str) -> Page:
    """Fetch a page; return its title and its links.

    Network errors and the server's own are worth another try; a page that is not there is not.
    """
    import httpx

    response = httpx.get(url, timeout=10, follow_redirects=True)
    if response.status_code in _GONE:
        raise Reject(f"{url} answers {response.status_code}")
    if response.status_code == _TOO_MANY:
        raise Retry(_seconds(response.headers.get("retry-after", "")))
    response.raise_for_status()
    reader = _Reader()
    reader.feed(response.text)
    return Page(str(response.url), reader.title.strip(), tuple(reader.links), len(response.content))


def _seconds(retry_after: str) -> float | None:
    return float(retry_after) if retry_after.isdecimal() else None  # it may also be a date: then the task's backoff


class _Reader(HTMLParser):
    """Collects the title and the links of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.links: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where the title starts, and where links lead."""
        self._in_title = tag == "title"
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 (no element lasts longer than a title here)
        """Note that an element, the title perhaps, is over."""
        self._in_title = False

    def handle_data(self, data: str) -> None:
        """Take the title's text."""
        if self._in_title:
            self.title += data
