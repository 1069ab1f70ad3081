"""The pool against a plain script on the same made-up sweeps: ``python -m benchmarks.pool --rows 2000000``."""
