"""/api/v1/evaluations: evaluations as jobs with progress."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import AfterValidator, ConfigDict, Field

from retrieval.evaluation.choices import Measuring
from retrieval.report.kept import KeptEvaluation, kept_evaluation, result_of
from web import answers
from web.answers import replies
from web.evaluating import evaluate
from web.fields import Fields
from web.jobs import Job
from web.question import Name, UnsupportedBodyError, once
from web.rate import limited
from web.state import state

api = APIBlueprint("evaluations", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="evaluations")])


class EvaluationPath(Fields):
    """An evaluation."""

    evaluation_id: str = Field(min_length=1, max_length=64)


class Request(Fields):
    """What to evaluate."""

    model_config = ConfigDict(extra="forbid")

    spaces: Annotated[list[Name] | None, AfterValidator(once)] = Field(
        None, min_length=1, description="Spaces to evaluate; all by default."
    )
    protocol: Literal["leave-one-out", "leave-cluster-out"] = Field(
        "leave-cluster-out", description="What each image is searched in: all others, or all but its near duplicates."
    )
    samples: int = Field(Measuring.samples, ge=0, le=2000, description="Bootstrap samples for intervals; 0 for none.")


_BODY = {"required": True, "content": {"application/json": {"schema": Request.model_json_schema()}}}


@api.post(
    "/evaluations",
    operation_id="start_evaluation",
    openapi_extensions={"requestBody": _BODY},
    responses=replies({"202": answers.Evaluation}, 400, 401, 408, 409, 413, 415, 422, 429),
)
@limited
def start() -> tuple[Response, int, dict[str, str]]:
    """Start an evaluation; ask for its progress where Location points. One runs at a time."""
    if request.mimetype != "application/json":
        raise UnsupportedBodyError("say what to evaluate in JSON; {} evaluates every space")
    wanted = Request.model_validate_json(request.get_data(), strict=True)
    job = start_evaluation(wanted)
    place = url_for("evaluations.evaluation", evaluation_id=job.id)
    return jsonify(described_job(job)), 202, {"Location": place}


def start_evaluation(wanted: Request) -> Job:
    """Start a job. Raises JobRunningError, SpaceNameError."""
    held = state()
    collection = held.live.searcher.collection
    spaces = wanted.spaces or [space.name for space in collection.spaces]
    for name in spaces:
        collection.manifest.space(name)
    return held.jobs.start(
        wanted.model_dump() | {"spaces": spaces},
        lambda job: evaluate(held.live.path, KeptEvaluation(job.id, job.created, job.request), job.advance),
    )


@api.get(
    "/evaluations/<evaluation_id>",
    operation_id="get_evaluation",
    responses=replies({"200": answers.Evaluation}, 400, 401, 404, 422),
)
def evaluation(path: EvaluationPath) -> Response:
    """An evaluation's progress, and its result once it is done."""
    held = state()
    job = held.jobs.get(path.evaluation_id)
    if job is not None and job.state != "done":
        return jsonify(described_job(job))
    kept = kept_evaluation(held.live.path, path.evaluation_id)
    done = Job(kept.id, kept.request, kept.created, "done", 1.0)
    return jsonify(described_job(done, result_of(held.live.path, kept)))


def described_job(job: Job, result: dict[str, Any] | None = None) -> dict[str, Any]:
    """A job as the API gives it."""
    return {
        "id": job.id,
        "state": job.state,
        "progress": job.progress,
        "created": job.created,
        "request": job.request,
        "error": job.error,
        "result": result,
    }
