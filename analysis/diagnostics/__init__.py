"""The diagnostics, one module each. Imports ``analysis.results`` and ``analysis.statistics``.

A module with ``diagnose(subject, params) -> Outcome`` is a diagnostic; its parameters are its class ``Params``. A new
one needs no other edit: the section ``diagnose`` takes its parameters with their defaults, the tables take its rows,
and the report shows its group.
"""
