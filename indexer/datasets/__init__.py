"""Data sets as files: Kvasir v1 and v2, HyperKvasir, any folder of class folders; from a folder or a zip."""
