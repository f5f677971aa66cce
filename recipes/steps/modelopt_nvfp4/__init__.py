"""What calibrate and quantize share: modelopt's rules, the model with its quantizers."""
