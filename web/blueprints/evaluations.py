"""/api/v1/evaluations: evaluations as jobs with progress."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from web import answers
from web.answers import replies
from web.jobs import Job
from web.state import state

api = APIBlueprint("evaluations", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="evaluations")])


class EvaluationPath(BaseModel):
    """An evaluation."""

    evaluation_id: str = Field(min_length=1, max_length=64)


@api.get(
    "/evaluations/<evaluation_id>",
    operation_id="get_evaluation",
    responses=replies({"200": answers.Evaluation}, 400, 401, 404, 422),
)
def evaluation(path: EvaluationPath) -> Response:
    """An evaluation's progress, and its result once it is done."""
    return jsonify(described_job(state().jobs.get(path.evaluation_id)))


def described_job(job: Job) -> dict[str, Any]:
    """A job as the API gives it."""
    return {
        "id": job.id,
        "state": job.state,
        "progress": job.progress,
        "created": job.created,
        "request": job.request,
        "error": job.error,
        "result": job.result,
    }
