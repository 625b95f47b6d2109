"""Many WebSocket clients in one process, as cheap as they can be: the server is to be measured.

Reads one JSON line (host, port, and the tokens, one for each client), connects them all, says
``ready``, and at the next line tells what each one heard: for every event its seq, and how many
milliseconds after Redis took it down it arrived.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from functools import partial
from typing import Any

import uvloop

PATH = "/api/v1/bulk-upload/ws"
PER_MS = 1024
_HEAD = re.compile(rb'\{"type":"(\w+)","seq":(\d+),"job_id":(null|")')
#: Clients that connect at a time.
AT_ONCE = 50


class _Client(asyncio.Protocol):
    """Speaks just enough of RFC 6455: whole text frames, and an answer to pings."""

    def __init__(self, token: str, host: str) -> None:
        self._token, self._host = token, host
        self._rest = b""
        self._is_open = False
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.since = 0
        self.seqs: list[int] = []
        self.lags: list[float] = []
        self.bytes = 0
        self.is_lost = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(
            f"GET {PATH} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"Sec-WebSocket-Protocol: rollbook, bearer.{self._token}\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self.is_lost = True

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        self.bytes += len(data)
        if not self._is_open:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._is_open = True
        at = 0
        while (frame := _frame(data, at)) is not None:
            opcode, start, end = frame
            if opcode == 1:
                self._hear(data, start)
            elif opcode == 9:  # a ping: pong, masked with zeros
                payload = data[start:end]
                self._transport.write(bytes((0x8A, 0x80 | len(payload))) + bytes(4) + payload)
            at = end
        self._rest = data[at:]

    def _hear(self, data: bytes, start: int) -> None:
        head = _HEAD.match(data, start)
        assert head is not None
        seq = int(head[2])
        if head[1] == b"snapshot":
            self.since = seq
            self.began.set_result(None)
        elif head[3] == b'"':
            self.seqs.append(seq)
            self.lags.append(time.time() * 1000 - seq // PER_MS)


def _frame(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Opcode, start and end of the payload of the frame at a place, if all of it is there."""
    if len(data) < at + 2:
        return None
    length, start = data[at + 1], at + 2
    if length >= 126:
        width = 2 if length == 126 else 8
        start += width
        length = int.from_bytes(data[at + 2 : start], "big")
    return None if len(data) < start + length else (data[at] & 15, start, start + length)


def _itself(client: _Client) -> _Client:
    return client


async def main() -> None:
    """Connect, listen until asked to stop, and report."""
    loop = asyncio.get_running_loop()
    orders = json.loads(await asyncio.to_thread(sys.stdin.readline))
    host, port = orders["host"], orders["port"]
    clients = [_Client(token, f"{host}:{port}") for token in orders["tokens"]]
    for first in range(0, len(clients), AT_ONCE):
        some = clients[first : first + AT_ONCE]
        for client in some:
            await loop.create_connection(partial(_itself, client), host, port)
        await asyncio.gather(*(client.began for client in some))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    told = [
        {"since": c.since, "seqs": c.seqs, "lags": [round(lag, 1) for lag in c.lags],
         "bytes": c.bytes, "is_lost": c.is_lost}
        for c in clients
    ]  # fmt: skip
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    uvloop.run(main())
