"""The steps: packages that run standalone in an image as ``<step> --root DIR``."""
