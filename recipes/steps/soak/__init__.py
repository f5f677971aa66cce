"""Serve a release tree for as long as was asked, and see whether anything drifts."""
