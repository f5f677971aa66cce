"""A local Hub over HTTP, as huggingface_hub and transformers use the real one.

It keeps what it is told: bare git repos that ``git`` itself reads, LFS blobs by their sha256,
branches moved only by compare-and-swap, so that a stale parent is refused as on the Hub.

    python -m tests.hub_server --root DIR --port 8800

Who writes shows a token of ``accounts.json``, or one that a CI job's identity was exchanged for
(``publishers.py``; ``issuer.py`` is the CI's end, for tests).

It is no mock: a private network can rehearse a release on it (``invoke hub``). It can also be
told to fail, request by request (``faults.py``), which is how publishing is tested.

Clients need ``HF_HUB_DISABLE_XET=1`` in their environment, or ``--xet``, which admits one client process
at a time (``xet.py``).
"""
