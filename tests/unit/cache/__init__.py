"""The remote cache: what is believed, what is sent, what a wrong answer costs."""
