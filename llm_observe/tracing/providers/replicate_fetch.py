"""One request for a prediction that ended, off the caller's thread, bounded in time and size.

It goes through the app's own connections where that can be done from another thread. Where it
cannot (the app closed its client, or uses the asynchronous one, which belongs to its event loop),
it goes over a connection of our own to the same server with the same credentials, but only if the
app's client is an ordinary one: a transport of the app's own may stand for a proxy, a private
authority or a test, and around that we never go.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from typing import Any

TIMEOUT_S = 2.0
MAX_BYTES = 16 << 20


class Unreachable(OSError):
    """The app's client cannot be used, and going around it is not safe."""


def fetch(client: Any, prediction_id: str) -> dict[str, Any]:
    """The prediction as the server knows it now.

    Args:
        client: The ``replicate.Client`` that made it.
        prediction_id: Which one.

    Raises:
        OSError: It could not be had; whatever else the app's transport raises.
    """
    with ExitStack() as stack:
        http, transport = _way(client, stack)
        request = http.build_request("GET", f"/v1/predictions/{prediction_id}", timeout=TIMEOUT_S)
        response = transport.handle_request(request)
        stack.callback(response.close)
        response.request = request
        if response.status_code != 200:
            raise OSError(f"HTTP {response.status_code}")
        body = json.loads(_bounded_body(response))
    if not isinstance(body, dict):
        raise TypeError("a prediction that is no object")
    return body


def _way(client: Any, stack: ExitStack) -> tuple[Any, Any]:
    """What builds the request, and what sends it.

    The client would retry for minutes; its retrying transport is left out.
    """
    http = getattr(client, "_Client__client", None)
    if http is not None and not http.is_closed:
        transport = http._transport_for_url(http.base_url)
        return http, getattr(transport, "_wrapped_transport", transport)
    template = http or getattr(client, "_Client__async_client", None)
    if template is None:
        raise Unreachable("the client has no connection")
    given = getattr(client, "_client_kwargs", {}).get("transport")
    if hasattr(given, "handle_request") and not template.is_closed:
        return template, given
    own = stack.enter_context(_own_client(client, template))
    return own, own._transport_for_url(own.base_url)


def _own_client(client: Any, template: Any) -> Any:
    """An ordinary client for the same server, with the same credentials."""
    special = set(getattr(client, "_client_kwargs", {})) - {"headers", "timeout"}
    if special:
        raise Unreachable(f"the app's client has {', '.join(sorted(special))}")
    httpx: Any = sys.modules["httpx"]  # the library has it; nothing is imported for it
    return httpx.Client(
        base_url=template.base_url,
        headers=template.headers,
        timeout=TIMEOUT_S,
        trust_env=template.trust_env,
    )


def _bounded_body(response: Any) -> bytes:
    deadline, body = time.monotonic() + TIMEOUT_S, b""
    for piece in response.iter_bytes():
        body += piece
        if len(body) > MAX_BYTES or time.monotonic() > deadline:
            raise OSError("the answer is too large or too slow")
    return body
