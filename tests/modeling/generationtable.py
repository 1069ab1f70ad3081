"""The shipped generations as the Markdown table of docs/training.md."""

from __future__ import annotations

from modeling.config import TrainParams, generations, resolve_generation

_HEAD = ("generation", "manifest", "network", "lr", "epochs", "starts from", "annulus", "schedule", "batch", "loss")


def markdown() -> str:
    """One row per generation."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|---" * len(_HEAD) + "|"]
    lines += ["| " + " | ".join(_row(resolve_generation(name))) + " |" for name in generations()]
    return "\n".join(lines)


def _row(params: TrainParams) -> tuple[str, ...]:
    return (
        f"`{params.generation}`",
        params.manifest,
        params.network.name + (" *" if params.network.pretrained and params.init is None else ""),
        f"{params.optimiser.lr:g}",
        str(params.loop.epochs),
        params.init or "-",
        _annulus(params),
        _schedule(params),
        f"{params.loop.micro_batch}/{params.loop.batch}",
        params.loss.kind,
    )


def _annulus(params: TrainParams) -> str:
    if params.preprocessing.kind == "full":
        return "whole stamp"
    annulus = params.preprocessing.annulus
    return annulus if isinstance(annulus, str) else ", ".join(f"{radius:g}" for radius in annulus)


def _schedule(params: TrainParams) -> str:
    schedule = params.schedule
    return {
        "constant": "constant",
        "step": f"step @{schedule.step_epochs:g}",
        "cosine": f"cosine {schedule.cosine_epochs:g}",
    }[schedule.kind]
