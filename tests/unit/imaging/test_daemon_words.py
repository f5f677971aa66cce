"""What Docker, its builder and registries say becomes an error that says what to type."""

import pytest

from release.engines.daemon import explained, require_version
from release.errors import BuildError, GraftsmithError, MachineError, NetworkError


@pytest.mark.parametrize(
    ("said", "kind", "typed"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', MachineError, "nvidia-ctk"),
        ("write /var/lib/docker/x: no space left on device", MachineError, "docker system df"),
        ("exec /bin/sh: exec format error", MachineError, "qemu-user-static"),
        ("Hash mismatch for `numpy==2.4.6`", BuildError, "before you lock it anew"),
        ("docker.io/x@sha256:00: not found", BuildError, "invoke lock --images"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", NetworkError, "check the network"),
        ("lookup registry-1.docker.io: no such host", NetworkError, "check the network"),
    ],
)
def test_words_have_a_class_and_a_hint(said: str, kind: type[GraftsmithError], typed: str) -> None:
    error = explained("building x", said)
    assert type(error) is kind
    assert typed in error.hint


def test_an_old_engine_is_refused() -> None:
    with pytest.raises(MachineError, match=r"Docker 19\.03 is too old"):
        require_version("1.40", "19.03")
    require_version("1.41", "20.10")
