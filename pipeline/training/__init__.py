"""What a training needs, and generations of one's own. Imports ``pipeline.project``, ``pipeline.experiment``."""
