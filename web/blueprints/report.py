"""The evaluation inside the site."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from web.blueprints.evaluations import Request, start_evaluation
from web.rate import limited
from web.state import state

blueprint = Blueprint("report", __name__, url_prefix="/evaluation")

SHOWN_K = (1, 5, 10, 20)


@blueprint.get("/")
def page() -> str:
    """The latest evaluation, and a way to start one."""
    jobs = state().jobs.all()
    done = next((job for job in jobs if job.state == "done"), None)
    latest = jobs[0] if jobs else None
    return render_template("report.html", job=latest, result=done.result if done else None, done=done, ks=SHOWN_K)


@blueprint.post("/")
@limited
def start() -> Response:
    """Start an evaluation of every space."""
    start_evaluation(Request.model_validate({"protocol": request.form.get("protocol", "leave-cluster-out")}))
    return redirect(url_for("report.page"), 303)
