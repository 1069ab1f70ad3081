"""The diagnostics, one module each. Imports every room of ``analysis`` but ``figures``, ``page`` and ``reporting``.

A module with ``diagnose(subject, params) -> Outcome`` is a diagnostic. The first line of its docstring is its question,
its parameters are its class ``Params``, and ``FIGURES`` says how the points of its figures are drawn. A new one needs
no other edit: the section ``diagnose`` takes its parameters with their defaults, the tables take its rows, and the
report shows its finding, figures and measures.
"""
