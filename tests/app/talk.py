"""Speaking to the studio as its page does, without a browser."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from aliasfree.app.visitors import new_token

__all__ = ["ask", "function", "open_page", "visitor"]


def visitor(address: str) -> httpx.Client:
    """A client with a cookie of its own."""
    port = address.rpartition(":")[2]
    client = httpx.Client(base_url=address, cookies={f"aliasfree_{port}": new_token()}, timeout=300)
    client.params = {"session_hash": uuid.uuid4().hex}
    return client


def open_page(client: httpx.Client) -> dict[str, Any]:
    """Load the page, which fills its lists; its parts."""
    config: dict[str, Any] = client.get("/config").json()
    ask(client, next(d["id"] for d in config["dependencies"] if any(event == "load" for _, event in d["targets"])), [])
    return config


def function(config: dict[str, Any], element: str, event: str = "click") -> int:
    """The number of the function that a component with this id starts."""
    component = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == element)
    return next(d["id"] for d in config["dependencies"] if [component, event] in [list(t) for t in d["targets"]])


def ask(client: httpx.Client, number: int, data: list[Any]) -> str:
    """Call a function; what the server tells until it is done, as text."""
    call = {"data": data, "fn_index": number, "session_hash": client.params["session_hash"], "trigger_id": None}
    joined = client.post("/gradio_api/queue/join", json=call)
    if joined.status_code != 200:
        raise RuntimeError(f"{joined.status_code}: {joined.text}")
    lines = []
    with client.stream("GET", "/gradio_api/queue/data") as stream:
        for line in stream.iter_lines():
            lines.append(line)
            if "process_completed" in line:
                break
    return "\n".join(lines)
