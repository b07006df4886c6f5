"""What a program shows on a terminal."""

import os
from collections.abc import Callable


def read_to_end(terminal: int, seen: Callable[[bytes], None] = lambda _: None) -> str:
    """All that the other end of a pseudo-terminal shows until it closes. `seen` is told, each time, of all so far.

    A read gives what the kernel has carried over by then, perhaps one line of two.
    """
    written = b""
    try:
        while piece := os.read(terminal, 4096):
            written += piece
            seen(written)
    except OSError:  # Linux says so when the other end has closed
        pass
    finally:
        os.close(terminal)
    return written.decode()
