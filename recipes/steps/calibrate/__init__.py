"""Run calibration rows through the BF16 master and note each Linear's input range."""
