"""One self-contained HTML page about a study: the verdict first, then the evidence."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from dimlift.records.printable_text import printable
from dimlift.records.record import RunRecord, load_records, write_text
from dimlift.records.study import Study
from dimlift.report import phrases
from dimlift.report.case_selection import MAX_PREDICTIONS, select_rows
from dimlift.report.case_views import case_views
from dimlift.report.certificates import certificate_views
from dimlift.report.crossing_figure import crossing_figure
from dimlift.report.crossing_sentence import crossing_sentence
from dimlift.report.figures import MAX_ROWS, forest_plot, training_curves
from dimlift.report.heatmap import Heatmap, draw_heatmap
from dimlift.report.label_curves import MAX_ARMS, label_curves
from dimlift.report.measures import MEASURES
from dimlift.report.power import power_sentence
from dimlift.report.renderers import RENDERERS
from dimlift.report.slice_viewer import Viewer
from dimlift.report.summary import summarise_records
from dimlift.report.summary_types import Summary
from dimlift.report.tables import write_tables
from dimlift.report.verdict import VerdictRules

PAGE_NAME = "report.html"
FILTERS = (
    "format_number", "format_signed", "format_p", "plural", "format_interval", "format_duration", "format_memory",
    "format_energy", "format_label_savings", "format_train_size",
)  # fmt: skip
MEASURED_COSTS = (
    ("cpu_seconds", phrases.format_duration),
    ("gpu_bytes", phrases.format_memory),
    ("joules", phrases.format_energy),
)


def write_report(folder: Path, out: Path | None = None, rules: VerdictRules | None = None) -> Path:
    """Write the page of a study, finished or not, with its tables, and return its path.

    Args:
        folder: study folder written by `dimlift compare`.
        out: the HTML file; `folder/report.html` by default.
        rules: margin and failures to allow for; those of the study by default.

    Raises:
        DataError: if the folder holds no study, or a record in it cannot be read.
    """
    study, records = Study.load(folder), load_records(folder / "records")
    out = folder / PAGE_NAME if out is None else out
    out.parent.mkdir(parents=True, exist_ok=True)
    summary = summarise_records(study, records, rules)
    page = render_page(folder, study, records, summary)
    write_tables(out, summary, records)
    return write_text(out, printable(page))  # names of cases are text of foreign files


def render_page(folder: Path, study: Study, records: Sequence[RunRecord], summary: Summary) -> str:
    """Return the page as HTML without external resources."""
    records = [record for record in records if record.arm in study.arms]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dimlift.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {name: getattr(phrases, name) for name in FILTERS}
    environment.filters["wrap_numbers"] = _wrap_numbers
    renderer, heatmap = RENDERERS[study.modality], draw_heatmap(summary, records)
    viewer = renderer.viewer(folder, study, summary, records)
    script = environment.loader.get_source(environment, "page.js")[0] if environment.loader else ""
    covers = _covers(summary)
    num_rows = len(select_rows(summary))
    return environment.get_template("page.html.j2").render(
        study=study,
        summary=summary,
        reference=next(row.title for row in summary.rows if row.is_reference),
        multiple=len(study.arms) > 1,
        partial_coverage=covers != {"cases and seeds"},
        one_seed="cases" in covers,
        class_names=[result.name for result in summary.rows[0].classes],
        unfinished=list(dict.fromkeys(row.title for row in summary.rows if not row.finished)),
        other_measures=_other_measures(summary),
        forest=forest_plot(summary),
        num_compared=sum(row.comparison is not None for row in summary.rows),
        max_rows=MAX_ROWS,
        max_arms=MAX_ARMS,
        power=power_sentence(summary),
        limits=phrases.verdict_limits(summary.rows, summary.measure.digits),
        crossing=crossing_figure(summary),
        crossing_sentences=[crossing_sentence(title, found) for title, found in summary.crossings],
        label_curves=label_curves(summary),
        measured_costs=[
            (name, formatter)
            for name, formatter in MEASURED_COSTS
            if any(getattr(row, name) is not None for row in summary.rows)
        ],
        training_curves=training_curves(summary, records, over_seconds="seconds" in study.budget),
        largest_cost=_largest_cost(summary),
        cases=case_views(renderer, folder, study, summary, records),
        cases_note=renderer.note,
        viewer=viewer,
        heatmap=heatmap,
        num_predicted_arms=num_rows if num_rows > MAX_PREDICTIONS else 0,
        inlined=_inlined(viewer, heatmap),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        legend=renderer.legend(study),
        certificates=certificate_views(study),
        remarks=_remarks(study, records),
        versions=_versions(records),
        budget=_budget(study),
    )


def _inlined(viewer: Viewer | None, heatmap: Heatmap | None) -> list[tuple[str, Markup]]:
    """Return ids and JSON content of the page's data elements."""
    content: dict[str, Any] = {}
    if viewer is not None:
        content["viewer-content"] = {"cases": viewer.cases, "arms": viewer.arms, "most": MAX_PREDICTIONS}
    if heatmap is not None:
        content["heatmap-content"] = {
            "arms": heatmap.arms, "cases": heatmap.cases, "differences": heatmap.differences
        }  # fmt: skip
    return [(name, _to_script_json(value)) for name, value in content.items()]


def _to_script_json(content: Any) -> Markup:
    """Return JSON that cannot end the surrounding script element."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _covers(summary: Summary) -> set[str]:
    """Return the sources of variation that the intervals of the page account for."""
    return {row.comparison.estimate.covers for row in summary.rows if row.comparison} or {"cases and seeds"}


def _other_measures(summary: Summary) -> list[tuple[str, str, int]]:
    found = {name for row in summary.rows for name, value in row.other_measures.items() if value is not None}
    return [(name, measure.title, measure.digits) for name, measure in MEASURES.items() if name in found]


def _largest_cost(summary: Summary) -> dict[str, float]:
    """Return the largest time and memory, which the bars are scaled to."""
    return {
        "seconds": max((row.seconds or 0.0 for row in summary.rows), default=0.0) or 1.0,
        "peak_bytes": max((row.peak_bytes or 0 for row in summary.rows), default=0) or 1,
    }


def _versions(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return every version in the records; several if packages were upgraded during the study."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in record.versions.items():
            found.setdefault(name, {})[version] = None
    return [(name, ", ".join(versions)) for name, versions in sorted(found.items())]


def _remarks(study: Study, records: Sequence[RunRecord]) -> list[tuple[str, str, int]]:
    """Return the notes of the runs: title of the arm, sentence, and number of its runs."""
    counts: dict[tuple[str, str], int] = {}
    for record in records:
        for note in dict.fromkeys(map(str, record.extra.get("notes") or ())):
            key = (study.arms[record.arm].title or record.arm, note)
            counts[key] = counts.get(key, 0) + 1
    return [(title, note, count) for (title, note), count in counts.items()]


def _budget(study: Study) -> str:
    parts = [
        f"{phrases.format_duration(value)} of training" if name == "seconds" else f"{value} {name}"
        for name, value in study.budget.items()
    ]
    return ", ".join(parts) or "not stated"


def _wrap_numbers(sentence: str, measure: str) -> Markup:
    """Wrap the brackets with numbers in the verdict, so that they can be styled differently from the words."""
    brackets = re.compile(rf"\({re.escape(str(escape(measure)))} [^()]*\)")
    return Markup(brackets.sub(lambda match: f'<span class="figures">{match[0]}</span>', str(escape(sentence))))
