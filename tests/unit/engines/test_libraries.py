"""A library that no wheel brings is asked for before anything is built."""

import pytest

from release.engines.libraries import Library, loads, require
from release.errors import MachineError


def test_the_linker_is_asked() -> None:
    assert loads("libc.so.6")
    assert not loads("libno-such-thing.so.9")


def test_what_is_missing_is_named_with_what_to_install() -> None:
    with pytest.raises(MachineError) as refused:
        require([Library(file="libnuma.so.1", package="libnuma1")])
    assert "libnuma.so.1" in str(refused.value) and "apt-get install libnuma1" in str(refused.value)
    require([])
