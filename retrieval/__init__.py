"""The engine: all that a query needs. It works without Flask and knows no data set.

    import retrieval
    engine = retrieval.open("kvasir.collection")
    hits = engine.search("picture.jpg", k=10)

Importing it loads neither torch nor open_clip, timm, OpenVINO or FAISS; each comes with the first use of what needs it.
"""

from retrieval.collection import Collection
from retrieval.hits import Hit, Hits, Quality
from retrieval.search import Searcher
from retrieval.search import open_collection as open  # noqa: A004  # retrieval.open(path) is how it reads

__all__ = ["Collection", "Hit", "Hits", "Quality", "Searcher", "open"]
