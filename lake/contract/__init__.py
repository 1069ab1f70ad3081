"""What tables promise: columns, rules, fingerprints. Imports ``lake.sky`` and the top level."""
