"""Files and folders: publishing, FITS layouts and NPZ. Imports ``lake.sky``."""
