"""Evaluations as background jobs: /api/v1/evaluations, and the page that shows their reports."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
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
from retrieval.report.runs import RunComparison, compare_runs, means_of, why_apart
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
from retrieval.rerank import reranker_named
from retrieval.tables import csv_rows
from web import responses
from web.context import collection, state
from web.errors import BadOptionError, UnsupportedBodyError
from web.jobs import Job, run_process
from web.limits import rate_limited
from web.pages.forms import form_ids, whole_number
from web.problems import without_server_paths
from web.requests import EvaluationPath, EvaluationRequest, RunPair, json_body, require_bounded_body, require_single
from web.responses import image_links

api = APIBlueprint("evaluations", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="evaluations")])
blueprint = Blueprint("report", __name__, url_prefix="/evaluation")

_BODY = {"required": True, "content": json_body(EvaluationRequest)}
OVERVIEW, MEASURES = "Overview", "Measures"
"""The parts of a report that are not about one space."""
VIEWS = ("figures", "queries", "labels")
"""The pages of one space: tables and plots; the best and the worst queries; likely label errors and hubs."""
MARK, WRONG = "mark-", "wrong:"
"""Before the id of an image that is marked; before the class that it should have, or nothing."""


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
    "/evaluations",
    operation_id="list_evaluations",
    responses=responses.operation({"200": responses.EvaluationRuns}, 400, 401, 410, 422),
)
def evaluations() -> Response:
    """List the evaluations that are stored, the newest first, each with its mAP by space and fusion."""
    path, images = state().served.path, digest_of_images(collection())
    return jsonify(
        {
            "evaluations": [
                {
                    "id": run.id,
                    "created": run.created,
                    "made_by": run.made_by,
                    "request": run.request,
                    "outdated": run.images != images,
                    "queries": run.queries,
                    "means": means_of(path, run),
                }
                for run in stored_evaluations(path)
            ]
        }
    )


@api.get(
    "/evaluations/compare",
    operation_id="compare_evaluations",
    responses=responses.operation({"200": responses.RunComparison}, 400, 401, 404, 410, 422, 429, 503),
)
@rate_limited
def compare_evaluations(query: RunPair) -> Response:
    """Compare two stored evaluations query by query, space by space."""
    return jsonify(asdict(_compared(query)))


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
    facts["others"] = _others(chosen)
    try:
        report = load_report(shared.served.path, chosen)
    except StoredEvaluationError as error:
        return render_template("report.html", **facts, fault=without_server_paths(str(error), {}))
    names = [OVERVIEW, *(space.name for space in report.spaces), MEASURES]
    part = request.args.get("part", OVERVIEW)
    if part not in names:
        raise NotEvaluatedError(f"this evaluation has no part '{part[:80]}'")
    space = next((space for space in report.spaces if space.name == part), None)
    view = request.args.get("view", VIEWS[0] if space else None)
    if view not in (VIEWS if space else (None,)):
        raise NotEvaluatedError(f"a part of an evaluation has no view '{str(view)[:80]}'")
    links = image_links()
    return render_template(
        "report.html",
        **facts,
        report=report,
        names=names,
        part=part,
        space=space,
        view=view,
        views=VIEWS,
        definition_of=definition_of,
        is_shown=lambda image: collection().images.position(image) is not None,
        links=links,
        map_page=lambda name: url_for("map.page", space=name, evaluation=chosen.id if chosen.is_partial else None),
        points=map_points([space] if space else [])
        | {
            "place": f"{request.script_root}/api/v1/images/{{image}}/thumbnail",
            "page": f"{request.script_root}/collection/images/{{image}}",
        },
    )


@blueprint.post("/")
@rate_limited
def start_from_page() -> BaseResponse:
    """Start an evaluation of every space and, where chosen, of all of them fused, of each re-ranked and of marks.

    From the page Map, of the spaces that it shows, with the selected images as queries.
    """
    require_single(request.form, {"rerank", "space"})
    spaces = tuple(request.form.getlist("space")) or tuple(space.name for space in collection().manifest.compared)
    method = request.form.get("fusion")
    fusions = [Fusion(spaces, (1.0,) * len(spaces), method).name] if method else []
    protocol = request.form.get("protocol", "leave-cluster-out")
    rerank = [way for way in request.form.getlist("rerank") if way]
    values: dict[str, Any] = {"protocol": protocol, "fusions": fusions, "rerank": rerank, "spaces": list(spaces)}
    values["feedback"] = "feedback" in request.form
    if "ids" in request.form:
        values["query_ids"] = form_ids(request.form["ids"])
        if not values["query_ids"]:
            raise BadOptionError("select images first")
    _start(EvaluationRequest.model_validate(values))
    return redirect(url_for("report.page"), 303)


@blueprint.get("/compare")
@rate_limited
def compare() -> str:
    """Two evaluations side by side."""
    pair = RunPair.model_validate(dict(request.args))
    path = state().served.path
    runs = [stored_evaluation(path, one) for one in (pair.first, pair.second)]
    measured = [load_result(path, run)["spaces"][0]["measures"] for run in runs]
    return render_template(
        "runs.html",
        compared=_compared(pair),
        runs=runs,
        others=_others(runs[1]),
        measures=[name for name in measured[0] if name in measured[1]],
    )


@blueprint.post("/labels.csv")
def labels() -> Response:
    """The classes of all images as a table that `kvasir index --labels` takes, changed by what was marked."""
    require_single(request.form)
    images = collection().images
    marks = {}
    for name, value in request.form.items():
        number = whole_number(name.removeprefix(MARK)) if name.startswith(MARK) and value else None
        if number is not None and (position := images.position(number)) is not None:
            marks[position] = value
    rows = [("file", "class", "mark")]
    for position, (file, label) in enumerate(zip(images.files, images.labels.tolist(), strict=True)):
        mark = marks.get(position, "")
        known = images.classes[label] if label >= 0 else ""
        wrong = mark.startswith(WRONG)
        rows.append((file, mark.removeprefix(WRONG) if wrong else known, "wrong label" if wrong else mark))
    headers = {"Content-Disposition": "attachment; filename=labels.csv"}
    return Response(csv_rows(rows), mimetype="text/csv", headers=headers)


@blueprint.get("/report.html")
@rate_limited
def whole() -> Response:
    """The whole report as one self-contained file."""
    shared = state()
    report = load_report(shared.served.path, _chosen())
    with shared.drawings.slot():
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
    """Start a job. Raises JobRunningError, SpaceNameError, FusionTextError, UnknownRerankingError, BadOptionError."""
    shared, opened = state(), collection()
    spaces = wanted.spaces or [space.name for space in opened.manifest.compared]
    fusions = list(dict.fromkeys(map(Fusion.parse, wanted.fusions)))
    for name in (*spaces, *(space for fusion in fusions for space in fusion.spaces)):
        opened.manifest.space(name)
    rerank = list(dict.fromkeys(reranker_named(way).name for way in wanted.rerank))
    if wanted.query_ids is not None:
        images = opened.images
        queries = np.isin(images.ids, wanted.query_ids)
        if not (images.labels[queries] >= 0).any():
            raise BadOptionError("none of the selected images has a class, so there is nothing to measure")
        # Ids that are of no image are not stored: every page reads what is stored of an evaluation.
        wanted = wanted.model_copy(update={"query_ids": images.ids[queries].tolist()})
    request = wanted.model_dump(exclude_none=True) | {
        "spaces": spaces,
        "fusions": [fusion.name for fusion in fusions],
        "rerank": rerank,
    }
    return shared.jobs.start(request, lambda job: run_process(shared.served.path, job))


def _compared(pair: RunPair) -> RunComparison:
    shared = state()
    first, second = (stored_evaluation(shared.served.path, one) for one in (pair.first, pair.second))
    with shared.drawings.slot():
        return compare_runs(shared.served.path, first, second, pair.measure)


def _others(evaluation: StoredEvaluation) -> list[tuple[StoredEvaluation, str | None]]:
    """The other evaluations that are stored, the newest first, each with why it cannot be compared with this one."""
    stored = stored_evaluations(state().served.path)
    return [(other, why_apart(other, evaluation)) for other in stored if other.id != evaluation.id]


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
