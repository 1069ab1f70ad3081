"""One module per pipeline stage, named like the stage."""
