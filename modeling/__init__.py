"""Networks: preprocessing, training, checkpoints, scorers. Imports ``lake``."""
