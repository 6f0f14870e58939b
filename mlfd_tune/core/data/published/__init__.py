"""Published datasets in their official on-disk layouts, one file each."""
