"""The weight of each slice of a file in the prediction of a slice-wise classifier."""

import numpy as np
import torch

from dimlift.data.preprocessing.sample import Sample
from dimlift.methods.method import Method


def file_slice_weights(method: Method, sample: Sample) -> tuple[int, list[float]] | None:
    """Return the axis of the file along which slices lie, and the weight of each slice; the weights sum to one.

    Where depth was resampled, weights are interpolated. None for networks that do not weigh slices.
    """
    weights = method.slice_weights(torch.from_numpy(sample.image))
    if weights is None:
        return None
    geometry, found = sample.geometry, weights.numpy()
    depth = geometry.reoriented_shape[0]
    positions = (np.arange(depth) + 0.5) * len(found) / depth - 0.5
    along = np.interp(positions, np.arange(len(found)), found)
    numbers = np.broadcast_to(np.arange(depth)[:, None, None], geometry.reoriented_shape)
    order = geometry.reorientation.inverse(numbers)
    axis = next((i for i in range(3) if np.ptp(order.take([0, -1], i), axis=i).any()), 0)
    slices = np.moveaxis(order, axis, 0)[:, 0, 0]
    return axis, (along[slices] / along.sum()).tolist()
