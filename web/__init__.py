"""The page for people and the REST API for programs."""

import os

# Read when numpy and FAISS are loaded, so it stands before all else. Searches are short and many run at once: threads
# of BLAS and OpenMP would only spin on cores that the encoder needs (measured: a tenth fewer responses a second).
for _name, _value in {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}.items():
    os.environ.setdefault(_name, _value)
