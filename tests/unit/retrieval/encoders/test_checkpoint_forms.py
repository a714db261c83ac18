"""Every form in which training tools write weights gives the embedding of the plain file, or says what it is."""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import pathlib
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.encoders import UnreadableWeightsError, WeightsMismatchError, build_tower
from retrieval.encoders.fitting import Target, fit
from retrieval.encoders.preprocessing import EncoderOptions
from retrieval.encoders.tower_module import Tower

State = dict[str, torch.Tensor]
Build = Callable[..., Tower]
Embed = Callable[[Tower], np.ndarray]


def prefixed(state: State, prefix: str) -> State:
    return OrderedDict((prefix + name, value) for name, value in state.items())


def other(state: State) -> State:
    """The same names with other values."""
    return {name: value.flip(0) if value.ndim > 1 else value for name, value in state.items()}


def check(build: Build, embed: Embed, state: State, content: Any) -> Tower:
    plain, tower = build("timm:test_resnet", state, "plain.pt"), build("timm:test_resnet", content, "form.pt")
    assert np.array_equal(embed(plain), embed(tower))
    assert plain.recipe.weights == tower.recipe.weights
    return tower


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "visual.trunk.", "vision_model."),
        *("module._orig_mod.", "_orig_mod.module.", "model._orig_mod.", "module.model.", "model.backbone._orig_mod."),
        *("module.module.", "net.encoder.model.", "teacher.backbone."),
    ],
)
def test_prefixes_are_taken_off_in_any_order(build: Build, embed: Embed, resnet_state: State, prefix: str) -> None:
    check(build, embed, resnet_state, prefixed(resnet_state, prefix))
    check(build, embed, resnet_state, {"state_dict": prefixed(resnet_state, prefix), "epoch": 1})


@pytest.mark.slow
@pytest.mark.parametrize(
    "key",
    ["state_dict", "model", "model_state_dict", "net", "params", "weights", "ema", "teacher", "target_encoder", "xyz"],
)
def test_wrappers_are_opened_and_named_in_the_recipe(build: Build, embed: Embed, resnet_state: State, key: str) -> None:
    tower = check(
        build, embed, resnet_state, {key: resnet_state, "epoch": 3, "optimizer": {"state": {0: {"m": torch.ones(3)}}}}
    )
    assert tower.recipe.weights_key == key
    assert f"weights taken from '{key}'" in tower.recipe.notes


def test_wrappers_within_wrappers_are_opened(build: Build, embed: Embed, resnet_state: State) -> None:
    tower = check(build, embed, resnet_state, {"checkpoint": {"model": {"state_dict": resnet_state}}})
    assert tower.recipe.weights_key == "checkpoint.model.state_dict"


PAIRS = [
    ("model.", "ema_model.module."),
    ("model.", "model_ema.module."),
    ("module.model.", "module.ema_model.module."),
    ("backbone.", "backbone_momentum."),
    ("module.encoder_k.", "module.encoder_q."),
    ("module.student.backbone.", "module.teacher.backbone."),
    ("online_network.encoder.", "target_network.encoder."),
    ("cnn.", "averaged_cnn."),
]
"""Prefixes of two networks in one state, and of the one that is taken: the second."""


@pytest.mark.parametrize(("plain", "taken"), PAIRS)
def test_of_two_networks_in_one_state_the_averaged_is_taken_and_it_is_said(
    build: Build, embed: Embed, resnet_state: State, plain: str, taken: str
) -> None:
    state = {**prefixed(other(resnet_state), plain), **prefixed(resnet_state, taken), "dino_loss.center": torch.ones(1)}
    tower = check(build, embed, resnet_state, {"state_dict": state})
    assert any(note.startswith(f"weights of '{taken[:-1]}' taken") for note in tower.recipe.notes)


def test_the_key_chooses_one_of_two_networks_in_one_state(tmp_path: Path, embed: Embed, resnet_state: State) -> None:
    file, plain = tmp_path / "pair.pt", tmp_path / "plain.pt"
    pair = {**prefixed(resnet_state, "model."), **prefixed(other(resnet_state), "ema_model.module.")}
    torch.save({"state_dict": pair}, file)
    torch.save(resnet_state, plain)
    expected = embed(build_tower(f"timm:test_resnet/{plain}"))
    for key in ("state_dict.model", "model"):
        options = EncoderOptions(weights_key=key)
        assert np.array_equal(embed(build_tower(f"timm:test_resnet/{file}", options=options)), expected)


def test_a_second_network_that_lacks_a_tensor_is_surplus(build: Build, resnet_state: State) -> None:
    partial = dict(list(prefixed(other(resnet_state), "text.tower.").items())[1:])
    with pytest.raises(WeightsMismatchError, match=r"surplus: text\.tower"):
        build("timm:test_resnet", {**prefixed(resnet_state, "model."), **partial}, "partial.pt")


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module."])
def test_wrapped_parts_of_a_network_are_unwrapped(
    build: Build, embed: Embed, resnet_state: State, wrapper: str
) -> None:
    wrapped = {name.replace("layer1.0.", f"layer1.0.{wrapper}"): value for name, value in resnet_state.items()}
    assert wrapped.keys() != resnet_state.keys()
    check(build, embed, resnet_state, wrapped)


@pytest.mark.parametrize(
    ("wrapper", "place"),
    [("module", 1), ("module", 2), ("_orig_mod", 1), ("_forward_module", 0), ("module._orig_mod", 1), ("_module", 0)],
)
def test_wrappers_at_any_place_within_names_are_taken_off(
    build: Build, embed: Embed, resnet_state: State, wrapper: str, place: int
) -> None:
    """As DataParallel around a part leaves them: layer1.module.0.conv1.weight."""

    def wrapped(name: str) -> str:
        parts = name.split(".")
        return ".".join([*parts[:place], wrapper, *parts[place:]]) if place < len(parts) else name

    state = {wrapped(name): value for name, value in resnet_state.items()}
    check(build, embed, resnet_state, state)
    check(build, embed, resnet_state, {"state_dict": prefixed(state, "model.backbone.")})


def test_a_module_of_the_architecture_of_a_wrappers_name_stays(tmp_path: Path) -> None:
    target = Target({"mixer.module.0.weight": torch.Size([2])})
    state = {"module.mixer.module.0.weight": torch.ones(2)}
    assert fit({"": state}, target, "timm:x", "x").state == {"mixer.module.0.weight": state[next(iter(state))]}


@pytest.mark.parametrize("prefix", ["0.", "cnn.", "model.0.", "my_network.resnet."])
def test_a_network_under_any_name_is_taken_with_its_heads_left_out(
    build: Build, embed: Embed, resnet_state: State, prefix: str
) -> None:
    state = {name: value for name, value in resnet_state.items() if not name.startswith("fc.")}
    head = {"1.weight": torch.ones(2, 3)} if prefix == "0." else {"classifier.weight": torch.ones(2, 3)}
    check(build, embed, resnet_state, prefixed(state, prefix) | head)


def test_what_precedes_a_network_in_a_sequence_is_surplus(build: Build, resnet_state: State) -> None:
    with pytest.raises(WeightsMismatchError, match=r"1 surplus: 0\.weight"):
        build("timm:test_resnet", prefixed(resnet_state, "1.") | {"0.weight": torch.ones(3)})


@pytest.mark.parametrize("wrap", [lambda s: (s, 7), lambda s: [s], lambda s: [None, s], lambda s: {"model": (s, {})}])
def test_a_state_in_a_list_is_taken(
    build: Build, embed: Embed, resnet_state: State, wrap: Callable[[State], Any]
) -> None:
    check(build, embed, resnet_state, wrap(resnet_state))
    check(build, embed, resnet_state, wrap({"state_dict": prefixed(resnet_state, "module."), "epoch": 3}))


def test_of_two_states_in_a_list_it_is_said_which_is_taken(build: Build, embed: Embed, resnet_state: State) -> None:
    tower = check(build, embed, resnet_state, [resnet_state, other(resnet_state)])
    assert "weights taken from '0', not from 1" in tower.recipe.notes
    second = build("timm:test_resnet", [other(resnet_state), resnet_state], weights_key="1")
    assert second.recipe.weights == tower.recipe.weights


def test_pairs_of_names_and_tensors_are_a_state(build: Build, embed: Embed, resnet_state: State) -> None:
    check(build, embed, resnet_state, list(resnet_state.items()))


def shadow(state: State) -> dict[str, Any]:
    """What torch-ema writes."""
    return {"decay": 0.99, "num_updates": 5, "shadow_params": list(state.values()), "collected_params": None}


@pytest.mark.parametrize("key", ["ema", "model_ema", "averages"])
def test_averages_without_names_are_told_where_other_weights_are_taken(
    build: Build, embed: Embed, resnet_state: State, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    tower = check(build, embed, resnet_state, {"model": resnet_state, key: shadow(other(resnet_state))})
    told = f"not used: the weights under '{key}.shadow_params' are a list without names, as torch-ema writes"
    assert any(note.startswith(told) for note in tower.recipe.notes)
    assert told in caplog.text


@pytest.mark.parametrize(
    ("wrap", "key"), [(lambda s: s, "shadow_params"), (lambda s: {"ema": s, "epoch": 1}, "ema.shadow_params")]
)
def test_averages_without_names_alone_are_refused_as_what_they_are(
    build: Build, resnet_state: State, wrap: Callable[[Any], Any], key: str
) -> None:
    told = f"the weights under '{key}' are a list without names, as torch-ema writes"
    content = wrap(shadow(resnet_state))
    with pytest.raises(UnreadableWeightsError, match=told):
        build("timm:test_resnet", content)
    with pytest.raises(UnreadableWeightsError, match=told):
        build("timm:test_resnet", {"model": resnet_state, **content}, weights_key=key)


def test_an_average_that_a_callback_stores_goes_before_the_plain_weights(
    build: Build, embed: Embed, resnet_state: State
) -> None:
    callbacks = {"EMA": {"ema_state_dict": prefixed(resnet_state, "model.")}, "Best": {"score": torch.ones(())}}
    content = {"state_dict": prefixed(other(resnet_state), "model."), "callbacks": callbacks}
    assert check(build, embed, resnet_state, content).recipe.weights_key == "callbacks.EMA.ema_state_dict"


@pytest.mark.parametrize("measure", [{"mean": 0.91}, {"metrics": {"mean": 0.91, "std": 0.02}}])
def test_the_mean_of_a_measure_is_no_preprocessing(
    build: Build, embed: Embed, resnet_state: State, measure: dict[str, Any]
) -> None:
    tower = check(build, embed, resnet_state, {"state_dict": resnet_state, **measure})
    assert "weights file" not in tower.recipe.preprocessing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plain", "averaged"),
    [
        *(
            ("state_dict", "state_dict_ema"),
            ("state_dict", "model_ema"),
            ("model", "model_ema"),
            ("params", "params_ema"),
        ),
        *(
            ("model", "ema"),
            ("student", "teacher"),
            ("encoder", "target_encoder"),
            ("online_network", "target_network"),
        ),
    ],
)
@pytest.mark.parametrize("first", ["plain", "averaged"])
def test_averaged_weights_go_before_plain_ones_and_it_is_said(
    build: Build, embed: Embed, resnet_state: State, plain: str, averaged: str, first: str
) -> None:
    pairs = [(plain, other(resnet_state)), (averaged, resnet_state)]
    tower = check(build, embed, resnet_state, dict(pairs if first == "plain" else pairs[::-1]))
    assert tower.recipe.weights_key == averaged
    assert f"weights taken from '{averaged}', not from {plain}" in tower.recipe.notes


def test_the_key_that_is_asked_for_is_taken(build: Build, embed: Embed, resnet_state: State) -> None:
    content = {"state_dict": resnet_state, "state_dict_ema": other(resnet_state)}
    tower = build("timm:test_resnet", content, weights_key="state_dict")
    assert np.array_equal(embed(tower), embed(build("timm:test_resnet", resnet_state, "plain.pt")))
    with pytest.raises(UnreadableWeightsError, match=r"no weights under 'modle'; it has: state_dict, state_dict_ema"):
        build("timm:test_resnet", content, weights_key="modle")


def test_a_wrapper_that_is_none_is_passed_over(build: Build, embed: Embed, resnet_state: State) -> None:
    check(build, embed, resnet_state, {"state_dict": resnet_state, "state_dict_ema": None})


def test_an_average_that_does_not_fit_is_passed_over(build: Build, embed: Embed, resnet_state: State) -> None:
    tower = check(build, embed, resnet_state, {"model": resnet_state, "ema": {"decay": torch.tensor(0.99)}})
    assert tower.recipe.weights_key == "model"


def test_counters_heads_losses_and_metrics_are_left_out(build: Build, embed: Embed, resnet_state: State) -> None:
    averaged = OrderedDict([("n_averaged", torch.tensor(5)), *prefixed(resnet_state, "module.").items()])
    check(build, embed, resnet_state, averaged)
    lightning = prefixed(resnet_state, "model.") | {
        "criterion.weight": torch.ones(9),
        "train_accuracy.total": torch.zeros(()),
        "head.0.weight": torch.ones(3, 4),
        "fc.bias": torch.ones(3),
    }
    tower = check(build, embed, resnet_state, {"state_dict": lightning, "pytorch-lightning_version": "2.4"})
    assert "left out: criterion, fc, head, train_accuracy" in tower.recipe.notes
    counted = {name: torch.zeros(1) for name in ("module.total_ops", "module.layer1.0.total_ops", "total_params")}
    twins = {"module.projector.0.weight": torch.ones(3), "module.bn.running_mean": torch.ones(3)}
    names = ("accuracy.tp", "auroc.preds", "module.projection.0.weight", "module.cls.bias")
    metrics = {name: torch.zeros(2) for name in names}
    check(build, embed, resnet_state, {"model": prefixed(resnet_state, "module.") | counted | twins | metrics})


def test_the_counter_of_an_average_does_not_cost_it(build: Build, embed: Embed, resnet_state: State) -> None:
    averaged = prefixed(resnet_state, "module.") | {"steps": torch.tensor(900)}
    tower = check(build, embed, resnet_state, {"state_dict": other(resnet_state), "ema_state_dict": averaged})
    assert "weights taken from 'ema_state_dict', not from state_dict" in tower.recipe.notes


@pytest.mark.slow
@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(model="tiny", lr=0.1, opt=None),
        *(np.float64(0.91), np.int64(7), np.float32(1), np.bool_(True)),
        *(np.eye(3), np.arange(4, dtype=np.int32), np.array(["a", "b"]), np.array([1, "a", None], object)),
        *(np.datetime64("2026-11-28"), np.zeros(2, [("x", "f4")]), datetime(2026, 11, 28, tzinfo=UTC)),
        SimpleNamespace(lr=0.1),
        *(pathlib.PurePosixPath("runs/3"), Path("runs/3"), datetime(2026, 11, 28)),
        *({1, 2}, slice(3), collections.defaultdict(list, a=[1]), collections.deque([1], 5), OrderedDict(a=1), 1 + 2j),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_beside_the_weights_is_let_through(
    build: Build, embed: Embed, resnet_state: State, beside: Any
) -> None:
    check(build, embed, resnet_state, {"state_dict": resnet_state, "beside": beside, "epoch": 1})


def test_names_of_numpy_1_are_let_through(build: Build, embed: Embed, resnet_state: State, tmp_path: Path) -> None:
    """A checkpoint that was written with NumPy 1 names numpy.core, which NumPy 2 calls numpy._core."""
    torch.save({"state_dict": resnet_state, "best": np.float64(0.91), "m": np.eye(2)}, tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():
            data = new.read(name)
            old.writestr(
                name,
                data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray") if name.endswith(".pkl") else data,
            )
    tower = build_tower(f"timm:test_resnet/{tmp_path / 'old.pt'}")
    assert np.array_equal(embed(tower), embed(build("timm:test_resnet", resnet_state, "plain.pt")))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_single(
    build: Build, embed: Embed, resnet_state: State, dtype: torch.dtype
) -> None:
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in resnet_state.items()}
    cosine = embed(build("timm:test_resnet", cast)) @ embed(build("timm:test_resnet", resnet_state, "plain.pt"))
    assert cosine > 0.9999


def test_batch_norm_without_counters_of_batches_is_complete(build: Build, embed: Embed, resnet_state: State) -> None:
    without = {name: value for name, value in resnet_state.items() if not name.endswith("num_batches_tracked")}
    assert len(without) < len(resnet_state)
    plain = build("timm:test_resnet", resnet_state, "plain.pt")
    assert np.array_equal(embed(build("timm:test_resnet", without)), embed(plain))


# What is refused, and what it is called


def test_missing_surplus_and_misshapen_tensors_are_listed(build: Build, resnet_state: State) -> None:
    changed = dict(resnet_state)
    del changed["conv1.0.weight"]
    changed["layer1.0.extra"] = torch.ones(2)
    changed["layer1.0.conv1.weight"] = torch.ones(2, 3)
    with pytest.raises(WeightsMismatchError) as told:
        build("timm:test_resnet", changed)
    assert (
        "1 missing: conv1.0.weight; 1 surplus: layer1.0.extra; 1 misshapen: layer1.0.conv1.weight (2, 3) instead of ("
        in str(told.value)
    )


@pytest.mark.parametrize("name", ["neck.weight", "module.neck.weight", "extra"])
def test_a_tensor_that_is_none_of_the_leftovers_is_an_error(build: Build, resnet_state: State, name: str) -> None:
    with pytest.raises(WeightsMismatchError, match=rf"1 surplus: {re.escape(name)}$"):
        build("timm:test_resnet", {"state_dict": prefixed(resnet_state, "model.") | {name: torch.ones(2)}})


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_torchscript_and_whole_modules_are_named_and_never_run(build: Build) -> None:
    import timm

    model = timm.create_model("test_resnet").eval()
    with pytest.raises(UnreadableWeightsError, match=r"it is a whole pickled module \(timm\..*save the weights alone"):
        build("timm:test_resnet", model)
    with pytest.raises(UnreadableWeightsError, match=r"it is TorchScript, a program; .*save the weights alone"):
        build("timm:test_resnet", torch.jit.script(torch.nn.Linear(2, 2)))


def zipped(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, b"x")
    return stream.getvalue()


class Stranger:
    pass


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_blocked_type_is_named(zipped: bool, resnet_state: State, tmp_path: Path) -> None:
    content = {"state_dict": resnet_state, "config": Stranger()}
    torch.save(content, tmp_path / "blocked.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnreadableWeightsError, match=r"it holds objects of .*Stranger, which are not plain data"):
        build_tower(f"timm:test_resnet/{tmp_path / 'blocked.pt'}")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>log in</html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"\x93NUMPY\x01\0" + bytes(99), "a NumPy array"),
        (gzip.compress(b"weights"), "an archive; unpack it"),
        (zipped("polyps/1.jpg"), "a zip of 1 file, the first polyps/1.jpg; unpack it"),
        (b"hello world", "damaged, cut short or another thing"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_told_by_its_content(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(UnreadableWeightsError, match=what):
        build_tower(f"timm:test_resnet/{path}")


def test_a_checkpoint_cut_short_is_told(build: Build, resnet_state: State, tmp_path: Path) -> None:
    from safetensors.torch import save

    torch.save(resnet_state, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:2000])
    (tmp_path / "cut-late.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:30000])
    (tmp_path / "cut.safetensors").write_bytes(save(resnet_state)[:-100])
    np.savez(tmp_path / "jax.npz", weight=np.eye(2))
    for name, what in (
        ("cut.pt", "damaged"),
        ("cut-late.pt", "damaged, cut short"),
        ("cut.safetensors", "damaged or cut short"),
        ("jax.npz", "NumPy archive"),
    ):
        with pytest.raises(UnreadableWeightsError, match=what):
            build_tower(f"timm:test_resnet/{tmp_path / name}")


def test_a_checkpoint_without_tensors_lists_its_keys(build: Build) -> None:
    with pytest.raises(UnreadableWeightsError, match="holds no named tensors; its keys are epoch, note"):
        build("timm:test_resnet", {"epoch": 3, "note": "x"})
    with pytest.raises(UnreadableWeightsError, match="holds no named tensors, but a list"):
        build("timm:test_resnet", [1, 2])


@pytest.mark.parametrize("name", ["last.ckpt", "last.pth.tar", "LAST.PT", "last", "last.v2.bin", "my weights (1).pth"])
def test_a_file_is_a_file_whatever_its_name(build: Build, embed: Embed, resnet_state: State, name: str) -> None:
    plain = build("timm:test_resnet", resnet_state, "plain.pt")
    assert np.array_equal(embed(build("timm:test_resnet", resnet_state, name)), embed(plain))


def test_safetensors_are_told_by_their_content(embed: Embed, build: Build, resnet_state: State, tmp_path: Path) -> None:
    from safetensors.torch import save

    plain = build("timm:test_resnet", resnet_state, "plain.pt")
    for name in ("x.SAFETENSORS", "x.pt", "x"):
        (tmp_path / name).write_bytes(save(resnet_state))
        assert np.array_equal(embed(build_tower(f"timm:test_resnet/{tmp_path / name}")), embed(plain))
