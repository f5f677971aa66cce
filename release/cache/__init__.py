"""The remote cache: results of steps that another machine built, and signed.

    <uri>/v1/objects/ab/<sha256>                files
    <uri>/v1/trees/<digest>.json                manifests
    <uri>/v1/realizations/<key>/<signer>        which tree a key gave, signed

A reader asks for a key and goes on to the manifest and the objects; it believes nothing but
a signature that it trusts, and bytes that have their digest. A writer goes the other way:
objects, manifest, entry, so that no entry stands whose bytes are not there. docs/cache.md
argues each choice.
"""
