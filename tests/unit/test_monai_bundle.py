"""MONAI Bundles of others: read as data, added whole or not at all, and back on exactly the CT's grid.

The bundles are made here with MONAI's real networks and transforms, in the layout of its model zoo.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("monai")
pytest.importorskip("nibabel", reason="MONAI turns volumes with it")

from monai.apps.detection.networks.retinanet_network import RetinaNet  # noqa: E402
from monai.networks.nets import UNet, resnet10  # noqa: E402

from shared_models import monai_run  # noqa: E402
from shared_models.command_line import main  # noqa: E402
from shared_models.contract.errors import InvalidInput, ModelUnavailable  # noqa: E402
from shared_models.contract.values import CTVolume  # noqa: E402
from shared_models.model_bundle import Bundle, sha256_of  # noqa: E402
from shared_models.monai_bundle import Found, Loaded, add_bundle  # noqa: E402
from shared_models.monai_config import BundleConfig, NeedsTrust, allowed  # noqa: E402
from shared_models.monai_pyramid import feature_extractor  # noqa: E402
from shared_models.monai_run import detected, segmented  # noqa: E402

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
PREPROCESSING = [
    {"_target_": "LoadImaged", "keys": "@image_key"},
    {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
    {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
    {"_target_": "ScaleIntensityRanged", "keys": "@image_key", "a_min": -1000, "a_max": "$500 * 2", "b_min": 0.0,
     "b_max": 1.0, "clip": True},
    {"_target_": "EnsureTyped", "keys": "@image_key", "dtype": "$torch.float32"},
]  # fmt: skip
SEGMENTATION = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "image_key": "image",
    "ckpt_dir": "$@bundle_root + '/models'",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {"_target_": "UNet", **UNET},
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": PREPROCESSING},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 16], "sw_batch_size": 2, "overlap": 0.25},
    "postprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "@image_key"},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@bundle_root + '/eval'"},
    ]},
}  # fmt: skip
METADATA = {
    "version": "0.2.0", "description": "dense tissue", "authors": "A. Author", "copyright": "A. Author", "task": "x",
    "data_source": "made up",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "num_channels": 1, "modality": "CT"}},
        "outputs": {"pred": {"type": "image", "channel_def": {"0": "background", "1": "dense"}}},
    },
}  # fmt: skip


class Dense(torch.nn.Module):
    """Segments what is denser than -200 HU: 0.4 after the scaling of PREPROCESSING."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.4 - x, x - 0.4], 1) * 50


def write(folder: Path, config: dict, metadata: dict = METADATA, network=None, script=None) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "scripts").mkdir()
    (folder / "scripts" / "evil.py").write_text("raise SystemExit('run')")
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "LICENSE").write_text("Licence of A. Author, CC BY 4.0\n")
    if network is not None:
        torch.save(network.state_dict(), folder / "models" / "model.pt")
    if script is not None:
        torch.jit.script(script.eval()).save(str(folder / "models" / "model.ts"))
    return folder


@pytest.fixture
def segmentation(tmp_path) -> Path:
    torch.manual_seed(0)
    return write(tmp_path / "theirs" / "dense", SEGMENTATION, network=UNet(**UNET), script=Dense())


def volume() -> CTVolume:
    """Oblique, with three spacings; a dense block of known voxels."""
    turn = np.deg2rad(12)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine[:3, :3] *= np.array([0.8, 0.8, 2.5])
    affine[:3, 3] = (-20.0, 30.0, -700.0)
    voxels = np.full((20, 40, 48), -900, np.int16)
    voxels[5:12, 10:22, 20:38] = 60
    return CTVolume(voxels, affine, "1.2.3")


def test_a_segmentation_comes_back_on_the_grid(segmentation, tmp_path, capsys) -> None:
    root = tmp_path / "added"
    assert main(["models", "add", str(segmentation), "--added-models", str(root), "--yes"]) == 0
    said = capsys.readouterr().out
    sha = sha256_of(segmentation / "models" / "model.ts")
    assert sha in said and "Licence of A. Author, CC BY 4.0" in said and "TorchScript file is a program" in said
    bundle = Bundle.load(root / "dense")
    assert bundle.weights_sha256 == sha and bundle.own["task"] == "segmentation" and not bundle.own["trusted_code"]
    assert (bundle.folder / "LICENSE").read_text() == "Licence of A. Author, CC BY 4.0\n"
    assert sha in (bundle.folder / "docs" / "README.md").read_text()
    assert not list(bundle.folder.rglob("*.py"))
    assert main(["models", "list", "--json", "--models", str(root / "none"), "--added-models", str(root)]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["models"]
    assert listed["modality"] == "radiology" and listed["added"] and listed["coverage"] == []
    ct = volume()
    mask, names = segmented(ct, Loaded.of(bundle))
    truth = np.asarray(ct.voxels) > 0
    assert names == ["dense"] and mask.shape == truth.shape
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9  # resampled there and back
    assert (segmented(ct, Loaded.of(bundle), [0])[0] == ~mask).all()
    with pytest.raises(InvalidInput, match="no such channel") as told:
        segmented(ct, Loaded.of(bundle), [7])
    assert "1 dense" in told.value.remedy


def test_weights_alone_take_the_network_of_the_configuration(segmentation, tmp_path) -> None:
    (segmentation / "models" / "model.ts").unlink()
    bundle = add_bundle(Found.at(segmentation), tmp_path / "added")
    network = Loaded.of(bundle).network
    theirs = torch.load(segmentation / "models" / "model.pt", weights_only=True)
    assert isinstance(network, UNet) and not network.training
    assert all(torch.equal(network.state_dict()[name], value) for name, value in theirs.items())
    other = {**SEGMENTATION, "network_def": {"_target_": "UNet", **UNET, "channels": [4, 16]}}
    (segmentation / "configs" / "inference.json").write_text(json.dumps(other))
    with pytest.raises(ModelUnavailable, match="do not fit"):
        add_bundle(Found.at(segmentation, "other"), tmp_path / "added")
    assert [p.name for p in (tmp_path / "added").iterdir()] == ["dense"]


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


def test_a_pickle_is_not_run(segmentation, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (segmentation / "models" / "model.ts").unlink()
    torch.save({"a": Evil()}, segmentation / "models" / "model.pt")
    with pytest.raises(ModelUnavailable):
        add_bundle(Found.at(segmentation), tmp_path / "added")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("network", [
    {"_target_": "os.system", "command": "touch pwned"},
    {"_target_": "scripts.evil.Net"},
    {"_target_": "torch.hub.load", "repo_or_dir": "a/b", "model": "c"},
    {"_target_": "torch.load", "f": "models/model.pt"},
    {"_target_": "monai.apps.download_url", "url": "http://127.0.0.1", "filepath": "pwned"},
    {"_target_": "monai.networks.nets.resnet.torch.load", "f": "x"},
    {"_target_": "monai.bundle.ConfigParser"},
    {"_target_": "resnet10", "pretrained": True, "spatial_dims": 3, "n_input_channels": 1},
    {"_target_": "UNet", **UNET, "_requires_": "$__import__('os').system('touch pwned')"},
    {"_target_": "UNet", **UNET, "out_channels": "$__import__('os').system('touch pwned')"},
    {"_target_": "UNet", **UNET, "out_channels": "$open('pwned', 'w').write('1')"},
    {"_target_": "UNet", **UNET, "out_channels": "$().__class__.__base__.__subclasses__()"},
    {"_target_": "UNet", **UNET, "out_channels": "$[exec('1') for i in range(2)]"},
    {"_target_": "UNet", **UNET, "out_channels": "$(lambda: 2)()"},
    {"_target_": "UNet", **UNET, "out_channels": "$10 ** 10 ** 10"},
    {"_target_": "UNet", **UNET, "out_channels": "$len(range(10**9))"},
    {"_target_": "UNet", **UNET, "out_channels": "%other.json#a"},
    {"_target_": "UNet", **UNET, "out_channels": "$'{0.__class__}'.format(1)"},
    "$monai.utils.run_eval('1')",
])  # fmt: skip
def test_a_configuration_that_asks_for_code_is_refused(segmentation, tmp_path, monkeypatch, network) -> None:
    monkeypatch.chdir(tmp_path)
    (segmentation / "models" / "model.ts").unlink()
    config = {**SEGMENTATION, "network_def": network}
    (segmentation / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(NeedsTrust) as told:
        add_bundle(Found.at(segmentation), tmp_path / "added")
    assert "--trust-code" in told.value.remedy
    assert not (tmp_path / "pwned").exists() and not list((tmp_path / "added").iterdir())


@pytest.mark.parametrize("transform", [
    {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x"},
    {"_target_": "monai.transforms.RandLambdad", "keys": "image"},
    {"_target_": "scripts.evil.Transformd", "keys": "image"},
    {"_target_": "monai.transforms.utils.np.save", "file": "pwned"},
])  # fmt: skip
def test_transforms_that_could_be_any_program_are_refused(segmentation, tmp_path, transform) -> None:
    config = {**SEGMENTATION, "preprocessing": {"_target_": "Compose", "transforms": [transform]}}
    (segmentation / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(NeedsTrust):
        add_bundle(Found.at(segmentation), tmp_path / "added")


def test_code_is_run_where_the_user_trusts_it_and_only_there(segmentation, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (segmentation / "models" / "model.ts").unlink()
    made = "$[__import__('pathlib').Path('ran').touch(), monai.networks.nets.UNet(spatial_dims=3, in_channels=1, " \
           "out_channels=2, channels=(4, 8), strides=(2,))][1]"  # fmt: skip
    (segmentation / "configs" / "inference.json").write_text(
        json.dumps({**SEGMENTATION, "imports": ["$import monai"], "network_def": made})
    )
    root, words = tmp_path / "added", ["models", "add", str(segmentation), "--added-models", str(tmp_path / "added")]
    assert main([*words, "--yes"]) == 2 and "--trust-code" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert main([*words, "--trust-code"]) == 2 and "Nothing was added" in capsys.readouterr().err  # nobody said yes
    assert not (tmp_path / "ran").exists()
    assert main([*words, "--trust-code", "--yes"]) == 0 and (tmp_path / "ran").exists()
    bundle = Bundle.load(root / "dense")
    assert bundle.own["trusted_code"] and "the user trusted it" in (bundle.folder / "docs" / "README.md").read_text()
    assert segmented(volume(), Loaded.of(bundle))[0].shape == (20, 40, 48)


def test_expressions_that_are_plain_arithmetic() -> None:
    config = BundleConfig({
        "layers": [1, 2], "scales": "$[2**l for l in range(len(@layers)+1)]", "both": "$@layers + [3]",
        "inner": {"a": [5, {"b": "@layers::1"}]}, "same": "@inner::a::1::b", "negative": "$-1.5 * 2", "loop": "@loop",
        "net": {"_target_": "monai.networks.nets.UNet", **UNET}, "twice": ["@net", "@net"],
        "off": {"_target_": "UNet", "_disabled_": True, **UNET},
        "backbone": "$monai.networks.nets.resnet.resnet10(spatial_dims=3, n_input_channels=1)",
    })  # fmt: skip
    assert config.get("scales") == [1, 2, 4] and config.get("both") == [1, 2, 3] and config.get("same") == 2
    assert config.get("negative") == -3.0 and config.get("off") is None
    assert config.get("twice")[0] is config.get("twice")[1] is config.get("net")
    assert type(config.get("backbone")).__name__ == "ResNet"
    for name, said in (("loop", "refers to itself"), ("nothing", "no entry"), ("layers::7", "no entry")):
        with pytest.raises(InvalidInput, match=said):
            config.get(name)
    assert allowed("SlidingWindowInferer").__module__.startswith("monai.inferers")


def _detection(folder: Path) -> Path:
    """As lung_nodule_ct_detection of the zoo, with a smaller network."""
    torch.manual_seed(0)
    backbone = resnet10(spatial_dims=3, n_input_channels=1, conv1_t_stride=[2, 2, 1], conv1_t_size=[7, 7, 7])
    network = RetinaNet(
        spatial_dims=3, num_classes=1, num_anchors=3, size_divisible=[16, 16, 8],
        feature_extractor=feature_extractor(backbone, 3, False, [1, 2], None),
    )  # fmt: skip
    config = {
        "image_key": "image", "spatial_dims": 3, "num_classes": 1, "size_divisible": [16, 16, 8],
        "infer_patch_size": [16, 16, 8], "returned_layers": [1, 2],
        "base_anchor_shapes": [[6, 8, 4], [8, 6, 5], [10, 10, 6]],
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "anchor_generator": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
            "feature_map_scales": "$[2**l for l in range(len(@returned_layers)+1)]",
            "base_anchor_shapes": "@base_anchor_shapes",
        },
        "backbone": "$monai.networks.nets.resnet.resnet10(spatial_dims=3,n_input_channels=1,conv1_t_stride=[2,2,1],"
                    "conv1_t_size=[7,7,7])",
        "feature_extractor": "$monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor("
                             "@backbone,3,False,@returned_layers,None)",
        "network_def": {"_target_": "RetinaNet", "spatial_dims": "@spatial_dims", "num_classes": "@num_classes",
                        "num_anchors": 3, "feature_extractor": "@feature_extractor",
                        "size_divisible": "@size_divisible"},
        "network": "$@network_def.to(@device)",
        "detector": {"_target_": "RetinaNetDetector", "network": "@network", "anchor_generator": "@anchor_generator",
                     "debug": False},
        "detector_ops": [
            "$@detector.set_target_keys(box_key='box', label_key='label')",
            "$@detector.set_box_selector_parameters(score_thresh=0.02,topk_candidates_per_level=1000,nms_thresh=0.22,"
            "detections_per_img=20)",
            "$@detector.set_sliding_window_inferer(roi_size=@infer_patch_size,overlap=0.25,sw_batch_size=1,"
            "mode='constant',device='cpu')"],
        "preprocessing": {"_target_": "Compose", "transforms": [
            {**one, "pixdim": [2.4, 2.4, 5.0]} if one["_target_"] == "Spacingd" else one for one in PREPROCESSING]},
    }  # fmt: skip
    metadata = json.loads(json.dumps(METADATA))
    metadata["network_data_format"]["outputs"] = {"pred": {"type": "object", "channel_def": {"0": "lung nodule"}}}
    return write(folder, config, metadata, network)


def test_a_detector_is_read_without_its_code_and_its_boxes_lie_in_the_body(tmp_path, monkeypatch) -> None:
    bundle = add_bundle(Found.at(_detection(tmp_path / "retina")), tmp_path / "added")
    loaded, ct = Loaded.of(bundle), volume()
    assert loaded.task == "detection"
    boxes = detected(ct, loaded, least=0.0)  # random weights: boxes anywhere, but real ones
    assert 0 < len(boxes) <= 20 and all(one["score"] >= 0.02 for one in boxes)
    assert boxes == sorted(boxes, key=lambda one: -one["score"])
    assert detected(ct, loaded, least=1.0) == []
    # One box whose place is known: the block's corners in the prepared image.
    detector = loaded.runner()
    data, _, key = monai_run._prepared(ct, loaded)
    inverse = np.linalg.inv(np.asarray(data[key].affine))
    ijk = np.array([[i, j, k, 1] for i in (20, 38) for j in (10, 22) for k in (5, 12)], float)
    lps = ijk @ np.asarray(ct.ijk_to_lps).T
    index = (lps * [-1, -1, 1, 1]) @ inverse.T
    low, high = index[:, :3].min(0), index[:, :3].max(0)
    found = {"box": torch.tensor(np.r_[low, high][None]), "label": torch.tensor([0]),
             "label_scores": torch.tensor([0.9])}  # fmt: skip

    class Knows:
        target_box_key, target_label_key, pred_score_key = "box", "label", "label_scores"
        inferer = detector.inferer

        def __call__(self, images, use_inferer):
            assert use_inferer and images[0].shape == data[key].shape
            return [found]

    monkeypatch.setattr(loaded, "runner", lambda: Knows())
    (box,) = detected(ct, loaded)
    # The prepared grid is turned against the body's axes as the CT is: the box about it is the block's own or larger.
    assert (np.array(box["box_lps_mm"][0]) <= lps[:, :3].min(0) + 1e-3).all()
    assert (np.array(box["box_lps_mm"][1]) >= lps[:, :3].max(0) - 1e-3).all()
    assert np.ptp(box["box_lps_mm"], axis=0) == pytest.approx(np.ptp(lps[:, :3], axis=0), rel=0.5)


def test_a_detector_set_up_by_other_code_is_refused(tmp_path) -> None:
    folder = _detection(tmp_path / "retina")
    config = json.loads((folder / "configs" / "inference.json").read_text())
    (folder / "models" / "model.pt").unlink()
    torch.jit.script(Dense()).save(str(folder / "models" / "model.ts"))  # the network does not matter here
    for op in ("$@detector.load_state_dict({})", "$@detector.network.eval()", "$print(1)"):
        (folder / "configs" / "inference.json").write_text(json.dumps({**config, "detector_ops": [op]}))
        with pytest.raises(InvalidInput):
            add_bundle(Found.at(folder), tmp_path / "added")


def test_what_is_no_bundle_for_a_ct_is_refused(segmentation, tmp_path) -> None:
    def changed(**inputs) -> None:
        metadata = json.loads(json.dumps(METADATA))
        metadata["network_data_format"]["inputs"]["image"].update(inputs)
        (segmentation / "configs" / "metadata.json").write_text(json.dumps(metadata))

    for inputs, said in (({"modality": "MR"}, "the kind MR"), ({"num_channels": 4}, "several channels")):
        changed(**inputs)
        with pytest.raises(InvalidInput, match=said):
            Found.at(segmentation)
    changed()
    with pytest.raises(InvalidInput, match="cannot be a model's name"):
        Found.at(segmentation, "../up")
    for name in ("model.ts", "model.pt"):
        (segmentation / "models" / name).unlink()
    with pytest.raises(InvalidInput, match="neither") as told:
        Found.at(segmentation)
    assert "Download its weights" in told.value.remedy
    (segmentation / "configs" / "inference.json").write_text("{")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Found.at(segmentation)
    shutil.rmtree(segmentation / "configs")
    with pytest.raises(InvalidInput):
        Found.at(segmentation)


def test_a_licence_that_is_not_there_is_said(segmentation, tmp_path) -> None:
    (segmentation / "LICENSE").unlink()
    assert "not found" in Found.at(segmentation).licence
    assert Found.at(segmentation, licence="CC0").licence == "CC0\n"


def test_the_pyramid_has_the_layers_and_names_of_monais_own() -> None:
    """Names as in the weights of lung_nodule_ct_detection; the features by MONAI's pyramid from the layers, by hand."""
    torch.manual_seed(0)
    backbone = resnet10(spatial_dims=3, n_input_channels=1, conv1_t_stride=[2, 2, 1], conv1_t_size=[7, 7, 7]).eval()
    pyramid = feature_extractor(backbone, 3, False, [1, 2], None).eval()
    names = set(pyramid.state_dict())
    assert {"body.conv1.weight", "body.layer2.0.downsample.0.weight", "fpn.inner_blocks.0.weight",
            "fpn.layer_blocks.1.bias"} <= names  # fmt: skip
    assert not any("layer3" in name or ".fc." in name for name in names) and pyramid.out_channels == 256
    x = torch.randn(1, 1, 32, 32, 16)
    with torch.inference_mode():
        one = backbone.layer1(backbone.maxpool(backbone.act(backbone.bn1(backbone.conv1(x)))))
        two = backbone.layer2(one)
        theirs = pyramid.fpn({"0": one, "1": two})
        ours = pyramid(x)
    assert list(ours) == list(theirs) == ["0", "1", "pool"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(ValueError, match="between 1 and 4"):
        feature_extractor(backbone, 3, False, [5])
    try:
        from monai.apps.detection.networks.retinanet_network import resnet_fpn_feature_extractor

        own = resnet_fpn_feature_extractor(backbone, 3, False, [1, 2], None).eval()
    except ImportError:  # without torchvision MONAI's own cannot be made
        return
    assert set(own.state_dict()) == names and torch.equal(own(x)["pool"], ours["pool"])


def test_what_a_detector_found_is_outlined_and_measured(segmentation, tmp_path, phantom, monkeypatch, capsys) -> None:
    from shared_models.ct_writer import write_nrrd

    ct = phantom.volume
    write_nrrd(tmp_path / "ct.nrrd", np.asarray(ct.voxels), ct.ijk_to_lps)
    (segmentation / "models" / "model.ts").unlink()
    root = tmp_path / "added"
    add_bundle(Found.at(segmentation), root)
    nodule = phantom.nodules[0]
    index = np.argwhere(phantom.truth.labels == nodule.label)[:, ::-1]
    lps = np.c_[index, np.ones(len(index))] @ np.asarray(ct.ijk_to_lps).T
    box = [lps[:, :3].min(0).tolist(), lps[:, :3].max(0).tolist()]
    monkeypatch.setattr(monai_run, "detected", lambda volume, loaded, least: [
        {"box_lps_mm": box, "score": 0.8, "label": 0}
    ] if least == 0.5 else [])  # fmt: skip

    class Detector:
        task = "detection"

    monkeypatch.setattr(monai_run.Loaded, "of", lambda bundle, device: Detector())
    words = ["models", "run", "dense", str(tmp_path / "ct.nrrd"), "--out", str(tmp_path / "out"), "--score", "0.5",
             "--added-models", str(root)]  # fmt: skip
    assert main(words) == 0 and "not validated here" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / "nodules.json").read_text())
    assert told["made_by"]["boxes"] == 1
    assert told["made_by"]["weights_sha256"] == Bundle.load(root / "dense").weights_sha256
    (one,) = told["nodules"]
    assert np.linalg.norm(np.array(one["centre_lps_mm"]) - np.mean(box, axis=0)) < 3
    assert one["volume_mm3"] == pytest.approx(len(index) * np.prod(ct.spacing_mm), rel=0.5)
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["boxes"][0]["score"] == 0.8
    for name, said in (("nobody", "no added model"), ("../dense", "no added model")):
        assert main(["models", "run", name, "x", "--out", "y", "--added-models", str(root)]) == 2
        assert said in capsys.readouterr().err
