"""Six global descriptors of LIRE, one file each."""
