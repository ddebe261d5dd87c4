"""Two processes, each with volumes of its own depth: the fold is each one's own, and their gradients are averaged."""

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
    """The same weights in every process."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, 4, 3, padding=1, stride=2)).double()
    return dimlift.lift(network, DepthPlan(kernel=3, profile="average"), certify=False)


def volume(rank):
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(1 + rank, 1, DEPTHS[rank], 6, 6, generator=generator, dtype=torch.float64)


def process(rank):
    """One of the two: forwards and backwards, compared with both volumes seen by one process."""
    torch.distributed.init_process_group("gloo", rank=rank, world_size=len(DEPTHS))
    alone = lifted_network()
    for other in range(len(DEPTHS)):
        (alone(volume(other)).square().mean() / len(DEPTHS)).backward()
    for compiled in (False, True):
        lifted = lifted_network()
        run = torch.compile(lifted, backend="eager", fullgraph=True) if compiled else lifted
        parallel = nn.parallel.DistributedDataParallel(run)
        out = parallel(volume(rank))
        assert out.shape[:3] == (1 + rank, 4, DEPTHS[rank])
        out.square().mean().backward()
        for got, want in zip(lifted.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(got.grad, want.grad)
    torch.distributed.destroy_process_group()


def test_two_processes_with_volumes_of_different_depth_train_as_one_compiled_or_not():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    running = [
        subprocess.Popen(
            [*command, str(rank)], env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(len(DEPTHS))
    ]
    try:
        said = [one.communicate(timeout=120)[0] for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0, 0], "\n".join(said)


if __name__ == "__main__":
    process(int(sys.argv[1]))
