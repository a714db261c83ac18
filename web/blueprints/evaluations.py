"""Evaluations as background jobs: /api/v1/evaluations, and the page that shows their reports."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template, request, send_file, url_for
from flask_openapi3 import APIBlueprint, Tag
from werkzeug.wrappers import Response as BaseResponse

from retrieval.evaluation.options import Fusion
from retrieval.evaluation.store import StoredEvaluationError
from retrieval.report.definitions import definition_of
from retrieval.report.document import map_points
from retrieval.report.render import render_page
from retrieval.report.render import script as report_script
from retrieval.report.render import stylesheet as report_stylesheet
from retrieval.report.store import (
    FILES,
    NotEvaluatedError,
    StoredEvaluation,
    digest_of_images,
    load_report,
    load_result,
    path_of_file,
    stored_evaluation,
    stored_evaluations,
)
from web import responses
from web.context import collection, state
from web.errors import UnsupportedBodyError
from web.jobs import Job, evaluate
from web.limits import rate_limited
from web.problems import without_server_paths
from web.requests import EvaluationPath, EvaluationRequest, json_body, require_bounded_body
from web.responses import image_links

api = APIBlueprint("evaluations", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="evaluations")])
blueprint = Blueprint("report", __name__, url_prefix="/evaluation")

_BODY = {"required": True, "content": json_body(EvaluationRequest)}
OVERVIEW, MEASURES = "Overview", "Measures"
"""The parts of a report that are not about one space."""


@api.post(
    "/evaluations",
    operation_id="start_evaluation",
    openapi_extensions={"requestBody": _BODY},
    responses=responses.operation({"202": responses.Evaluation}, 400, 401, 403, 408, 409, 413, 415, 422, 429),
)
@rate_limited
def start() -> tuple[Response, int, dict[str, str]]:
    """Start an evaluation; Location is the address of its progress. One runs at a time."""
    if request.mimetype != "application/json":
        require_bounded_body()
        raise UnsupportedBodyError("say what to evaluate in JSON; {} evaluates every space")
    job = _start(EvaluationRequest.model_validate_json(request.get_data(), strict=True))
    address = url_for("evaluations.evaluation", evaluation_id=job.id)
    return jsonify(_job_to_dict(job)), 202, {"Location": address}


@api.get(
    "/evaluations/<evaluation_id>",
    operation_id="get_evaluation",
    responses=responses.operation({"200": responses.Evaluation}, 400, 401, 404, 410, 422),
)
def evaluation(path: EvaluationPath) -> Response:
    """An evaluation's progress, and its result once it is done."""
    shared = state()
    job = shared.jobs.get(path.evaluation_id)
    if job is not None and job.state != "done":
        return jsonify(_job_to_dict(job))
    stored = stored_evaluation(shared.served.path, path.evaluation_id)
    done = Job(stored.id, stored.request, stored.created, "done", 1.0)
    return jsonify(_job_to_dict(done, load_result(shared.served.path, stored)))


@blueprint.get("/")
def page() -> str:
    """The latest evaluation or an older one that is stored, one part at a time, and a way to start one."""
    shared = state()
    stored = stored_evaluations(shared.served.path)
    job = shared.jobs.latest()
    facts: dict[str, Any] = {"job": job and _job_to_dict(job), "stored": stored}
    if not stored:
        return render_template("report.html", **facts)
    chosen = _chosen()
    facts |= {"done": chosen, "changed": chosen.images != digest_of_images(collection()), "files": FILES}
    try:
        report = load_report(shared.served.path, chosen)
    except StoredEvaluationError as error:
        return render_template("report.html", **facts, fault=without_server_paths(str(error), {}))
    names = [OVERVIEW, *(space.name for space in report.spaces), MEASURES]
    part = request.args.get("part", OVERVIEW)
    if part not in names:
        raise NotEvaluatedError(f"this evaluation has no part '{part[:80]}'")
    space = next((space for space in report.spaces if space.name == part), None)
    links = image_links()
    return render_template(
        "report.html",
        **facts,
        report=report,
        names=names,
        part=part,
        space=space,
        definition_of=definition_of,
        is_shown=lambda image: collection().images.position(image) is not None,
        links=links,
        points=map_points([space] if space else [])
        | {"place": f"{request.script_root}/api/v1/images/{{image}}/thumbnail"},
    )


@blueprint.post("/")
@rate_limited
def start_from_page() -> BaseResponse:
    """Start an evaluation of every space and, where a method is chosen, of all of them fused."""
    spaces = tuple(space.name for space in collection().manifest.compared)
    method = request.form.get("fusion")
    fusions = [Fusion(spaces, (1.0,) * len(spaces), method).name] if method else []
    protocol = request.form.get("protocol", "leave-cluster-out")
    _start(EvaluationRequest.model_validate({"protocol": protocol, "fusions": fusions}))
    return redirect(url_for("report.page"), 303)


@blueprint.get("/report.html")
@rate_limited
def whole() -> Response:
    """The whole report as one self-contained file."""
    shared = state()
    report = load_report(shared.served.path, _chosen())
    with shared.searches.slot():
        text = render_page(report, collection())
    return Response(text, mimetype="text/html", headers={"Content-Disposition": "attachment; filename=report.html"})


@blueprint.get("/files/<name>")
def file(name: str) -> Response:
    """One of the report's files for papers and programs."""
    path = path_of_file(state().served.path, _chosen(), name)
    return send_file(path, mimetype=FILES[name], as_attachment=True, download_name=name, max_age=0)


@blueprint.get("/report.css")
def style() -> Response:
    """The report's own style, for what lies inside an element of the class `report`."""
    return Response(f".report {{\n{report_stylesheet()}}}\n", mimetype="text/css")


@blueprint.get("/report.js")
def script() -> Response:
    """The report's own script, on the points that the page holds as JSON."""
    points = 'const pictures = JSON.parse(document.getElementById("points").textContent);\n'
    return Response(points + report_script(), mimetype="text/javascript")


def _start(wanted: EvaluationRequest) -> Job:
    """Start a job. Raises JobRunningError, SpaceNameError, FusionTextError."""
    shared, opened = state(), collection()
    spaces = wanted.spaces or [space.name for space in opened.manifest.compared]
    fusions = list(dict.fromkeys(map(Fusion.parse, wanted.fusions)))
    for name in (*spaces, *(space for fusion in fusions for space in fusion.spaces)):
        opened.manifest.space(name)
    request = wanted.model_dump() | {"spaces": spaces, "fusions": [fusion.name for fusion in fusions]}
    return shared.jobs.start(request, lambda job: evaluate(shared.served.path, job))


def _job_to_dict(job: Job, result: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "progress": job.progress,
        "created": job.created,
        "request": job.request,
        "error": without_server_paths(job.error, state().served.path_names()) if job.error else None,
        "result": result,
    }


def _chosen() -> StoredEvaluation:
    """The evaluation that the address names, or else the latest. Raises NotEvaluatedError."""
    return stored_evaluation(state().served.path, request.args.get("evaluation"))
