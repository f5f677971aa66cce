"""The store: objects, trees, realizations, locks. Nothing built twice, nothing lost."""

from release.home import default_root
from release.store.locks import KeyLock
from release.store.realizations import Realization
from release.store.store import Store

__all__ = ["KeyLock", "Realization", "Store", "default_root"]
