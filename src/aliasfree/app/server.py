"""`aliasfree app`: the studio served on this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aliasfree.errors import ArgumentError

__all__ = ["check_address", "is_loopback", "serve"]

PORT, TRIES = 7860, 40
LEAST_PASSWORD = 8
QUEUED = 256
"""Requests that Gradio holds; the studio's own queue, of jobs, is shorter."""
SESSIONS = 256
"""Loaded pages of which Gradio keeps the state, 0.2 MB each; its own 10,000 would be 2 GB."""
EVENTS = 256
"""Requests of which Gradio keeps a record, for a monitor that the studio does not have."""


def serve(
    given: Sequence[Path] = (),
    *,
    home: Path = Path("runs"),
    listen: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the studio until Ctrl-C or SIGTERM; trainings that it started are then saved and stopped.

    given     folders of runs and diffusers models that it offers, beside what is below `home`
    home      where it puts runs and converted models
    listen    an address of this machine; any but a loopback one needs a password
    port      None = the first free one from 7860 on
    password  of at least 8 characters, asked for by the browser
    browser   open it
    say       told the address

    Raises ArgumentError for folders without a network, a port that is taken and a password that is missing.
    """
    check_address(listen, password)
    # before Gradio is imported: it reads these then
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False", GRADIO_ANALYTICS_MAX_EVENTS=str(EVENTS), HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_OFFLINE="1",
    )  # fmt: skip
    from aliasfree.app.networks import Networks
    from aliasfree.app.uploads import uploads_folder

    networks = Networks(given, home)
    with _listening(listen, port) as bound, uploads_folder() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = str(uploads / "sent")
        number = bound.getsockname()[1]
        application, close = _application(networks, listen, number, password)
        address = f"http://{f'[{listen}]' if ':' in listen else listen}:{number}"
        say(f"The studio is at {address} (Ctrl-C ends it).")
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        try:
            _run(application, bound)
        finally:
            close()


def check_address(listen: str, password: str | None) -> None:
    """Raises ArgumentError for a password that is missing or short."""
    if password is not None and len(password) < LEAST_PASSWORD:
        raise ArgumentError(f"A `password` has at least {LEAST_PASSWORD} characters.")
    if password is None and not is_loopback(listen):
        raise ArgumentError(
            f"Everyone who reaches {listen} could use the studio, so it needs a `password`, or ALIASFREE_PASSWORD in "
            "the environment."
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address.

    >>> from aliasfree.app.server import is_loopback
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _listening(listen: str, port: int | None) -> socket.socket:
    """A socket that listens already, so that the address is good when it is said."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    last: Exception | None = None
    for number in [port] if port is not None else range(PORT, PORT + TRIES):
        try:
            return socket.create_server((listen, number), family=family, backlog=128)
        except (OSError, OverflowError) as error:
            last = error
    where = f"port {port}" if port is not None else f"the ports {PORT} to {PORT + TRIES - 1}"
    raise ArgumentError(f"Cannot listen at {listen}, {where} ({last}); give another `port` or `listen`.") from last


def _application(networks: Any, listen: str, port: int, password: str | None) -> tuple[Any, Callable[[], None]]:
    """The ASGI application, and what ends its work."""
    import fastapi
    import gradio as gr

    from aliasfree.app.guard import Guard
    from aliasfree.app.jobs import Jobs
    from aliasfree.app.limits import FILE_BYTES
    from aliasfree.app.page import HEAD, STYLE, build_page, theme
    from aliasfree.app.panel import Studio
    from aliasfree.app.trainings import Trainings
    from aliasfree.app.visitors import Visitors

    jobs, trainings = Jobs(), Trainings(networks.home)
    studio = Studio(networks, jobs, trainings, Visitors(jobs.busy), f"aliasfree_{port}")
    page = build_page(studio)
    page.state_session_capacity = SESSIONS
    page.queue(max_size=QUEUED, default_concurrency_limit=None, api_open=False)
    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        outer, page, "/", server_name=listen, server_port=port, footer_links=[], run_history=False, allowed_paths=[],
        show_error=False, max_file_size=FILE_BYTES, ssr_mode=False, enable_monitoring=False, pwa=False,
        mcp_server=False, theme=theme(), css_paths=STYLE, head=HEAD,
    )  # fmt: skip
    # Gradio looks where a file that a request names lies only once this is set, which a page that is mounted never is
    page.has_launched = True
    streams = page._queue.pending_event_ids_session = OpenStreams()
    page._queue.pending_messages_per_session.max_size = SESSIONS
    hosts = frozenset({"127.0.0.1", "localhost", "::1", listen}) if is_loopback(listen) else None
    jobs.submit("the studio", "warm-up", "loading", _load_libraries, quick=True)

    def close() -> None:
        jobs.close()
        trainings.close()

    return Guard(outer, hosts, password, studio.cookie, lambda session: len(streams.get(session, ()))), close


class OpenStreams(dict[str, set[str]]):
    """What Gradio's queue has not answered yet, by session; with one more entry for as long as a page is open.

    Gradio closes a page's stream when all is answered. What the page asks in that moment is joined to the stream that
    closes, and never answered. With a question that stays open, the stream is there until the page is left.
    """

    STAYS = "the page is open"

    def __setitem__(self, session: str, asked: set[str]) -> None:
        left = session in self and asked <= {self.STAYS}
        super().__setitem__(session, set() if left else asked | {self.STAYS})
        while len(self) > SESSIONS:  # a session without a page is never left
            del self[next(iter(self))]


def _load_libraries(_: Any) -> None:
    """What the first picture needs, imported before someone asks for it."""
    import aliasfree.diffusion
    import aliasfree.measuring.sampler_equivariance
    import aliasfree.training.pretrained  # noqa: F401


def _run(application: Any, bound: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        application, log_level="warning", access_log=False, timeout_graceful_shutdown=2, ws="none", lifespan="on"
    )
    uvicorn.Server(config).run(sockets=[bound])
