"""The commands of ``dhs``; modules stay light, heavy imports happen when a command runs."""
