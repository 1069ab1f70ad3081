"""The registry of priors as a Markdown table: what the documentation shows is what the code draws."""

from __future__ import annotations

from injection.priors.registry import DIRECT, load_prior, prior_names

_FIELDS = (*DIRECT, "shear", "clump_fraction", "clump_offset", "clump_size")


def markdown() -> str:
    """One row per parameter, one column per prior of the registry."""
    priors = [load_prior(name) for name in prior_names()]
    lines = ["| parameter | " + " | ".join(f"`{prior.name}`" for prior in priors) + " |"]
    lines.append("|---" * (1 + len(priors)) + "|")
    lines.append("| | " + " | ".join(prior.meaning for prior in priors) + " |")
    for name in _FIELDS:
        lines.append(f"| `{name}` | " + " | ".join(getattr(prior, name).text() for prior in priors) + " |")
    lines.append("| `clump_probability` | " + " | ".join(f"{prior.clump_probability:g}" for prior in priors) + " |")
    return "\n".join(lines)
