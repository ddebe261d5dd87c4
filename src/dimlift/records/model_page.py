"""Model card of shared weights in Markdown with the hub's YAML header: data, licence, certificate, scores."""

import json
from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from dimlift.records.record import RunRecord

_PIPELINES = {"segmentation": "image-segmentation", "classification": "image-classification"}


def model_page(card: Mapping[str, Any], record: RunRecord | None, repository: str, licence: str, data: str = "") -> str:
    """Return the model card of a weights folder.

    Args:
        card: content of model.json.
        record: record of the training run; its counts and scores are shown, its cases are not named.
        repository: "owner/name", for the example.
        licence: SPDX identifier of the weights.
        data: a sentence about the training data, written by the owner.
    """
    header = {"library_name": "dimlift", "license": licence.lower(), "tags": ["dimlift", "3d", str(card["task"])]}
    point_clouds = card.get("modality") == "point_clouds"
    if card["task"] in _PIPELINES and not point_clouds:
        header["pipeline_tag"] = _PIPELINES[card["task"]]
    # JSON is valid YAML, and quotes what has to be quoted
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    inputs, example = (
        ("point clouds", "scan.ply labels.ply") if point_clouds else ("volumes", "scan.nii.gz labels.nii.gz")
    )
    summary, usage = f"A network for {card['task']} of {inputs}, trained", f"dimlift predict weights {example}"
    if card["task"] == "pretraining":
        summary = f"A network pretrained by `{card.get('method')}`, used by an arm with `init_from: weights`, made"
        usage = "dimlift train train.yaml arm.init_from=weights"
    parts = [
        f"---\n{front}\n---\n\n# {repository.rpartition('/')[2]}",
        f"{summary} with [dimlift](https://github.com/dimlift/dimlift). Research software, not a medical device.",
        f"```sh\ndimlift pull {repository} --download --out weights\n{usage}\n```",
        "## Data\n\n" + "\n".join(f"- {line}" for line in _data(card, record, data)),
        "## Licence\n\n" + "\n".join(f"- {line}" for line in _terms(card, licence)),
        "## Certificate\n\n" + _certificate(card.get("certificate")),
        "## Scores\n\n" + _scores(record),
    ]
    return "\n\n".join(parts) + "\n"


def _data(card: Mapping[str, Any], record: RunRecord | None, data: str) -> list[str]:
    lines = [data] if data else []
    lines.append(f"channels: {', '.join(map(str, card['channels']))}")
    lines.append(f"labels: {', '.join(f'{name} ({value})' for name, value in card['labels'].items()) or 'one number'}")
    spacing = card.get("spacing")
    lines.append(f"spacing: {' x '.join(f'{mm:g}' for mm in spacing)} mm" if spacing else "spacing: native")
    lines.append(f"orientation: {card['orientation']}")
    if record is not None:
        lines.append(f"trained on {len(record.extra.get('training_cases', []))} cases for {record.steps} steps")
    return lines


def _terms(card: Mapping[str, Any], licence: str) -> list[str]:
    lines = [f"these weights: {licence}"]
    if card.get("source"):
        origin = card.get("provenance") or {}
        lines.append(f"2D network: {card['source']}, weights {origin.get('weights', 'unknown')}")
        lines.append(f"licence of the 2D weights: {card.get('licence') or 'not stated'}")
        if origin.get("gated"):
            lines.append(f"gated: {origin['gated']}")
        if origin.get("sha256"):
            lines.append(f"sha256 of the 2D weights: {origin['sha256']}")
    return lines


def _certificate(certificate: Mapping[str, Any] | None) -> str:
    if certificate is None:
        return "None: the network was not lifted, or was lifted without the equivalence check."
    content = {key: value for key, value in certificate.items() if key not in ("stages", "spacing")}
    return f"```json\n{json.dumps(content, indent=1)}\n```"


def _scores(record: RunRecord | None) -> str:
    """Return a table of the mean of each metric and class, with the number of test cases for which it is defined."""
    if record is None or not record.scores:
        return "No test case was scored."
    values: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for score in record.scores:
        values[score.class_, score.metric].append(score.value)
    rows = ["| class | metric | mean | cases |", "|---|---|---|---|"]
    for (name, metric), found in values.items():
        known = [value for value in found if value is not None]
        mean = f"{fmean(known):.4f}" if known else "undefined"
        rows.append(f"| {name} | {metric} | {mean} | {len(known)} of {len(found)} |")
    return "\n".join(rows)
