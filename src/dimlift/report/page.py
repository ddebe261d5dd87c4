"""One offline HTML page about a study: the verdict first, then what it rests on."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from dimlift.records.record import Record, load_records, write_text
from dimlift.records.study import Study
from dimlift.report import phrases
from dimlift.report.case_selection import MOST_PREDICTIONS, shown_rows
from dimlift.report.certificates import certificates
from dimlift.report.figures import MOST_ROWS, forest_plot, learning_curves
from dimlift.report.fraction_curves import MOST_ARMS, fraction_curves
from dimlift.report.heatmap import heatmap
from dimlift.report.measures import MEASURES
from dimlift.report.overlays import case_views, label_legend
from dimlift.report.point_views import cloud_legend, cloud_views
from dimlift.report.power import power_sentence
from dimlift.report.slice_viewer import slice_viewer
from dimlift.report.summary import Summary, summarise_records
from dimlift.report.tables import write_tables

PAGE_NAME = "report.html"


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a study, finished or not, and return where it is; tables with its numbers come beside it.

    Args:
        folder: what `dimlift compare` wrote.
        out: where the page goes; `folder/report.html` if not given.

    Raises:
        DataError: if the folder holds no study, or a record in it cannot be read.
    """
    study, records = Study.load(folder), load_records(folder / "records")
    out = folder / PAGE_NAME if out is None else out
    out.parent.mkdir(parents=True, exist_ok=True)
    summary = summarise_records(study, records)
    text = render(folder, study, records, summary)
    write_tables(out, summary, records)
    return write_text(out, text)


def render(folder: Path, study: Study, records: Sequence[Record], summary: Summary) -> str:
    """The page as text. Nothing in it points outside the page."""
    records = [record for record in records if record.arm in study.arms]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dimlift.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {
        name: getattr(phrases, name)
        for name in (
            "number",
            "signed",
            "chance",
            "counted",
            "interval",
            "duration",
            "memory",
            "worth",
            "share_of_labels",
        )
    }
    environment.filters["lighter_numbers"] = _lighter_numbers
    squares, viewer = heatmap(summary, records), None if study.clouds else slice_viewer(folder, study, summary, records)
    script = environment.loader.get_source(environment, "page.js")[0] if environment.loader else ""
    return environment.get_template("page.html.j2").render(
        study=study,
        summary=summary,
        reference=next(row.title for row in summary.rows if row.is_reference),
        multiple=len(study.arms) > 1,
        uncertain=_covers(summary) != {"cases and seeds"},
        one_seed="cases" in _covers(summary),
        class_names=[result.name for result in summary.rows[0].classes],
        waiting=list(dict.fromkeys(row.title for row in summary.rows if not row.finished)),
        other_measures=_other_measures(summary),
        forest=forest_plot(summary),
        compared=sum(row.comparison is not None for row in summary.rows),
        most_rows=MOST_ROWS,
        most_arms=MOST_ARMS,
        power=power_sentence(summary),
        fractions=fraction_curves(summary),
        measured={
            name: any(getattr(row, name) is not None for row in summary.rows)
            for name in ("cpu_seconds", "gpu_bytes", "joules")
        },
        said=lambda words, value: getattr(phrases, words)(value),
        curves=learning_curves(summary, records, over_seconds="seconds" in study.budget),
        cost=_cost(summary),
        cases=(cloud_views if study.clouds else case_views)(folder, study, summary, records),
        viewer=viewer,
        heatmap=squares,
        left_out_arms=[MOST_PREDICTIONS, len(shown_rows(summary))]
        if len(shown_rows(summary)) > MOST_PREDICTIONS
        else [],
        inlined=[
            (name, _inline(content))
            for name, content in (
                ("viewer-content", viewer and {"cases": viewer.cases, "arms": viewer.arms, "most": MOST_PREDICTIONS}),
                (
                    "heatmap-content",
                    squares and {"arms": squares.arms, "cases": squares.cases, "differences": squares.differences},
                ),
            )
            if content
        ],
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        legend=(cloud_legend if study.clouds else label_legend)(study),
        certificates=certificates(study),
        remarks=_remarks(study, records),
        versions=_versions(records),
        budget=_budget(study),
    )


def _inline(content: Any) -> Markup:
    """JSON that no text in it can break out of."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _covers(summary: Summary) -> set[str]:
    """Whose chance the intervals of the page account for."""
    return {row.comparison.estimate.covers for row in summary.rows if row.comparison} or {"cases and seeds"}


def _other_measures(summary: Summary) -> list[tuple[str, str, int]]:
    found = {name for row in summary.rows for name, value in row.others.items() if value is not None}
    return [(name, measure.title, measure.digits) for name, measure in MEASURES.items() if name in found]


def _cost(summary: Summary) -> dict[str, float]:
    """Largest time and memory, against which the bars are drawn."""
    return {
        "seconds": max((row.seconds or 0.0 for row in summary.rows), default=0.0) or 1.0,
        "peak_bytes": max((row.peak_bytes or 0 for row in summary.rows), default=0) or 1,
    }


def _versions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Every version met, so that a study that ran across an upgrade shows it."""
    met: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in record.versions.items():
            met.setdefault(name, {})[version] = None
    return [(name, ", ".join(versions)) for name, versions in sorted(met.items())]


def _remarks(study: Study, records: Sequence[Record]) -> list[tuple[str, str, int]]:
    """What runs noted about themselves: arm, sentence, and in how many of its cells."""
    met: dict[tuple[str, str], int] = {}
    for record in records:
        for note in dict.fromkeys(map(str, record.extra.get("notes") or ())):
            key = (study.arms[record.arm].title or record.arm, note)
            met[key] = met.get(key, 0) + 1
    return [(title, note, count) for (title, note), count in met.items()]


def _budget(study: Study) -> str:
    parts: list[Any] = []
    for name, value in study.budget.items():
        parts.append(f"{phrases.duration(value)} of training" if name == "seconds" else f"{value} {name}")
    return ", ".join(parts) or "not stated"


def _lighter_numbers(sentence: str, measure: str) -> Markup:
    """The verdict with its brackets of numbers in lighter type, so that the words stand out."""
    brackets = re.compile(rf"\({re.escape(str(escape(measure)))} [^()]*\)")
    return Markup(brackets.sub(lambda found: f'<span class="figures">{found[0]}</span>', str(escape(sentence))))
