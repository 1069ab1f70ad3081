"""Cards, pins, and Delta tables without a JVM; SQL on them. Imports every room of ``lake`` but ``upkeep``."""
