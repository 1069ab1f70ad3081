"""What one GPU does on the product's own path: `python -m benchmarks.gpu --json gpu.json`, five minutes at most."""
