"""What a person reads about shared weights: data, licence, certificate, scores. Markdown with the hub's header."""

import json
from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from dimlift.records.record import Record

_PIPELINES = {"segmentation": "image-segmentation", "classification": "image-classification"}


def model_page(card: Mapping[str, Any], record: Record | None, repository: str, licence: str, data: str = "") -> str:
    """The page of a weights folder.

    Args:
        card: of the weights folder.
        record: of the run that trained it; its counts and scores are shown, its cases are not named.
        repository: "owner/name", for the example.
        data: a sentence of the owner about the training data.
    """
    header = {"library_name": "dimlift", "license": licence.lower(), "tags": ["dimlift", "3d", str(card["task"])]}
    of_points = "points" in card["channels"]
    if card["task"] in _PIPELINES and not of_points:
        header["pipeline_tag"] = _PIPELINES[card["task"]]
    # JSON is YAML too, and quotes what has to be quoted
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    read, example = (
        ("clouds of points", "scan.ply labels.ply") if of_points else ("volumes", "scan.nii.gz labels.nii.gz")
    )
    made, use = f"A network for {card['task']} of {read}, trained", f"dimlift predict weights {example}"
    if card["task"] == "pretraining":
        made = f"A network pretrained by `{card.get('method')}`, for an arm with `start: weights` to begin with, made"
        use = "dimlift train train.yaml arm.start=weights"
    parts = [
        f"---\n{front}\n---\n\n# {repository.rpartition('/')[2]}",
        f"{made} with [dimlift](https://github.com/dimlift/dimlift). Research software, no medical device.",
        f"```sh\ndimlift pull {repository} --download --out weights\n{use}\n```",
        "## Data\n\n" + "\n".join(f"- {line}" for line in _data(card, record, data)),
        "## Licence\n\n" + "\n".join(f"- {line}" for line in _terms(card, licence)),
        "## Certificate\n\n" + _certificate(card.get("certificate")),
        "## Scores\n\n" + _scores(record),
    ]
    return "\n\n".join(parts) + "\n"


def _data(card: Mapping[str, Any], record: Record | None, data: str) -> list[str]:
    lines = [data] if data else []
    lines.append(f"channels: {', '.join(map(str, card['channels']))}")
    lines.append(f"labels: {', '.join(f'{name} ({value})' for name, value in card['labels'].items()) or 'a number'}")
    spacing = card.get("spacing")
    lines.append(f"spacing: {' x '.join(f'{mm:g}' for mm in spacing)} mm" if spacing else "spacing: as in the files")
    lines.append(f"orientation: {card['orientation']}")
    if record is not None:
        lines.append(f"trained on {len(record.extra.get('training_cases', []))} cases for {record.steps} steps")
    return lines


def _terms(card: Mapping[str, Any], licence: str) -> list[str]:
    lines = [f"these weights: {licence}"]
    if card.get("source"):
        origin = card.get("provenance") or {}
        lines.append(f"2D network: {card['source']}, numbers {origin.get('weights', 'unknown')}")
        lines.append(f"licence of the 2D weights: {card.get('licence') or 'not stated'}")
        if origin.get("gated"):
            lines.append(f"gated: {origin['gated']}")
        if origin.get("sha256"):
            lines.append(f"sha256 of the 2D weights: {origin['sha256']}")
    return lines


def _certificate(certificate: Mapping[str, Any] | None) -> str:
    if certificate is None:
        return "None: nothing was lifted, or it was lifted without its test."
    shown = {key: value for key, value in certificate.items() if key not in ("stages", "spacing")}
    return f"```json\n{json.dumps(shown, indent=1)}\n```"


def _scores(record: Record | None) -> str:
    """Mean of every metric and class over the test cases, and over how many it is defined."""
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
