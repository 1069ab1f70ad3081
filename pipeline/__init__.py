"""Where packages meet: the command line, parameters, one module per stage. Imports every package."""
