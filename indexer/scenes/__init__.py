"""Frames of one place in one examination -> scenes: local features, their geometry, scenes of linked clusters."""

from indexer.scenes.update import Scene, are_known, scenes, update_scenes

__all__ = ["Scene", "are_known", "scenes", "update_scenes"]
