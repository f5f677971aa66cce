"""Run calibration rows through the BF16 master, a layer at a time, and note each Linear's input range."""
