"""Maps of spaces: GET /api/v1/map, and the page on which they are looked at and images are selected."""

from __future__ import annotations

import numpy as np
from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from werkzeug.wrappers import Response as BaseResponse

from retrieval.report.palette import CLASS_COLOURS
from retrieval.report.render import MAP_SCRIPTS, map_script
from retrieval.report.store import stored_evaluation
from retrieval.space_map.store import load_map
from retrieval.tables import csv_rows
from web import responses
from web.context import collection, state
from web.errors import BadOptionError
from web.jobs import run_process
from web.limits import rate_limited
from web.pages.forms import form_ids
from web.problems import without_server_paths
from web.requests import MapQuery, require_single
from web.search import MAX_PARTS
from web.space_maps import map_to_dict

api = APIBlueprint("maps", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="maps")])
blueprint = Blueprint("map", __name__, url_prefix="/map")


@api.get(
    "/map",
    operation_id="get_map",
    responses=responses.operation({"200": responses.SpaceMap}, 400, 401, 404, 422, 429, 503),
)
@rate_limited
def space_map(query: MapQuery) -> Response:
    """The images of a space in two dimensions, laid out by `kvasir map` or on the page Map, as columns."""
    with state().drawings.slot():  # twenty thousand images: searches must not wait for it
        return jsonify(map_to_dict(collection(), query.space or _first_space()))


@blueprint.get("/")
def page() -> str:
    """One or two spaces as maps; where one is not laid out yet, how to do it. The queries of an evaluation that the
    address names are selected, where these were selected ones.
    """
    require_single(request.args)
    opened = collection()
    if not opened.spaces or not len(opened):
        return render_template("map.html", spaces=[], panels=[])
    first = opened.manifest.space(request.args.get("space") or _first_space()).name
    beside = request.args.get("beside")
    names = [first, *([opened.manifest.space(beside).name] if beside else [])]
    job = state().layouts.latest()
    evaluation = request.args.get("evaluation")
    queries = () if evaluation is None else stored_evaluation(opened.path, evaluation).request.get("query_ids", ())
    return render_template(
        "map.html",
        spaces=[space.name for space in opened.spaces],
        panels=[{"space": name, "map": load_map(opened, name)} for name in names],
        layout=None if job is None else {"state": job.state, "progress": job.progress, "spaces": job.request["spaces"]},
        fault=without_server_paths(job.error, {}) if job is not None and job.error else None,
        facts={
            "colours": CLASS_COLOURS,
            "thumbnail": f"{request.script_root}/api/v1/images/{{image}}/thumbnail",
            "image": f"{request.script_root}/collection/images/{{image}}",
            "results": url_for("pages.results"),
            "most_parts": MAX_PARTS,
            "selected": np.intersect1d(np.array(queries, np.int64), opened.images.ids).tolist(),
        },
    )


@blueprint.post("/")
@rate_limited
def lay_out() -> BaseResponse:
    """Lay out spaces in the background, and lead back to the page. Raises JobRunningError, SpaceNameError."""
    opened, shared = collection(), state()
    names = list(dict.fromkeys(opened.manifest.space(name).name for name in request.form.getlist("space")))
    if not names:
        raise BadOptionError("name a space to lay out")
    shared.layouts.start({"spaces": names}, lambda job: run_process(shared.served.path, job))
    shown, beside = request.form.get("shown"), request.form.get("beside") or None
    return redirect(url_for("map.page", space=shown, beside=beside), 303)


@blueprint.get("/progress")
def progress() -> Response:
    """How far the layout is that was started last."""
    job = state().layouts.latest()
    done = {"state": "done", "progress": 1.0}
    return jsonify(done if job is None else {"state": job.state, "progress": job.progress})


@blueprint.post("/selection.csv")
@rate_limited
def selection() -> Response:
    """The selected images as a table: id, file, class, cluster, scene, and their places on the maps that are shown."""
    ids = form_ids(request.form.get("ids", ""))
    opened = collection()
    images = opened.images
    maps = {name: load_map(opened, name) for name in dict.fromkeys(request.form.getlist("space"))}
    places = {
        name: dict(zip(made.ids.tolist(), made.places.tolist(), strict=True)) if made else {}
        for name, made in maps.items()
    }
    rows: list[list[object]] = [["id", "file", "class", "cluster", "scene"]]
    rows[0] += [f"{axis} {name}" for name in places for axis in ("x", "y")]
    for image, at in zip(ids, np.searchsorted(images.ids, ids).tolist(), strict=True):
        label = int(images.labels[at])
        rows.append(
            [
                image,
                images.files[at],
                images.classes[label] if label >= 0 else "",
                int(images.clusters[at]),
                int(images.scenes[at]),
                *(value for name in places for value in places[name].get(image, ("", ""))),
            ]
        )
    headers = {"Content-Disposition": "attachment; filename=selection.csv"}
    return Response(csv_rows(rows), mimetype="text/csv", headers=headers)


@blueprint.get("/<name>")
def script(name: str) -> BaseResponse:
    """A script that the page and the report's file share."""
    if name not in MAP_SCRIPTS:
        abort(404)
    return Response(map_script(name), mimetype="text/javascript").make_conditional(request)


def _first_space() -> str:
    """The space that is searched by default, which is where a map begins."""
    default = collection().manifest.default
    return default.name if default is not None else collection().spaces[0].name
