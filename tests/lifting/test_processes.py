"""Distributed training of two processes with volumes of different depth."""

import os
import socket
import subprocess
import sys

import torch
from torch import nn

import dimlift
from dimlift import DepthPlan

DEPTHS = (2, 5)


def lifted_network():
    """Return a network with the same weights in every process."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, 4, 3, padding=1, stride=2)).double()
    return dimlift.lift(network, DepthPlan(kernel=3, inflation="average"), certify=False)


def volume(rank):
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(1 + rank, 1, DEPTHS[rank], 6, 6, generator=generator, dtype=torch.float64)


def run_worker(rank):
    """Compare the gradients of one of two processes with those of a single process."""
    torch.distributed.init_process_group("gloo", rank=rank, world_size=len(DEPTHS))
    single = lifted_network()
    for other in range(len(DEPTHS)):
        (single(volume(other)).square().mean() / len(DEPTHS)).backward()
    for compiled in (False, True):
        lifted = lifted_network()
        run = torch.compile(lifted, backend="eager", fullgraph=True) if compiled else lifted
        parallel = nn.parallel.DistributedDataParallel(run)
        out = parallel(volume(rank))
        assert out.shape[:3] == (1 + rank, 4, DEPTHS[rank])
        out.square().mean().backward()
        for found, expected in zip(lifted.parameters(), single.parameters(), strict=True):
            torch.testing.assert_close(found.grad, expected.grad)
    torch.distributed.destroy_process_group()


def test_two_processes_average_gradients_of_different_depths():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    processes = [
        subprocess.Popen(
            [*command, str(rank)], env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(len(DEPTHS))
    ]
    try:
        logs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(logs)


if __name__ == "__main__":
    run_worker(int(sys.argv[1]))
