"""What was evaluated, in sentences that the terminal and the report share."""

from __future__ import annotations

from retrieval.evaluation.space_result import SpaceResult


def summary_lines(space: SpaceResult) -> list[str]:
    """Distance, protocol, images, queries and those without a figure, and whether near duplicates leak."""
    images = int(space.class_sizes.sum()) + space.unlabelled
    classes = int((space.class_sizes > 0).sum())
    without = int((~space.scored).sum())
    unlabelled = f", {space.unlabelled:,} of them unlabelled" if space.unlabelled else ""
    unscored = f"; {without:,} more have nothing relevant to find and are in no figure" if without else ""
    return [
        _space_or_fusion(space),
        f"Protocol: {space.protocol}, {space.protocol_sentence}.",
        f"Images: {images:,} in {classes} classes{unlabelled}; "
        f"{space.cluster_count:,} clusters of near duplicates, a single image being one.",
        f"Queries: {int(space.scored.sum()):,}{unscored}.",
        f"Leak check: {_leak(space)}.",
        *([space.mark_bias.sentence()] if space.mark_bias else []),
        *([f"Chances, calibrated across folds: {space.chances.sentence()}."] if space.chances else []),
        *_learned(space),
    ]


def overview_name(space: SpaceResult) -> str:
    """The name among others, with a word where the figures are too good to be compared."""
    return f"{space.space} (not clean)" if space.learned_from else space.space


def _space_or_fusion(space: SpaceResult) -> str:
    if space.fusion is None:
        dimensions = f", {space.dimension:,} dimensions" if space.dimension else ""
        return f"Space: {space.metric} distance{dimensions}."
    members = [
        f"{name} (weight {weight:g})" for name, weight in zip(space.fusion.spaces, space.fusion.weights, strict=True)
    ]
    return f"Fusion by {space.metric} of {', '.join(members[:-1])} and {members[-1]}."


def _learned(space: SpaceResult) -> list[str]:
    if not space.learned_from:
        return []
    return [
        f"Not clean: the space was learned from {space.learned_from:,} of the queries, so its figures are too good."
    ]


def _leak(space: SpaceResult) -> str:
    if not space.leaking:
        return "no query can find a near duplicate of itself"
    return f"{space.leaking:,} queries can find a near duplicate of themselves, which makes the figures too good"
