"""The distributions that injections are drawn from. Imports ``injection.scene``."""
