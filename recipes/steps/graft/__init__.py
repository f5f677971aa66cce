"""Put the base's BF16 draft head back beside a body that lost it."""
