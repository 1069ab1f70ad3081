"""From which distributions injections are drawn. Imports ``injection.scene``."""
