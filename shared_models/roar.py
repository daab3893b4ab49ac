"""Remove and retrain (ROAR): what a map calls important is removed from every tile, and a model is trained again.

removed()    tiles whose top cells are replaced by their mean colour
probed()     accuracy of a linear probe that is fitted anew
roar()       accuracy for each map and share, against random removal
measured()   on real tiles, with the maps of the H&E model

    python -m shared_models.roar --data ../shared/data --out out/roar

A small run, a proxy: not the H&E network is trained again but a linear probe (ridge regression to one-hot labels) on
the pooled features of EfficientNet-Lite0 with ImageNet's weights, frozen. It is fitted on changed training tiles and
tested on test tiles that were changed in the same way, one tile of a source field. The lower the accuracy, the more of
what tells the classes apart lay under the map. A probe can also learn from where cells are missing, so a fall is a
lower bound; random removal is the bar. Maps explain the class that the model gives, and take fewer steps than usual.

Source: Hooker et al. 2019, arXiv:1806.10758. Departs from it in: the proxy, cells instead of pixels, few tiles.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from .contract.errors import InvalidInput
from .contract.values import Array
from .faithfulness import CENTRE, RANDOM, floors
from .faithfulness_curves import ranking
from .paired_tests import holm, sign_flip
from .statistics import bootstrap_ci

SHARES = (0.1, 0.3, 0.5, 0.7)
CELL = 8
_RIDGE = 100.0
_LOTS = 3  # of random removal, averaged
Features = Callable[[Array], Array]


def removed(pixels: Array, maps: Array, share: float, cell: int = CELL, seed: int = 0) -> Array:
    """uint8 (n, rows, columns, 3): the cells of each tile where its map (n, rows, columns) is highest at its mean."""
    result = pixels.copy()
    for number, (tile, values) in enumerate(zip(result, maps)):
        order = ranking(values, cell, seed + number)
        gone = np.zeros(order.size, bool)
        gone[order[: round(share * order.size)]] = True
        rows, columns = values.shape[0] // cell, values.shape[1] // cell
        where = gone.reshape(rows, columns).repeat(cell, axis=0).repeat(cell, axis=1)
        tile[where] = np.rint(tile.reshape(-1, tile.shape[-1]).mean(axis=0)).astype(np.uint8)
    return result


def probed(train: Array, labels: Array, test: Array, truth: Array) -> Array:
    """bool (m,): which test tiles a probe names rightly; features (n, d) and (m, d), class indices (n,) and (m,)."""
    mean, scale = train.mean(axis=0), train.std(axis=0) + 1e-6
    x, z = ((features - mean) / scale for features in (train.astype(np.float64), test.astype(np.float64)))
    wanted = np.eye(int(labels.max()) + 1)[labels]
    offset = wanted.mean(axis=0)
    # The dual form: there are fewer tiles than features.
    weights = np.linalg.solve(x @ x.T + _RIDGE * np.eye(len(x)), wanted - offset)
    right: Array = (z @ (x.T @ weights) + offset).argmax(axis=1) == truth
    return right


def roar(
    pixels: tuple[Array, Array], labels: tuple[Array, Array], maps: Mapping[str, tuple[Array, Array]],
    features: Features, shares: Sequence[float] = SHARES, cell: int = CELL, seed: int = 0,
) -> dict[str, Array]:  # fmt: skip
    """name of the maps -> float (shares + 1, m): whether each test tile is named rightly, nothing removed first.

    Parameters
    ----------
    pixels : uint8 (n, rows, columns, 3) to train and (m, ...) to test on
    labels : class indices of both
    maps : name -> (n, rows, columns) and (m, ...); random removal is added, averaged over _LOTS draws
    features : uint8 (n, rows, columns, 3) -> (n, d)
    """
    shape = pixels[0].shape[1:3]
    whole = probed(features(pixels[0]), labels[0], features(pixels[1]), labels[1])

    def curve(chosen: tuple[Array, Array], lot: int) -> Array:
        rows = [whole]
        for share in shares:
            changed = [removed(p, m, share, cell, lot + k) for k, (p, m) in enumerate(zip(pixels, chosen))]
            rows.append(probed(features(changed[0]), labels[0], features(changed[1]), labels[1]))
        return np.array(rows, float)

    found = {name: curve(chosen, seed) for name, chosen in maps.items()}
    flat = tuple(np.zeros((len(p), *shape)) for p in pixels)  # a map of ties is a lot for every tile
    draws = [curve((flat[0], flat[1]), seed + 10007 * (lot + 1)) for lot in range(_LOTS)]
    return {**found, RANDOM: np.mean(draws, axis=0)}


def summary(found: Mapping[str, Array], groups: Array, shares: Sequence[float] = SHARES) -> dict[str, Any]:
    """name -> accuracy at each share, their mean with its interval, and Holm's p against random removal."""
    over = {name: rows[1:].mean(axis=0) for name, rows in found.items()}
    others = [name for name in found if name != RANDOM]
    p = dict(zip(others, holm([sign_flip(over[name] - over[RANDOM], groups) for name in others])))
    return {
        name: {
            "accuracy": dict(zip(map(str, (0.0, *shares)), map(float, rows.mean(axis=1)))),
            "mean": {
                "value": float(over[name].mean()),
                "ci95": list(bootstrap_ci(lambda i, name=name: float(over[name][i].mean()), groups)),
            },
            "p_random": p.get(name),
        }
        for name, rows in found.items()
    }  # fmt: skip


def markdown(result: Mapping[str, Any]) -> str:
    """The table: the most faithful, which lose most accuracy, first."""
    shares = [float(share) for share in next(iter(result["methods"].values()))["accuracy"]]
    lines = [
        "| removed by | " + " | ".join(f"{100 * share:.0f} %" for share in shares) + " | mean | 95 % interval | p |",
        "|---" * (len(shares) + 4) + "|",
    ]
    for name, one in sorted(result["methods"].items(), key=lambda item: item[1]["mean"]["value"]):
        cells = [f"{value:.2f}" for value in one["accuracy"].values()]
        low, high = one["mean"]["ci95"]
        p = "" if one["p_random"] is None else f"{one['p_random']:.3f}"
        lines.append(
            f"| {name} | " + " | ".join(cells) + f" | {one['mean']['value']:.3f} | {low:.3f} to {high:.3f} | {p} |"
        )
    lines.append(
        f"\nAccuracy of a linear probe on frozen ImageNet features, a proxy, after cells were removed and it was "
        f"fitted again: {result['train']} training and {result['test']} test tiles, seed {result['seed']}, code at "
        f"commit {result['commit'][:12]}. Lower is better; p against random removal, Holm. Research use only.\n"
    )
    return "\n".join(lines)


def imagenet_features(batch: int = 16) -> Features:
    """The frozen network of the probe: uint8 (n, 224, 224, 3) -> float32 (n, 1280), pooled."""
    import torch

    from .slide_network import SlideNetwork, imagenet_weights

    network = imagenet_weights(SlideNetwork()).eval().to(memory_format=torch.channels_last)
    seen: list[Any] = []
    network.features.register_forward_hook(lambda module, given, answer: seen.append(answer.mean(dim=(2, 3))))

    def features(pixels: Array) -> Array:
        seen.clear()
        with torch.inference_mode():
            for start in range(0, len(pixels), batch):
                network(torch.from_numpy(pixels[start : start + batch]).permute(0, 3, 1, 2).float())
        answer: Array = torch.cat(seen).numpy()
        return answer

    return features


def measured(data_root: Path, models_root: Path, train: int, test: int, seed: int) -> dict[str, Any]:
    """ROAR of all methods on real tiles: ``train`` of the training split and ``test`` of the test split.

    Raises
    ------
    InvalidInput : there are no tiles.
    """
    from .code_version import git_commit
    from .xai_maps import quick_maps
    from .xai_subjects import tile_subject

    parts = []
    for split, count in (("train", train), ("test", test)):
        subject = tile_subject(data_root, split, models_root, count, seed)
        if subject is None:
            raise InvalidInput(f"{data_root} holds no tiles.", "Its layout is in the README.")
        pixels = np.stack([case.picture for case in subject.cases]).transpose(0, 2, 3, 1).astype(np.uint8)
        every = [
            {**quick_maps(subject, subject.network, case), CENTRE: floors(case.picture.shape[1:], seed)[CENTRE]}
            for case in subject.cases
        ]  # fmt: skip
        maps = {name: np.stack([one[name] for one in every]) for name in every[0]}
        labels = np.unique([case.label for case in subject.cases], return_inverse=True)[1]
        parts.append((np.ascontiguousarray(pixels), labels, maps, np.array([case.group for case in subject.cases])))
    (pixels, labels, maps, _), (pixels_test, labels_test, maps_test, groups) = parts
    pairs = {name: (maps[name], maps_test[name]) for name in maps}
    found = roar((pixels, pixels_test), (labels, labels_test), pairs, imagenet_features(), seed=seed)
    return {
        "commit": git_commit(), "train": len(labels), "test": len(labels_test), "seed": seed,
        "methods": summary(found, groups),
    }  # fmt: skip


def main(arguments: Optional[Sequence[str]] = None) -> None:
    from .model_bundle import MODELS_ROOT

    parser = argparse.ArgumentParser(description="Remove and retrain: a small run, with a proxy.")
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="roar.json and roar.md go there")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT, metavar="DIR")
    parser.add_argument("--train", type=int, default=60, metavar="N", help="training tiles, default 60")
    parser.add_argument("--test", type=int, default=45, metavar="N", help="test tiles, default 45")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    result = measured(given.data, given.models, given.train, given.test, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "roar.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.out / "roar.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
