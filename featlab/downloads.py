"""Let torchvision's own loaders download, within a bounded wait, and put what goes wrong into one sentence."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from threading import Thread
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PATIENCE = 8.0  # seconds without a byte after which a server counts as unreachable
Loaded = TypeVar("Loaded")


class NotAvailable(RuntimeError):
    """Raised when data or weights are missing or damaged; the message says what to do."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the sentence, and no stack trace in front of it."""
        return [f"{type(self).__name__}: {self}"]


def fetch(load: Callable[[], Loaded], *, what: str, url: str, remedy: str) -> Loaded:
    """Return load(), which may download from `url`.

    Raises:
        NotAvailable: the server did not answer, stopped in the middle, or sent something with another hash.
    """
    try:
        _knock(url)
        with _patience():
            return load()
    except (OSError, HTTPException) as error:
        trouble = f"could not be fetched from {url} ({str(error).strip('<>') or type(error).__name__})"
    except RuntimeError as error:  # torch's and torchvision's word for a hash that does not fit
        trouble = f"came damaged from {url} ({error}), so that is not used"
    raise NotAvailable(f"{what} {trouble}: {remedy}")


def _knock(url: str) -> None:
    """Ask for the head of `url`, and raise ConnectionError when no answer comes within PATIENCE.

    In a thread, because looking a name up has no timeout of its own, and because each of a server's addresses gets
    one. Through urllib, because that honours a proxy.
    """
    trouble = [f"no answer within {PATIENCE:g} s"]

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=PATIENCE).close()
            trouble.clear()
        except HTTPError:  # an answer all the same: the loader will see what it is
            trouble.clear()
        except Exception as error:
            trouble[:] = [str(error).strip("<>")]

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if trouble:
        raise ConnectionError(trouble[0])


@contextmanager
def _patience() -> Iterator[None]:
    """Give sockets opened in this block a timeout: torchvision's loaders take none, and would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
