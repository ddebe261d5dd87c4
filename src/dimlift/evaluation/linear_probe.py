"""Linear probe and nearest neighbours on embeddings, cross-validated by patient."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from dimlift.data.datasets.csv_rows import read_table_rows
from dimlift.errors import DataError
from dimlift.evaluation.probe_score import ConfusionTable, ProbeScore
from dimlift.metrics.classification import auroc, balanced_accuracy
from dimlift.metrics.patients import patient_interval
from dimlift.metrics.points import confusion_matrix
from dimlift.records.embeddings import Embeddings

NUM_NEIGHBOURS = 5
INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Candidates for the inverse penalty of the linear probe, chosen among the training patients."""


@dataclass(frozen=True)
class CrossValidatedProbe:
    """Scores over all cases, each predicted by the cv fold that was not trained on its patient."""

    scores: list[ProbeScore]
    cases: int
    patients: int
    folds: int
    confusion: ConfusionTable | None = None
    """Of the linear probe; None for a regression."""

    @property
    def summary(self) -> str:
        """How the scores were measured, and the confusion matrix of a classification."""
        text = (
            f"{self.cases} cases of {self.patients} patients, {self.folds} folds by patient; in brackets the 95 % "
            "interval of a bootstrap over patients, with fixed predictions"
        )
        return text if self.confusion is None else f"{text}\n{self.confusion}"


def cross_validated_probe(
    embeddings: Embeddings,
    labels: Path | None = None,
    *,
    label_column: str = "label",
    group_column: str = "group",
    task: Literal["classification", "regression"] = "classification",
    folds: int = 5,
    seed: int = 0,
) -> CrossValidatedProbe:
    """Probe embeddings by cross-validation.

    Args:
        labels: CSV table with `name`, the label and the patient; None takes the labels stored by `embed`.
        label_column: column of the label.
        group_column: column of the patient; without such a column the patients stored by `embed` are taken.

    Raises:
        DataError: naming cases without a row, missing columns, or too few patients.
    """
    texts, groups = _load_labels(embeddings, labels, label_column, group_column)
    known = np.array([bool(text) for text in texts])
    if not known.any():
        raise DataError("no case has a label; give a table with --labels (columns name, label)")
    vectors, groups, texts = embeddings.vectors[known], groups[known], texts[known]
    patients = len(np.unique(groups))
    if patients < folds:
        raise DataError(f"{patients} patient(s) for {folds} folds; set --folds to at most {patients}")
    truth: NDArray[Any]
    metrics: dict[str, Callable[[Any, Any], float | None]]
    confusion = None
    if task == "regression":
        truth = _as_numbers(texts)
        predicted = {name: _regress(name, vectors, truth, groups, folds) for name in ("linear", "neighbours")}
        metrics = {"mean absolute error": _mean_absolute_error}
    else:
        names, truth = np.unique(texts, return_inverse=True)
        if len(names) < 2:
            raise DataError(f"every labelled case has the class {names[0]!r}; a probe needs at least two classes")
        predicted = {n: _classify(n, vectors, truth, groups, folds, seed) for n in ("linear", "neighbours")}
        if auroc(predicted["linear"], truth) is None:
            raise DataError("no class has both positive and negative cases; check the labels")
        metrics = {"AUROC": auroc, "balanced accuracy": _balanced_accuracy, "accuracy": _accuracy}
        confusion = ConfusionTable(
            tuple(names.tolist()), confusion_matrix(predicted["linear"].argmax(1), truth, len(names))
        )
    scores = [
        _score(name, metric, score, found, truth, groups, seed)
        for metric, score in metrics.items()
        for name, found in predicted.items()
    ]
    return CrossValidatedProbe(scores, len(vectors), patients, folds, confusion)


def _score(
    name: str,
    metric: str,
    score: Callable[[Any, Any], float | None],
    found: NDArray[Any],
    truth: NDArray[Any],
    groups: NDArray[Any],
    seed: int,
) -> ProbeScore:
    """Return a score of all cases with its interval over patients."""

    def of_cases(chosen: NDArray[np.intp]) -> float | None:
        return score(found[chosen], truth[chosen])

    return ProbeScore(name, metric, cast(float, score(found, truth)), patient_interval(of_cases, groups, seed=seed))


def _accuracy(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    return float((probabilities.argmax(1) == truth).mean())


def _balanced_accuracy(probabilities: NDArray[Any], truth: NDArray[Any]) -> float:
    return balanced_accuracy(probabilities.argmax(1), truth)


def _load_labels(
    embeddings: Embeddings, table: Path | None, column: str, group: str
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Return the label and the patient of every case."""
    if table is None:
        return embeddings.labels, embeddings.groups
    if not table.is_file():
        raise DataError(f"there is no table {table}; check the path")
    rows, found = read_table_rows(table)
    column, group = column.lower(), group.lower()
    absent = [name for name in ("name", column) if name not in found]
    if absent:
        raise DataError(f"{table} has the columns {', '.join(found)}; {' and '.join(absent)} is missing")
    if group not in found and group != "group":
        raise DataError(f"{table} has the columns {', '.join(found)}, but none called {group}; correct --group")
    by_name = {row["name"]: row for row in rows}
    if len(by_name) < len(rows):
        raise DataError(f"{table} names a case twice; give every case one row")
    missing = [name for name in embeddings.names if name not in by_name]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(f"{table} has no row for {len(missing)} cases: {shown}; leave the label empty if unknown")
    own = dict(zip(embeddings.names, embeddings.groups, strict=True))
    labels = [by_name[name][column] or "" for name in embeddings.names]
    groups = [by_name[name].get(group) or own[name] for name in embeddings.names]
    return np.array(labels, np.str_), np.array(groups, np.str_)


def _classify(
    name: str, vectors: NDArray[Any], truth: NDArray[Any], groups: NDArray[Any], folds: int, seed: int
) -> NDArray[Any]:
    """Return the probabilities of every case, (cases, classes), by the cv fold without its patient."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.neighbors import KNeighborsClassifier

    found = np.zeros((len(truth), truth.max() + 1))
    for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(vectors, truth, groups):
        if len(np.unique(truth[train])) < 2:
            raise DataError(f"a fold trains on one class only; set --folds below {folds}, or add patients")
        if name == "linear":
            model = _grid_search(
                LogisticRegression(max_iter=2000, class_weight="balanced"),
                [{"C": s} for s in INVERSE_PENALTIES], "neg_log_loss", vectors[train], truth[train], groups[train],
            )  # fmt: skip
        else:
            count = min(NUM_NEIGHBOURS, len(train))
            model = _standardised(KNeighborsClassifier(count, metric="cosine", weights="distance"))
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
            model = _grid_search(
                Ridge(), [{"alpha": vectors.shape[1] / s} for s in INVERSE_PENALTIES], "neg_mean_absolute_error",
                vectors[train], truth[train], groups[train],
            )  # fmt: skip
        else:
            count = min(NUM_NEIGHBOURS, len(train))
            model = _standardised(KNeighborsRegressor(count, metric="cosine", weights="distance"))
            model.fit(vectors[train], truth[train])
        found[test] = model.predict(vectors[test])
    return found


def _grid_search(
    model: Any, candidates: list[dict[str, float]], scoring: str, vectors: Any, truth: Any, groups: NDArray[Any]
) -> Any:
    """Return the model with the penalty that scores best on held-out patients among the training patients.

    Inner folds that train on one class, or hold out classes they do not train on, are left out; if none is left, or
    there is one training patient only, the penalty in the middle is used.
    """
    from sklearn.model_selection import GridSearchCV, GroupKFold

    scaled = _standardised(model)
    step = scaled.steps[-1][0]
    inner = min(3, len(np.unique(groups)))
    grid = [{f"{step}__{key}": [value] for key, value in candidate.items()} for candidate in candidates]
    splits = list(GroupKFold(inner).split(vectors, truth, groups)) if inner > 1 else []
    if scoring == "neg_log_loss":
        splits = [split for split in splits if _can_score(truth, *split)]
    if not splits:
        chosen = {key: values[0] for key, values in grid[len(grid) // 2].items()}
        return scaled.set_params(**chosen).fit(vectors, truth)
    return GridSearchCV(scaled, grid, scoring=_safe_scorer(scoring), cv=splits).fit(vectors, truth).best_estimator_


def _can_score(truth: NDArray[Any], train: NDArray[np.intp], test: NDArray[np.intp]) -> bool:
    return len(np.unique(truth[train])) > 1 and bool(np.isin(truth[test], truth[train]).any())


def _safe_scorer(scoring: str) -> Callable[[Any, Any, Any], float]:
    """Return a scorer that works on an inner fold without one of the classes."""
    from sklearn.metrics import get_scorer, log_loss

    def score(model: Any, vectors: Any, truth: Any) -> float:
        if scoring != "neg_log_loss":
            return float(get_scorer(scoring)(model, vectors, truth))
        seen = np.isin(truth, model.classes_)
        probabilities = model.predict_proba(vectors[seen])
        return -float(log_loss(truth[seen], probabilities, labels=model.classes_))

    return score


def _standardised(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)


def _as_numbers(texts: NDArray[np.str_]) -> NDArray[np.float64]:
    try:
        return texts.astype(np.float64)
    except ValueError as fault:
        raise DataError(f"a regression needs numbers as labels: {fault}; or set --task classification") from fault


def _mean_absolute_error(predicted: NDArray[Any], truth: NDArray[Any]) -> float | None:
    return float(np.abs(predicted - truth).mean()) if len(truth) else None
