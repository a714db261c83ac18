"""An encoder's last blocks, trained further on the classes of a collection; the result is a weights file."""
