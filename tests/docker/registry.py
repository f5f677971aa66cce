"""A registry on loopback: Debian's ``docker-registry``, unpacked, with a folder of its own."""

import contextlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.docker import debian

PATIENCE_S = 15
CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {data}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextlib.contextmanager
def running(packages: Path, data: Path) -> Iterator[str]:
    """Run a registry until the block ends; give its ``host:port``.

    Raises OSError where the package cannot be had or the registry does not answer.
    """
    tool = debian.unpack(packages, debian.release(), ("docker-registry",))
    data.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = data / "registry.yml"
    config.write_text(CONFIG.format(data=data / "blobs", port=port))
    command = ["setpriv", "--pdeathsig", "TERM", str(tool / "usr/bin/docker-registry"), "serve", str(config)]
    with (data / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/v2/", process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 (loopback)
            return
        time.sleep(0.1)
    raise OSError(f"the registry at {url} does not answer")
