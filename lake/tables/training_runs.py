"""Contract of ``training_runs``."""

from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="training_runs",
    meaning="One training run: what it made from what, and where, when and with which software it ran",
    slice_by=("origin",),
    columns=(
        Column("run_id", "string", "the training run", role="key"),
        Column("origin", "string", "slice: the generation that ran"),
        Column("generation", "string", "generation"),
        Column("checkpoint_id", "string", "the checkpoint that it made"),
        Column("ancestor_checkpoint_id", "string", "the checkpoint that it started from", nullable=True),
        Column("config_sha256", "string", "SHA-256 of its parameters"),
        Column(
            "preprocessing_digest", "string", "digest of its preprocessing, radii in pixels; a part of checkpoint_id"
        ),
        Column("manifest_id", "string", "manifest, or set of cut-outs, that it was trained on"),
        Column("data_fingerprint", "string", "fingerprint of those rows"),
        Column("arithmetic", "string", "number type of the network"),
        Column("epochs_run", "int", "epochs completed", low=0),
        Column("best_epoch", "int", "epoch (from 1) whose weights are kept", low=0),
        Column("started_at", "timestamp", "start of the first attempt", role="lineage"),
        Column("ended_at", "timestamp", "end of the last attempt", role="lineage"),
        Column("attempts", "int", "processes that worked on it: more than one after a kill", role="lineage"),
        Column("command_line", "string", "command of the last attempt", role="lineage"),
        Column("device", "string", "GPU of the last attempt, or kind of processor", role="lineage"),
        Column("driver", "string", "version of the GPU's driver", role="lineage", nullable=True),
        Column("cuda", "string", "version of CUDA", role="lineage", nullable=True),
        Column("torch", "string", "version of torch", role="lineage"),
        Column("python", "string", "version of Python", role="lineage"),
        Column("attempt_log", "string", "every attempt, one line of JSON each", role="lineage"),
    ),
)
