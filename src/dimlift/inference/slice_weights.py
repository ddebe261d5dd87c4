"""The weight of each slice of a file in the prediction of a slice-wise classifier."""

import numpy as np
import torch

from dimlift.data.preprocessing.sample import Sample
from dimlift.inference.averaged_crops import covering_crops
from dimlift.methods.method import Method


def file_slice_weights(method: Method, sample: Sample, crop: tuple[int, int, int]) -> tuple[int, list[float]] | None:
    """Return the axis of the file along which slices lie, and the weight of each slice; the weights sum to one.

    Where depth was resampled, weights are interpolated. None for networks that do not weigh slices.

    Args:
        crop: (depth, height, width) of a training patch; weights of several crops are averaged, as predictions are.
    """
    image = torch.from_numpy(sample.image)
    found = np.zeros(image.shape[1])
    for box in covering_crops(tuple(image.shape[1:]), crop):
        weights = method.slice_weights(image[(slice(None), *box)])
        if weights is None:
            return None
        found[box[0]] += weights.numpy()
    geometry = sample.geometry
    depth = geometry.reoriented_shape[0]
    positions = (np.arange(depth) + 0.5) * len(found) / depth - 0.5
    along = np.interp(positions, np.arange(len(found)), found)
    numbers = np.broadcast_to(np.arange(depth)[:, None, None], geometry.reoriented_shape)
    order = geometry.reorientation.inverse(numbers)
    axis = next((i for i in range(3) if np.ptp(order.take([0, -1], i), axis=i).any()), 0)
    slices = np.moveaxis(order, axis, 0)[:, 0, 0]
    return axis, (along[slices] / along.sum()).tolist()
