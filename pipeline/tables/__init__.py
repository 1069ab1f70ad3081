"""What commands do with tables and remotes. Imports ``pipeline.project`` and ``pipeline.reporting``."""
