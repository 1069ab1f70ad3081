"""Networks: preprocessing, training, checkpoints, scorers."""
