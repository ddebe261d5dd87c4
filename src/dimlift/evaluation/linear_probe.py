"""How much of an answer lies in embeddings: a linear probe and nearest neighbours, cross-validated by patient."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DataError
from dimlift.metrics.classification import auroc
from dimlift.metrics.patients import patient_interval
from dimlift.records.embeddings import Embeddings

NEIGHBOURS = 5
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the penalty a probe chooses among, within its own training patients."""


@dataclass(frozen=True)
class Finding:
    """What a probe came to.

    Attributes:
        probe: "linear" or "neighbours".
        metric: "AUROC" (mean over classes where there are more than two) or "mean absolute error".
        value: over all cases, each predicted by the fold that did not train on its patient.
        interval: 95 %, a bootstrap over patients; None where it cannot be drawn.
    """

    probe: str
    metric: str
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Probing:
    """Findings, and on how much they rest."""

    findings: list[Finding]
    cases: int
    patients: int
    folds: int


def probe(
    embeddings: Embeddings,
    labels: Path | None = None,
    *,
    column: str = "label",
    group: str = "group",
    task: Literal["classification", "regression"] = "classification",
    folds: int = 5,
    seed: int = 0,
) -> Probing:
    """Probe embeddings.

    Args:
        labels: a CSV table with `name`, the label and the patient; without it what `embed` found in the data set.
        column: of the label.
        group: of the patient; without such a column the data set's own patients are taken.

    Raises:
        DataError: naming cases without a row, columns that are missing, or too few patients.
    """
    answers, groups = _told(embeddings, labels, column, group)
    known = np.array([bool(answer) for answer in answers])
    if not known.any():
        raise DataError("no volume has a label; give a table with --labels (columns name, label)")
    vectors, groups = embeddings.vectors[known], groups[known]
    patients = len(np.unique(groups))
    if patients < folds:
        raise DataError(f"{patients} patient(s) for {folds} folds; ask for at most {patients} with --folds")
    texts = answers[known]
    truth: NDArray[Any]
    score: Callable[[Any, Any], float | None]
    if task == "regression":
        truth = _numbers(texts)
        predicted = {name: _regress(name, vectors, truth, groups, folds) for name in ("linear", "neighbours")}
        metric, score = "mean absolute error", _absolute_error
    else:
        names, truth = np.unique(texts, return_inverse=True)
        if len(names) < 2:
            raise DataError(f"every labelled volume is of the class {names[0]!r}; there is nothing to tell apart")
        predicted = {n: _classify(n, vectors, truth, groups, folds, seed) for n in ("linear", "neighbours")}
        metric, score = "AUROC", auroc
    findings = []
    for name, answer in predicted.items():
        value = score(answer, truth)
        if value is None:
            raise DataError("no class has both cases of it and others; check the labels")

        def of(chosen: NDArray[np.intp], answer: NDArray[Any] = answer) -> float | None:
            return score(answer[chosen], truth[chosen])

        findings.append(Finding(name, metric, value, patient_interval(of, groups, seed=seed)))
    return Probing(findings, len(vectors), patients, folds)


def _told(
    embeddings: Embeddings, table: Path | None, column: str, group: str
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Label and patient of every volume."""
    if table is None:
        return embeddings.labels, embeddings.groups
    if not table.is_file():
        raise DataError(f"there is no table {table}; check the path")
    with table.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    found = list(rows[0]) if rows else []
    absent = [name for name in ("name", column) if name not in found]
    if absent:
        raise DataError(f"{table} has the columns {', '.join(found)}; {' and '.join(absent)} is missing")
    if group not in found and group != "group":
        raise DataError(f"{table} has the columns {', '.join(found)}, but none called {group}; look at --group")
    by_name = {row["name"]: row for row in rows}
    if len(by_name) < len(rows):
        raise DataError(f"{table} names a volume twice; give every volume one row")
    strangers = [name for name in embeddings.names if name not in by_name]
    if strangers:
        shown = ", ".join(strangers[:5]) + (f" and {len(strangers) - 5} more" if len(strangers) > 5 else "")
        raise DataError(f"{table} has no row for {len(strangers)} volumes: {shown}; leave the label empty if unknown")
    own = dict(zip(embeddings.names, embeddings.groups, strict=True))
    labels = [by_name[name][column] or "" for name in embeddings.names]
    groups = [by_name[name].get(group) or own[name] for name in embeddings.names]
    return np.array(labels, np.str_), np.array(groups, np.str_)


def _classify(
    name: str, vectors: NDArray[Any], truth: NDArray[Any], groups: NDArray[Any], folds: int, seed: int
) -> NDArray[Any]:
    """Probabilities of every case, (cases, classes), by the fold that did not see its patient."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.neighbors import KNeighborsClassifier

    found = np.zeros((len(truth), truth.max() + 1))
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(vectors, truth, groups)
    for train, test in parts:
        if len(np.unique(truth[train])) < 2:
            raise DataError(f"a fold trains on one class only; ask for fewer than {folds} folds, or add patients")
        if name == "linear":
            model = _chosen(
                LogisticRegression(max_iter=2000, class_weight="balanced"),
                [{"C": s} for s in STRENGTHS], "neg_log_loss", vectors[train], truth[train], groups[train],
            )  # fmt: skip
        else:
            count = min(NEIGHBOURS, len(train))
            model = _scaled(KNeighborsClassifier(count, metric="cosine", weights="distance"))
            model.fit(vectors[train], truth[train])
        found[np.ix_(test, model.classes_)] = model.predict_proba(vectors[test])
    return found


def _regress(name: str, vectors: NDArray[Any], truth: NDArray[Any], groups: NDArray[Any], folds: int) -> NDArray[Any]:
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold
    from sklearn.neighbors import KNeighborsRegressor

    found = np.zeros(len(truth))
    for train, test in GroupKFold(folds).split(vectors, truth, groups):
        if name == "linear":
            model = _chosen(
                Ridge(), [{"alpha": vectors.shape[1] / s} for s in STRENGTHS], "neg_mean_absolute_error",
                vectors[train], truth[train], groups[train],
            )  # fmt: skip
        else:
            model = _scaled(KNeighborsRegressor(min(NEIGHBOURS, len(train)), metric="cosine", weights="distance"))
            model.fit(vectors[train], truth[train])
        found[test] = model.predict(vectors[test])
    return found


def _chosen(
    model: Any, choices: list[dict[str, float]], scoring: str, vectors: Any, truth: Any, groups: NDArray[Any]
) -> Any:
    """The model with the penalty that does best for patients left out of the training patients."""
    from sklearn.model_selection import GridSearchCV, GroupKFold

    scaled = _scaled(model)
    step = scaled.steps[-1][0]
    inner = min(3, len(np.unique(groups)))
    grid = [{f"{step}__{key}": [value] for key, value in choice.items()} for choice in choices]
    search = GridSearchCV(scaled, grid, scoring=_forgiving(scoring), cv=GroupKFold(inner), error_score=-np.inf)
    return search.fit(vectors, truth, groups=groups).best_estimator_


def _forgiving(scoring: str) -> Callable[[Any, Any, Any], float]:
    """A score that survives an inner fold without one of the classes."""
    from sklearn.metrics import get_scorer, log_loss

    def score(model: Any, vectors: Any, truth: Any) -> float:
        if scoring != "neg_log_loss":
            return float(get_scorer(scoring)(model, vectors, truth))
        seen = np.isin(truth, model.classes_)
        chances = model.predict_proba(vectors[seen])
        return -float(log_loss(truth[seen], chances, labels=model.classes_)) if seen.any() else -np.inf

    return score


def _scaled(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)


def _numbers(texts: NDArray[np.str_]) -> NDArray[np.float64]:
    try:
        return texts.astype(np.float64)
    except ValueError as fault:
        raise DataError(f"regression wants numbers as labels: {fault}; or set --task classification") from fault


def _absolute_error(predicted: NDArray[Any], truth: NDArray[Any]) -> float | None:
    return float(np.abs(predicted - truth).mean()) if len(truth) else None
