"""Train an encoder's last blocks on the classes of a collection, and write it as a weights file.

The loss is a normalised softmax on the last layer's embedding (Zhai and Wu, BMVC 2019), every class drawn equally
often. Clusters of near duplicates that were put aside validate each epoch, and the best epoch's weights are written.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from retrieval.collection import Collection, SpaceDefinition
from retrieval.disk import write_atomically
from retrieval.encoders import Recipe, rebuild_tower
from retrieval.encoders.stages import StageStatistics
from retrieval.encoders.tower_module import Tower
from retrieval.errors import LearningError
from retrieval.finetune.blocks import NotTunableError, Parted
from retrieval.finetune.inputs import stored_inputs
from retrieval.learn.model import NothingToLearnError
from retrieval.learn.selection import mean_figures
from retrieval.learn.view_cache import prepared_views
from retrieval.learn.views import views_named
from retrieval.spaces import open_space
from retrieval.splits import cluster_numbers, stratified_parts

SCALE, SMOOTHING = 16.0, 0.05
VALIDATION = 0.15
"""Share of the images, by clusters, that validate."""
PATIENCE = 4
"""Epochs without a better one after which training ends."""
HEAD_RATE, DECAY = 1e-2, 1e-2
_DIGEST = 32
"""Bytes of a SHA-256."""


class DamagedTrainingError(LearningError):
    """What a training that was stopped has stored is damaged."""


@dataclass(frozen=True)
class FinetuneOptions:
    """blocks: the last ones that are trained. views: of each picture beside itself, as `views_named` reads them.
    minutes: after which training ends with its epoch; None for no limit. rate: the largest of the blocks' learning
    rate, by one cycle.
    """

    blocks: int = 2
    views: str = "varied:5"
    epochs: int = 20
    minutes: float | None = None
    rate: float = 1e-3
    batch: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Expected:
    """What a run is expected to take, in seconds, from a step that was timed: views, then at most all epochs."""

    views: float
    epochs: float


@dataclass(frozen=True, eq=False)
class Tuned:
    """What a run made.

    state: named tensors of the whole network. images: ids that it has seen, those that validated included.
    before, after: precision@1 and mAP of the validation images, searched in the training images by the last layer's
    embedding. epoch: the best one, 0 for the encoder as it was; epochs: how many ran.
    """

    state: dict[str, torch.Tensor]
    recipe: Recipe
    images: NDArray[np.int64]
    classes: list[str]
    before: dict[str, float]
    after: dict[str, float]
    epoch: int
    epochs: int
    trained: int


def finetune(
    collection: Collection,
    definition: SpaceDefinition,
    part: NDArray[np.int64] | None,
    options: FinetuneOptions,
    folder: Path,
    device: str = "cpu",
    expected: Callable[[Expected], None] = lambda seconds: None,
    progress: Callable[[str, int, int], None] = lambda task, done, total: None,
) -> Tuned:
    """Train the encoder of a space further. part: rows of the collection's images, all with a class where None.

    folder: where a run that was stopped finds what it had done; a run with other options or images starts anew there.
    Raises NothingToLearnError, NotTunableError, UnknownViewsError, what `rebuild_tower` raises, and DiskFullError.
    """
    began = time.monotonic()
    space = open_space(collection.path, definition, "indexing")
    recipe = space.encoder_recipe
    if recipe is None:
        raise NotTunableError(f"the space '{space.name}' has no encoder that could be trained")
    tower = rebuild_tower(recipe).to(device)
    network = _network(tower)
    parted = Parted(network, options.blocks, recipe.size)
    images = collection.images
    rows = np.flatnonzero(images.labels >= 0)
    rows = rows if part is None else np.intersect1d(rows, part)
    if len(np.unique(images.labels[rows])) < 2:
        raise NothingToLearnError(f"{collection.path} has fewer than two classes to learn from")
    folder = _own_folder(folder, recipe, images.ids[rows], options)
    width, height = recipe.size
    sample = torch.randint(0, 256, (4, height, width, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    parted.to(device)
    parted.require_same(tower.pixels(sample.to(device)))
    run = _Run(parted, images.labels[rows], images.scenes[rows], options, device)
    views = views_named(options.views)
    start = time.perf_counter()
    prepared_views(collection, space, [None, *views], int(images.ids[rows[0]]))
    expected(run.expected(tower, len(rows), time.perf_counter() - start))
    ids, shards = stored_inputs(collection, space, tower, parted, images.ids[rows], views, folder, device, progress)
    run.choose(np.isin(images.ids[rows], ids), shards)
    deadline = None if options.minutes is None else began + 60 * options.minutes
    run.train(folder / "epoch.state", deadline, progress)
    return Tuned(
        state={name: value.detach().cpu().clone() for name, value in run.best_state().items()},
        recipe=recipe,
        images=ids,
        classes=[collection.classes[label] for label in np.unique(run.labels)],
        before=run.history[0],
        after=run.history[run.best],
        epoch=run.best,
        epochs=len(run.history) - 1,
        trained=parted.trained,
    )


def _load_state(path: Path, device: str) -> dict[str, Any]:
    """The state after the last epoch, which is stored after its SHA-256. Raises DamagedTrainingError."""
    data = path.read_bytes()
    digest, state = data[:_DIGEST], data[_DIGEST:]
    if sha256(state).digest() != digest:
        raise DamagedTrainingError(f"{path} is damaged; remove it, and the training begins with its first epoch again")
    stored: dict[str, Any] = torch.load(io.BytesIO(state), map_location=device, weights_only=True)
    return stored


def _network(tower: Tower) -> torch.nn.Module:
    """The library's own model in a tower, which gives the last layer's embedding."""
    model: Any = tower.image_model
    if isinstance(model, StageStatistics):
        model = model.model
    network: torch.nn.Module = getattr(model, "visual", model)
    return network


def _own_folder(folder: Path, recipe: Recipe, ids: NDArray[np.int64], options: FinetuneOptions) -> Path:
    """The subfolder of this very run: what another one left is not gone on with."""
    same = {name: value for name, value in asdict(options).items() if name != "minutes"}
    key = sha256(repr((recipe.weights, recipe.fit, recipe.size, sorted(same.items()))).encode() + ids.tobytes())
    folder = folder / key.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Run:
    """The state of a training: the late blocks, the head, the optimiser, the best epoch so far."""

    def __init__(
        self,
        parted: Parted,
        labels: NDArray[np.integer[Any]],
        clusters: NDArray[np.int64],
        options: FinetuneOptions,
        device: str,
    ) -> None:
        self.parted, self.options, self.device = parted, options, device
        self._frames = 1 + len(views_named(options.views))
        self.labels, self.clusters = labels.astype(np.int64), clusters
        self.history: list[dict[str, float]] = []
        self.best = 0
        self._names = [name for name, value in parted.late.named_parameters() if value.requires_grad]
        self._best_state: dict[str, torch.Tensor] = self._trained()
        self._shards: Sequence[NDArray[np.float16]] = ()

    def expected(self, tower: Tower, count: int, prepared: float) -> Expected:
        """Times one pass of the early part, and one step of training, each after one that warms up.

        prepared: seconds that the views of a picture take before.
        """
        options = self.options
        width, height = tower.recipe.size
        pictures = torch.zeros(self._frames, height, width, 3, dtype=torch.uint8, device=self.device)
        early = late = 0.0
        for _ in range(2):
            start = time.perf_counter()
            inputs = self.parted.early(tower.pixels(pictures))
            early = time.perf_counter() - start
            batch = inputs[:1].clone().expand(options.batch, *inputs.shape[1:])
            start = time.perf_counter()
            with torch.enable_grad():
                self.parted.embed(batch).square().sum().backward()  # type: ignore[no-untyped-call]
            late = time.perf_counter() - start
        self.parted.late.zero_grad()
        self.dimension = int(self.parted.embed(inputs[:1]).shape[1])
        # A third more for validation and for reading what is stored.
        return Expected(1.33 * (early + prepared) * count, 1.33 * late * options.epochs * self._steps(count))

    def _steps(self, count: int) -> int:
        return max(1, int((1 - VALIDATION) * count * self._frames / 2 / self.options.batch))

    def choose(self, readable: NDArray[np.bool_], shards: Sequence[NDArray[np.float16]]) -> None:
        """Part the images whose picture could be read into training and validation."""
        self.labels, self.clusters = self.labels[readable], self.clusters[readable]
        self._shards = shards
        self._ends = np.cumsum([len(shard) for shard in shards])
        numbers = cluster_numbers(self.clusters)
        parts = stratified_parts(self.labels, numbers, (1 - VALIDATION, VALIDATION), self.options.seed)
        self.training, self.validating = np.flatnonzero(parts == 0), np.flatnonzero(parts == 1)
        if not len(self.validating) or len(np.unique(self.labels[self.training])) < 2:
            raise NothingToLearnError("too few clusters of near duplicates in each class to validate")

    def _inputs(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> torch.Tensor:
        """Stored inputs of images (b,) in views (b,)."""
        shard = np.searchsorted(self._ends, rows, side="right")
        first = np.concatenate([[0], self._ends])[shard]
        taken = [self._shards[s][r, v] for s, r, v in zip(shard, rows - first, views, strict=True)]
        return torch.from_numpy(np.stack(taken)).float().to(self.device)

    def train(self, path: Path, deadline: float | None, progress: Callable[[str, int, int], None]) -> None:
        """Train to the end, or go on where a run that was stopped stored its last epoch."""
        options = self.options
        taught, targets = np.unique(self.labels[self.training], return_inverse=True)
        generator = torch.Generator().manual_seed(options.seed)
        head = torch.nn.Parameter(torch.randn(len(taught), self.dimension, generator=generator).to(self.device))
        own = dict(self.parted.late.named_parameters())
        groups = [
            {"params": [own[name] for name in self._names], "lr": options.rate},
            {"params": [head], "lr": HEAD_RATE},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=DECAY)
        steps = self._steps(len(self.labels))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, [options.rate, HEAD_RATE], total_steps=options.epochs * steps, pct_start=0.2
        )
        if path.is_file():
            stored = _load_state(path, self.device)
            self.history, self.best, self._best_state = stored["history"], stored["best"], stored["best_state"]
            self.parted.late.load_state_dict(stored["late"], strict=False)
            optimiser.load_state_dict(stored["optimiser"])
            schedule.load_state_dict(stored["schedule"])
            generator.set_state(stored["generator"].cpu())
            with torch.no_grad():
                head.copy_(stored["head"])
        else:
            self.history.append(self._validate())
        share = torch.tensor(1 / np.bincount(targets)[targets])
        for epoch in range(len(self.history), options.epochs + 1):
            progress("epochs", epoch - 1, options.epochs)
            if epoch - self.best > PATIENCE or (deadline is not None and time.monotonic() > deadline):
                break
            self._set_training()
            for _ in range(steps):
                chosen = torch.multinomial(share, options.batch, replacement=True, generator=generator).numpy()
                views = torch.randint(0, self._frames, (options.batch,), generator=generator).numpy()
                inputs = self._inputs(self.training[chosen], views)
                wanted = torch.from_numpy(targets[chosen]).to(self.device)
                embedded = functional.normalize(self.parted.embed(inputs), dim=1)
                logits = SCALE * embedded @ functional.normalize(head, dim=1).T
                loss = functional.cross_entropy(logits, wanted, label_smoothing=SMOOTHING)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
            self.history.append(self._validate())
            if sum(self.history[epoch].values()) > sum(self.history[self.best].values()):
                self.best, self._best_state = epoch, self._trained()
            stored = {
                "history": self.history,
                "best": self.best,
                "best_state": self._best_state,
                "late": self._trained(),
                "head": head.detach(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
            }
            data = io.BytesIO()
            torch.save(stored, data)
            write_atomically(path, sha256(data.getvalue()).digest() + data.getvalue())
        progress("epochs", options.epochs, options.epochs)

    def _set_training(self) -> None:
        """Dropout and the like run; batch normalisation keeps its statistics, which small batches would spoil."""
        self.parted.late.train()
        for module in self.parted.late.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()

    def _validate(self) -> dict[str, float]:
        """precision@1 and mAP of the validation images among the training images."""
        self.parted.late.eval()
        vectors = []
        everything = np.arange(len(self.labels))
        with torch.inference_mode():
            for first in range(0, len(everything), self.options.batch):
                rows = everything[first : first + self.options.batch]
                embedded = self.parted.embed(self._inputs(rows, np.zeros_like(rows)))
                vectors.append(functional.normalize(embedded, dim=1).cpu().numpy())
        directions = np.concatenate(vectors)
        similar = directions[self.validating] @ directions[self.training].T
        relevant = self.labels[self.validating][:, None] == self.labels[self.training][None]
        return mean_figures(similar, relevant)

    def _trained(self) -> dict[str, torch.Tensor]:
        own = dict(self.parted.late.named_parameters())
        return {name: own[name].detach().cpu().clone() for name in self._names}

    def best_state(self) -> dict[str, torch.Tensor]:
        """Named tensors of the whole network at its best epoch."""
        return {**self.parted.state(), **self._best_state}
