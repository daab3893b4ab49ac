"""What made a case's results, as FHIR says it.

add_devices()      a Device for LungXAI, and one for each model that took part
add_provenance()   which of them made which resources, from what
"""

from __future__ import annotations

from collections.abc import Iterable

from shared_models.code_version import code_version
from shared_models.contract.provenance import Provenance

from .fhir_codes import CODED, Json, class_concept, concept, local, naming
from .fhir_entries import Entries, clean

_YES_NO = {True: "yes", False: "no"}


def _kind(model: Provenance) -> str:
    return f"Device/{model.weights_sha256}/{model.model_id}"


def add_devices(entries: Entries, models: Iterable[Provenance]) -> None:
    """Each once, however many results it took part in."""
    software = entries.add(
        "Device/software",
        {
            "status": "active",
            "deviceName": [{"name": "LungXAI", "type": "user-friendly-name"}],
            "type": concept(CODED["software"]),
            "version": [{"value": code_version()}],
            "note": [{"text": "Research use only. Not a medical device, not a diagnosis."}],
        },
    )
    for model in models:
        if _kind(model) in entries:
            continue
        known = [class_concept(name) for name in model.coverage] or [concept(text="none: it names no class")]
        weights = {"type": concept(text="SHA-256 of the weights"), "system": naming("weights")}
        entries.add(
            _kind(model),
            {
                "identifier": [{**weights, "value": model.weights_sha256}],
                "status": "active",
                "deviceName": [{"name": clean(model.model_id), "type": "model-name"}],
                "type": concept(CODED["software"], text="Trained model"),
                "version": [{"type": concept(text="Code that ran it"), "value": clean(model.code_version)}],
                "property": [
                    {"type": local("coverage"), "valueCode": known},
                    {"type": local("calibrated"), "valueCode": [concept(text=_YES_NO[model.calibrated])]},
                    {"type": local("ran-on"), "valueCode": [concept(text=model.device)]},
                ],
                "parent": software,
            },
        )


def add_provenance(
    entries: Entries, name: str, targets: list[str], models: Iterable[Provenance], sources: list[Json], recorded: str
) -> None:
    """One Provenance.

    Parameters
    ----------
    targets : kinds of the resources that were made
    sources : References to what they were made from
    recorded : instant
    """
    agents = [{"type": concept(CODED["assembler"]), "who": entries.reference("Device/software")}]
    for kind in dict.fromkeys(_kind(model) for model in models):
        agents.append({"type": concept(CODED["performer"]), "who": entries.reference(kind)})
    made: Json = {
        "target": [entries.reference(kind) for kind in targets], "recorded": recorded, "agent": agents,
    }  # fmt: skip
    if sources:
        made["entity"] = [{"role": "source", "what": source} for source in sources]
    entries.add(f"Provenance/{name}", made)
