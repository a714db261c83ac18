"""Evaluations for people to read: a table in the terminal, a page with pictures, files for papers and programs."""

from __future__ import annotations

from retrieval.report.table import print_comparison, print_evaluation

__all__ = ["print_comparison", "print_evaluation"]
