"""Cards, pins, and Delta tables read and written without a JVM; SQL on them. Imports every room of ``lake`` but ``upkeep``."""
