"""The evaluation inside the site: the report's parts, in the site's frame and under its strict policy."""

from __future__ import annotations

import re
from importlib.resources import files

from flask import Blueprint, Response, get_template_attribute, redirect, render_template, request, send_file, url_for
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
    state_of,
)
from retrieval.report.thumbnails import GONE, pictures_shown_by
from web.blueprints.evaluations import Request, start_evaluation
from web.described import linker
from web.rate import limited
from web.state import state

blueprint = Blueprint("report", __name__, url_prefix="/evaluation")

_EXPLAINED = {name: meaning for names, meaning in DEFINITIONS for name in names.split(", ")}
_HEADING = re.compile(r"(?<=<th>)([^<>]+)(?=</th>)")


@blueprint.get("/")
def page() -> str:
    """The latest evaluation or an older one that is kept, one part at a time, and a way to start one."""
    held = state()
    collection = held.live.searcher.collection
    kept = kept_evaluations(held.live.path)
    facts = {"job": held.jobs.latest(), "kept": kept}
    if not kept:
        return render_template("report.html", **facts)
    chosen = _chosen()
    report = report_of(held.live.path, chosen)
    wanted = request.args.get("part", report.sections[0][1])
    found = [section for section in report.sections if section[1] == wanted]
    if not found:
        raise NotEvaluatedError(f"this evaluation has no part '{wanted[:80]}'")
    anchor, name, html = found[0]
    groups = [group for group in report.points if group.startswith(anchor.replace("space", "map") + "-")]
    return render_template(
        "report.html",
        **facts,
        done=chosen,
        changed=chosen.images != state_of(collection),
        names=[name for _, name, _ in report.sections],
        part=name,
        head=report.head,
        html=_explained(pictures_shown_by(_linked_picture, html)),
        files=FILES,
        map_points={
            "points": {group: report.points[group] for group in groups},
            "classes": {group: report.classes[group] for group in groups},
            "place": linker()(0)["thumbnail"].replace("/0/", "/ID/"),
        },
    )


@blueprint.post("/")
@limited
def start() -> BaseResponse:
    """Start an evaluation of every space."""
    start_evaluation(Request.model_validate({"protocol": request.form.get("protocol", "leave-cluster-out")}))
    return redirect(url_for("report.page"), 303)


@blueprint.get("/report.html")
@limited
def whole() -> Response:
    """The whole report as one self-contained file."""
    from retrieval.report.writing import as_page

    held = state()
    report = report_of(held.live.path, _chosen())
    with held.gate.enter():
        text = as_page(report, held.live.searcher.collection)
    return Response(text, mimetype="text/html", headers={"Content-Disposition": "attachment; filename=report.html"})


@blueprint.get("/files/<name>")
def file(name: str) -> Response:
    """One of the report's files for papers and programs."""
    if name not in FILES:
        raise NotEvaluatedError(f"an evaluation has the files {', '.join(FILES)}")
    place = file_of(state().live.path, _chosen(), name)
    return send_file(place, mimetype=FILES[name], as_attachment=True, download_name=name, max_age=0)


@blueprint.get("/report.css")
def style() -> Response:
    """The report's own style, for what lies inside an element of the class `report`."""
    return Response(f".report {{\n{_own('page.css')}}}\n", mimetype="text/css")


@blueprint.get("/report.js")
def script() -> Response:
    """The report's own script, on the points that the page holds as JSON."""
    points = 'const pictures = JSON.parse(document.getElementById("points").textContent);\n'
    return Response(points + _own("page.js"), mimetype="text/javascript")


def _chosen() -> KeptEvaluation:
    """The evaluation that the address names, or else the latest. Raises NotEvaluatedError."""
    return kept_evaluation(state().live.path, request.args.get("evaluation"))


def _own(name: str) -> str:
    return (files("retrieval.report") / name).read_text("utf-8")


def _linked_picture(image: int) -> str:
    if image not in state().live.searcher.collection.images.ids:
        return GONE
    address = escape(linker()(image)["thumbnail"])
    place = url_for("browse.image", image_id=image)
    return f'<a href="{place}"><img class="picture" src="{address}" alt="image {image}" loading="lazy"></a>'


def _explained(html: str) -> str:
    """Headings of tables with their measure's definition one hover away."""
    term = get_template_attribute("parts.html", "term")

    def heading(found: re.Match[str]) -> str:
        meaning = _EXPLAINED.get(re.sub(r"@\d+$", "@k", found[1]))
        return str(term(found[1], meaning)) if meaning else found[0]

    return re.sub(r"<thead>.*?</thead>", lambda head: _HEADING.sub(heading, head[0]), html, flags=re.DOTALL)
