"""Exact copies and near duplicates -> cluster ids: small grey pictures, their alignment, clusters of linked images."""

from indexer.near_duplicates.clusters import Cluster, ClusterForest, clusters, update_clusters

__all__ = ["Cluster", "ClusterForest", "clusters", "update_clusters"]
