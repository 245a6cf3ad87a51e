"""Where a network is trained: one device, several, several nodes; a process for each, with its share of a batch."""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nbtools.errors import InputError, Interrupted
from nbtools.processes import on_sigterm, place

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def best_device() -> torch.device:
    """Return the CUDA device if there is one (this process's own, where several share a node), else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", place().local % torch.cuda.device_count())


def launch(train: Callable[..., None], arguments: tuple[Any, ...], devices: int) -> None:
    """Call ``train(fabric_options, *arguments)`` in a new process for every device, and wait for all of them.

    They are new processes, not copies of this one: a copy of a process that has used a GPU cannot use it. Where
    ``torchrun`` or ``srun`` started several processes, each of them starts one.

    Parameters
    ----------
    train : callable
        A module's function.
    arguments : tuple
        What can be sent to another process.
    devices : int
        Of each node.

    Raises
    ------
    InputError
        If `devices` is not the number of processes that were started on each node, and what `train` raises.
    """
    options, members = _meeting(devices)
    context = torch.multiprocessing.get_context("spawn")
    failures = context.SimpleQueue()
    processes = [
        context.Process(target=_work, args=(train, options, arguments, variables, failures)) for variables in members
    ]
    told: list[int] = []

    def stop() -> None:
        told.append(signal.SIGTERM)
        for process in processes:
            process.terminate()

    try:
        for process in processes:
            process.start()
        with on_sigterm(stop):
            _wait(processes)
    finally:  # an error or an interrupt here ends all of them
        for process in processes:
            if process.is_alive():
                process.kill()
    if any(process.exitcode for process in processes):
        if not failures.empty():
            raise failures.get()
        raise Interrupted() if told else _died([process.exitcode for process in processes])


def _meeting(devices: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return Fabric's options, and of each process to start here the variables by which it finds the others."""
    here = place()
    alone = here.n_processes == 1
    # All of them must see it: one that ends alone leaves the others waiting for it.
    if not alone and (here.n_processes % devices or here.each != devices or here.local >= devices):
        raise InputError(
            "devices and processes do not fit",
            expected=f"a multiple of devices = {devices} processes, {devices} on each node",
            got=f"{here.n_processes} processes started together, {here.each} on a node, this one number {here.local}",
            fix="start as many processes on each node as there are devices (srun --ntasks-per-node), "
            "or one process alone, which starts the others",
        )
    options = {"devices": devices, "num_nodes": 1 if alone else here.n_processes // devices, "strategy": "ddp"}
    meeting = {
        "MASTER_ADDR": here.address,
        "MASTER_PORT": str(here.port or _free_port()),
        "NODE_RANK": str(here.node),
    }
    return options, [{**meeting, "LOCAL_RANK": str(local)} for local in (range(devices) if alone else [here.local])]


def _wait(processes: list[Any]) -> None:
    """Wait for all, or until one fails: the others would wait for it for ever."""
    while any(process.is_alive() for process in processes):
        for process in processes:
            process.join(0.1)
            if process.exitcode:
                return


def _died(codes: list[int | None]) -> InputError:
    return InputError(
        "a training process died",
        expected="every process to end by itself",
        got=f"exit codes {codes} (negative: the signal that ended it; -9 is often the system, when memory runs out)",
        fix="look at the memory, then run the same again: it goes on from its checkpoint",
    )


def _work(
    train: Callable[..., None],
    options: dict[str, Any],
    arguments: tuple[Any, ...],
    variables: dict[str, str],
    failures: Any,
) -> None:
    os.environ |= variables
    if not torch.cuda.is_available():  # processes share the cores
        torch.set_num_threads(max(1, torch.get_num_threads() // options["devices"]))
    _unshare(arguments)
    try:
        train(options, *arguments)
    except Exception as error:
        if not isinstance(error, InputError | Interrupted):  # those say it all
            error.add_note(traceback.format_exc())
        failures.put(error)
        raise SystemExit(1) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _unshare(arguments: tuple[Any, ...]) -> None:
    """Give this process weights of its own: tensors come from another process as memory that all of them share."""
    for module in arguments:
        if isinstance(module, nn.Module):
            for tensor in [*module.parameters(), *module.buffers()]:
                tensor.data = tensor.data.clone()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def make_fabric(precision: Any, **options: Any) -> Fabric:
    """Return a Fabric for one device, or for what `launch` says in `options`."""
    # imports slowly, and only training needs it
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    # named, so that Fabric does not look for Slurm itself and misread a job of one task
    return Fabric(
        accelerator="auto", precision=precision, plugins=[LightningEnvironment()], **{"devices": 1, **options}
    )


class _Total(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the mean and variance over the shares of all processes: over the batch, as if it were one.

    As ``torch.nn.SyncBatchNorm``, which exists on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise feature maps (n, c, h, w)."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            values = x.float()
            n = values.new_tensor([values.numel() // values.shape[1]])
            total, count = _Total.apply(torch.cat([values.sum((0, 2, 3)), n])).split([self.num_features, 1])
            centred = values - (total / count)[:, None, None]
            variance = _Total.apply(centred.square().sum((0, 2, 3))) / count
            self._remember(total / count, variance * count / (count - 1))
            normal = centred * (self.weight * (variance + self.eps).rsqrt())[:, None, None]
            return (normal + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert isinstance(self.running_mean, Tensor)
        assert isinstance(self.running_var, Tensor)
        assert isinstance(self.num_batches_tracked, Tensor)
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def share_statistics(module: nn.Module) -> None:
    """Make every batch normalisation of a module a `SyncedBatchNorm2d`, in place."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SyncedBatchNorm2d  # same parameters, same buffers, same names


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolve in float32 on GPUs too, not in TF32: a training is known again by numbers that no device changes."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn running out of memory into an `InputError` that says what to do."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_memory(error):
            raise
        raise InputError(
            "memory ran out",
            expected="enough memory for a batch, the network and its gradients",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix=advice,
        ) from error


def _is_memory(error: RuntimeError) -> bool:
    """Tell torch's many ways to say so; on a CPU it has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)
