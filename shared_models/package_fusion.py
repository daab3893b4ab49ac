"""Make the fusion's bundle: python -m shared_models.package_fusion --run out/fusion

RUN is what `lungxai train fusion` wrote. The bundle fits the models that it was fitted with, and no others.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .contract.errors import InvalidInput
from .fusion_card import write_bundle
from .fusion_training import WEIGHTS_FILE
from .fusion_weights import BUNDLE, FusionWeights
from .model_bundle import MODELS_ROOT
from .training_record import configuration


def packaged(run_folder: Path, models: Path) -> FusionWeights:
    """Write the bundle below ``models``, and load it.

    Raises
    ------
    InvalidInput : ``run_folder`` holds no fitted fusion. ModelUnavailable : it cannot be read back.
    """
    try:
        run: dict[str, Any] = json.loads((run_folder / "result.json").read_text())
        own = json.loads((run_folder / WEIGHTS_FILE).read_text())
        training = {name: run[name] for name in ("commit", "seed", "command")}
        if run["task"] != "fusion":
            raise ValueError("another task")
    except (OSError, ValueError, KeyError) as fault:
        raise InvalidInput(f"{run_folder} holds no fitted fusion.", "Run `lungxai train fusion` first.") from fault
    write_bundle(models, own, training)
    configuration(run, models / BUNDLE)
    return FusionWeights.load(models)


def main() -> None:
    """Package, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder that `lungxai train fusion` wrote")
    parser.add_argument("--models", type=Path, default=MODELS_ROOT)
    given = parser.parse_args()
    print(f"written: {packaged(given.run, given.models).provenance.model_id}")


if __name__ == "__main__":
    main()
