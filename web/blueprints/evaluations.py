"""Evaluations as background jobs: /api/v1/evaluations, and the page that shows their reports."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from flask import (
    Blueprint,
    Response,
    get_template_attribute,
    jsonify,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from flask_openapi3 import APIBlueprint, Tag
from markupsafe import escape
from werkzeug.wrappers import Response as BaseResponse

from retrieval.report.definitions import DEFINITIONS
from retrieval.report.kept import (
    FILES,
    KeptEvaluation,
    NotEvaluatedError,
    file_of,
    kept_evaluation,
    kept_evaluations,
    report_of,
    result_of,
    state_of,
)
from retrieval.report.thumbnails import GONE, pictures_shown_by
from web import responses
from web.context import collection, state
from web.errors import UnsupportedBodyError
from web.jobs import Job, evaluate
from web.limits import rate_limited
from web.problems import without_server_paths
from web.requests import EvaluationPath, EvaluationRequest
from web.responses import image_links

api = APIBlueprint("evaluations", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="evaluations")])
blueprint = Blueprint("report", __name__, url_prefix="/evaluation")

_BODY = {"required": True, "content": {"application/json": {"schema": EvaluationRequest.model_json_schema()}}}
_MEASURES = {name: meaning for names, meaning in DEFINITIONS for name in names.split(", ")}
_HEADING = re.compile(r"(?<=<th>)([^<>]+)(?=</th>)")


@api.post(
    "/evaluations",
    operation_id="start_evaluation",
    openapi_extensions={"requestBody": _BODY},
    responses=responses.operation({"202": responses.Evaluation}, 400, 401, 408, 409, 413, 415, 422, 429),
)
@rate_limited
def start() -> tuple[Response, int, dict[str, str]]:
    """Start an evaluation; ask for its progress where Location points. One runs at a time."""
    if request.mimetype != "application/json":
        raise UnsupportedBodyError("say what to evaluate in JSON; {} evaluates every space")
    job = _start(EvaluationRequest.model_validate_json(request.get_data(), strict=True))
    address = url_for("evaluations.evaluation", evaluation_id=job.id)
    return jsonify(_job_to_dict(job)), 202, {"Location": address}


@api.get(
    "/evaluations/<evaluation_id>",
    operation_id="get_evaluation",
    responses=responses.operation({"200": responses.Evaluation}, 400, 401, 404, 422),
)
def evaluation(path: EvaluationPath) -> Response:
    """An evaluation's progress, and its result once it is done."""
    shared = state()
    job = shared.jobs.get(path.evaluation_id)
    if job is not None and job.state != "done":
        return jsonify(_job_to_dict(job))
    stored = kept_evaluation(shared.served.path, path.evaluation_id)
    done = Job(stored.id, stored.request, stored.created, "done", 1.0)
    return jsonify(_job_to_dict(done, result_of(shared.served.path, stored)))


@blueprint.get("/")
def page() -> str:
    """The latest evaluation or an older one that is stored, one part at a time, and a way to start one."""
    shared = state()
    stored = kept_evaluations(shared.served.path)
    job = shared.jobs.latest()
    facts = {"job": job and _job_to_dict(job), "stored": stored}
    if not stored:
        return render_template("report.html", **facts)
    chosen = _chosen()
    report = report_of(shared.served.path, chosen)
    part = request.args.get("part", report.sections[0][1])
    section = next((section for section in report.sections if section[1] == part), None)
    if section is None:
        raise NotEvaluatedError(f"this evaluation has no part '{part[:80]}'")
    anchor, name, html = section
    groups = [group for group in report.points if group.startswith(anchor.replace("space", "map") + "-")]
    return render_template(
        "report.html",
        **facts,
        done=chosen,
        changed=chosen.images != state_of(collection()),
        names=[name for _, name, _ in report.sections],
        part=name,
        head=report.head,
        html=_with_definitions(pictures_shown_by(_linked_picture, html)),
        files=FILES,
        map_points={
            "points": {group: report.points[group] for group in groups},
            "classes": {group: report.classes[group] for group in groups},
            "place": image_links()(0)["thumbnail"].replace("/0/", "/ID/"),
        },
    )


@blueprint.post("/")
@rate_limited
def start_from_page() -> BaseResponse:
    """Start an evaluation of every space."""
    _start(EvaluationRequest.model_validate({"protocol": request.form.get("protocol", "leave-cluster-out")}))
    return redirect(url_for("report.page"), 303)


@blueprint.get("/report.html")
@rate_limited
def whole() -> Response:
    """The whole report as one self-contained file."""
    from retrieval.report.writing import as_page

    shared = state()
    report = report_of(shared.served.path, _chosen())
    with shared.searches.slot():
        text = as_page(report, collection())
    return Response(text, mimetype="text/html", headers={"Content-Disposition": "attachment; filename=report.html"})


@blueprint.get("/files/<name>")
def file(name: str) -> Response:
    """One of the report's files for papers and programs."""
    if name not in FILES:
        raise NotEvaluatedError(f"an evaluation has the files {', '.join(FILES)}")
    path = file_of(state().served.path, _chosen(), name)
    return send_file(path, mimetype=FILES[name], as_attachment=True, download_name=name, max_age=0)


@blueprint.get("/report.css")
def style() -> Response:
    """The report's own style, for what lies inside an element of the class `report`."""
    return Response(f".report {{\n{_own('page.css')}}}\n", mimetype="text/css")


@blueprint.get("/report.js")
def script() -> Response:
    """The report's own script, on the points that the page holds as JSON."""
    points = 'const pictures = JSON.parse(document.getElementById("points").textContent);\n'
    return Response(points + _own("page.js"), mimetype="text/javascript")


def _start(wanted: EvaluationRequest) -> Job:
    """Start a job. Raises JobRunningError, SpaceNameError."""
    shared, opened = state(), collection()
    spaces = wanted.spaces or [space.name for space in opened.spaces]
    for name in spaces:
        opened.manifest.space(name)
    request = wanted.model_dump() | {"spaces": spaces}
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


def _chosen() -> KeptEvaluation:
    """The evaluation that the address names, or else the latest. Raises NotEvaluatedError."""
    return kept_evaluation(state().served.path, request.args.get("evaluation"))


def _own(name: str) -> str:
    return (files("retrieval.report") / name).read_text("utf-8")


def _linked_picture(image: int) -> str:
    if collection().images.position(image) is None:
        return GONE
    address = escape(image_links()(image)["thumbnail"])
    page = url_for("browse.image", image_id=image)
    return f'<a href="{page}"><img class="picture" src="{address}" alt="image {image}" loading="lazy"></a>'


def _with_definitions(html: str) -> str:
    """Headings of tables with their measure's definition one hover away."""
    term = get_template_attribute("parts.html", "term")

    def heading(cell: re.Match[str]) -> str:
        meaning = _MEASURES.get(re.sub(r"@\d+$", "@k", cell[1]))
        return str(term(cell[1], meaning)) if meaning else cell[0]

    return re.sub(r"<thead>.*?</thead>", lambda head: _HEADING.sub(heading, head[0]), html, flags=re.DOTALL)
