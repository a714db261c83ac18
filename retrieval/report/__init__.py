"""Evaluations for people: tables in the terminal, a report with plots and pictures, files for papers and programs."""

from __future__ import annotations

from retrieval.report.terminal import print_comparison, print_evaluation

__all__ = ["print_comparison", "print_evaluation"]
