"""With two processes, the keys of both are candidates, and gradients find their way home."""

import os

import torch
from torch import distributed, multiprocessing

from dimlift.losses.contrast import info_nce


def _pairs():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(7, 4, generator=draw), torch.randn(7, 4, generator=draw)


def _process(rank, port, answers):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    queries, keys = _pairs()
    mine = slice(0, 3) if rank == 0 else slice(3, 7)  # the second has one pair more, which is left out
    own = keys[mine].clone().requires_grad_()
    loss = info_nce(queries[mine], own, 0.1, gather=True)
    loss.backward()
    answers.put((rank, loss.item(), own.grad.tolist()))
    distributed.destroy_process_group()


def test_two_processes_are_one_batch():
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    port = 20000 + os.getpid() % 20000
    started = [context.Process(target=_process, args=(rank, port, answers)) for rank in range(2)]
    for each in started:
        each.start()
    found = sorted(answers.get() for _ in started)
    for each in started:
        each.join()
    queries, keys = (part[:6] for part in _pairs())
    keys = keys.clone().requires_grad_()
    whole = info_nce(queries, keys, 0.1)
    whole.backward()
    assert abs((found[0][1] + found[1][1]) / 2 - whole.item()) < 1e-5
    grads = torch.tensor(found[0][2] + found[1][2][:3])
    assert torch.allclose(grads / 2, keys.grad, atol=1e-5)
