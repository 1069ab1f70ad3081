"""What every package shares: survey facts, table contracts, cards and pins, stamp shards."""
