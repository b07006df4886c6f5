"""What a process has to settle with the operating system: whom it outlives, and where it listens."""

import ctypes
import errno
import os
import signal
import socket
import sys

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded before any fork: nothing may be imported between fork and exec


READY = "NEOFORGE_READY_FD"  # names what `say_ready` writes to


class CannotRun(Exception):
    """The surroundings do not allow it. The message is one line that says what to do."""


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Have the kernel send `signum` to this process when `parent`, its parent, ends.

    Linux only. Elsewhere nothing happens here, and the next `make dev` ends what was left.
    """
    if sys.platform != "linux":
        return  # pragma: no cover - the tests are measured on Linux
    _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os.kill(os.getpid(), signum)


def say_ready() -> None:
    """Tell the process that keeps this one, if there is one, that it has come so far that it does its work."""
    if number := os.environ.get(READY):
        os.write(int(number), b"1")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        CannotRun: the port is taken, or the address is not one of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise CannotRun(f"HOST {host} is not an address of this machine: set HOST to one") from None
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(2048)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotRun(f"port {port} on {host} is taken: stop what listens there, or set PORT") from None
        raise CannotRun(f"cannot listen on {host} port {port} ({error.strerror}): set HOST and PORT anew") from None
    return sock


def url_host(host: str) -> str:
    """`host` as it stands in a URL that a person on this machine can open."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]" if ":" in host else host
