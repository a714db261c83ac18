"""The evaluation inside the site."""

from __future__ import annotations

from flask import Blueprint, render_template

blueprint = Blueprint("report", __name__, url_prefix="/evaluation")


@blueprint.get("/")
def page() -> str:
    """The latest evaluation, and a way to start one."""
    return render_template("report.html")
