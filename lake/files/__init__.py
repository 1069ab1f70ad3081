"""Files and folders, local or on S3: storage, publishing, FITS layouts and NPZ. Imports ``lake.sky``."""
