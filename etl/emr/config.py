"""The cluster a stage is submitted to."""

from __future__ import annotations

from pydantic import Field

from lake.config import Section

SHIPPED = (
    "astropy", "click", "deltalake", "duckdb", "filelock", "healpy", "numpy", "pandas", "psutil", "pyarrow", "pydantic",
    "pyyaml", "sqlglot", "tqdm", "xxhash",
)  # fmt: skip
"""What the bootstrap installs besides the wheel, in this environment's versions; Spark and Delta come with EMR."""


class EmrParams(Section):
    """One cluster, made for one stage and ended with it."""

    region: str
    """AWS region; never implied."""
    subnet_id: str
    """Subnet of that region the cluster lives in."""
    staging_uri: str = Field(pattern=r"^s3a?://[^/]+/.+")
    """Where code, parameters, cards and logs go: s3://bucket/prefix."""
    release: str = "emr-spark-8.0.0"
    """EMR release: emr-spark-8.0.0 (Spark 4.0) or a 7.x (Spark 3.5)."""
    service_role: str = "EMR_DefaultRole"
    """Role of the service."""
    instance_profile: str = "EMR_EC2_DefaultRole"
    """Role of the machines; must reach the staging area, the lake and the survey."""
    primary_type: str
    """Instance type of the primary node."""
    core_type: str
    """Instance type of the nodes that work."""
    core_count: int = Field(ge=1)
    """How many of them."""
    executor_memory_gb: int = Field(ge=1)
    """Heap of one executor."""
    executor_overhead_gb: int = Field(ge=1)
    """Memory of one executor outside the heap: Python workers."""
    executor_cores: int = Field(ge=1)
    """Cores of one executor."""
    python: str = "python3.11"
    """Python of the cluster's nodes."""
    step_hours_max: float = Field(gt=0)
    """How long to wait for the stage before giving up (the cluster is then ended)."""
