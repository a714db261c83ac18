"""Why an image is a hit: where it agrees with the query, and by which part of a distance they are near.

- erasing.py: which cells of a picture are erased, and with what
- relevance.py: how much of a similarity each cell of a picture makes
- agreement.py: both pictures of a pair: relevance, and which cell of the other each cell matches
- seen.py: pictures as an encoder sees them, the last ones cached
- shares.py: the distance of a descriptor in parts that have a meaning
- faithfulness.py: the test that a way of telling relevance must pass on a collection before it is shown
- testing.py, store.py: the pairs of that test and the ways that are tried; their outcome in the collection's folder
- telling.py: the reasons of one hit
- overlay.py: an agreement as a picture
"""
