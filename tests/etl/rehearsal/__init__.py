"""A stand-in for EMR on this machine: simulated AWS, and a Spark of separate processes that runs what is submitted."""
