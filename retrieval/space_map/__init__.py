"""A space in two dimensions: where its images lie, how far that can be trusted, and the copy that is stored.

landmarks.py          landmark multidimensional scaling: the shape as a whole, from distances alone
neighbours.py         the nearest images of each by the space's own distance
layout.py             from the first, so that neighbours stay neighbours
trustworthiness.py    the share of neighbours on the map that are neighbours in the space
store.py              maps in the folder of a collection
"""
