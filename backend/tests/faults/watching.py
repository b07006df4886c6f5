"""Asks for the liveness every 20 ms until its standard input ends. `python watching.py PORT` prints each one's seconds.

A process of its own, over a plain connection: a client beside a few hundred others in one loop measures their turns.
"""

import select
import socket
import sys
import time

PAUSE = 0.02  # seconds, so that asking is no load of its own
PATIENCE = 60.0  # seconds
REQUEST = b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(connection: socket.socket) -> float:
    """The seconds until the whole answer was there."""
    began = time.perf_counter()
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"}"):
        received = connection.recv(65536)
        if not received:
            raise SystemExit(f"the connection was closed after {answer!r}")
        answer += received
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"answered {answer!r}")
    return time.perf_counter() - began


def main(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        while True:
            print(ask(connection), flush=True)
            if select.select([sys.stdin], [], [], PAUSE)[0]:
                return


if __name__ == "__main__":
    main(int(sys.argv[1]))
