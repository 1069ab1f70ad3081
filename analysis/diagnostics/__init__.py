"""The diagnostics: every module here with ``diagnose(subject, params) -> Outcome`` is one, with ``Params`` of its own.

A new one needs no other edit: its parameters join the section ``diagnose`` (with the defaults of its class), its rows
the tables, and the report shows its group. Imports results, statistics and records.
"""
