"""The store: objects, trees, realizations, locks. Nothing built twice, nothing lost."""

from release.store.locks import KeyLock
from release.store.realizations import Realization
from release.store.store import Store, default_root

__all__ = ["KeyLock", "Realization", "Store", "default_root"]
