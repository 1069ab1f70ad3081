"""What tables promise: columns, rules, fingerprints. Imports ``lake.sky``."""
