"""The registry of priors as a Markdown table: what the documentation shows is what the code draws."""

from __future__ import annotations

from injection.priors.registry import LENS, SHAPE, load_prior, prior_names

_OTHERS = ("shear", "clump_fraction", "clump_offset", "clump_size")


def markdown() -> str:
    """One row per parameter, one column per prior of the registry."""
    priors = [load_prior(name) for name in prior_names()]
    lines = ["| parameter | " + " | ".join(f"`{prior.name}`" for prior in priors) + " |"]
    lines.append("|---" * (1 + len(priors)) + "|")
    lines.append("| | " + " | ".join(prior.meaning for prior in priors) + " |")
    light = dict.fromkeys(name for prior in priors for name in prior.light)
    for name in (*LENS, *light, *SHAPE, *_OTHERS):
        texts = [getattr(prior, name).text() if hasattr(prior, name) else "" for prior in priors]
        lines.append(f"| `{name}` | " + " | ".join(texts) + " |")
    lines.append("| `clump_probability` | " + " | ".join(f"{prior.clump_probability:g}" for prior in priors) + " |")
    return "\n".join(lines)
