"""The exporter ``modelopt``: its rules, the model with its quantizers, its own export."""
