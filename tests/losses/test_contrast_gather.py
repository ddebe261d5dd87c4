"""InfoNCE over two processes: the keys of both are candidates, and gradients reach their own process."""

import os

import torch
from torch import distributed, multiprocessing

from dimlift.losses.contrast import info_nce


def _pairs():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 4, generator=generator), torch.randn(7, 4, generator=generator)


def _process(rank, port, results):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    queries, keys = _pairs()
    local = slice(0, 3) if rank == 0 else slice(3, 7)  # the second process has one more pair, which is dropped
    own = keys[local].clone().requires_grad_()
    loss = info_nce(queries[local], own, 0.1, gather=True)
    loss.backward()
    results.put((rank, loss.item(), own.grad.tolist()))
    distributed.destroy_process_group()


def test_info_nce_gathers_keys_of_all_processes():
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    port = 20000 + os.getpid() % 20000
    started = [context.Process(target=_process, args=(rank, port, results)) for rank in range(2)]
    for each in started:
        each.start()
    found = sorted(results.get() for _ in started)
    for each in started:
        each.join()
    queries, keys = (part[:6] for part in _pairs())
    keys = keys.clone().requires_grad_()
    single = info_nce(queries, keys, 0.1)
    single.backward()
    assert abs((found[0][1] + found[1][1]) / 2 - single.item()) < 1e-5
    grads = torch.tensor(found[0][2] + found[1][2][:3])
    assert torch.allclose(grads / 2, keys.grad, atol=1e-5)
