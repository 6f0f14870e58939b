"""Students trained apart, and fused into one network by two means: what `fused` compares.

HFTA (arXiv 2102.02344) fuses by groups, `torch.func` by vmap.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from mlfd_tune.core.data import AugmentSpec, augment, normalise
from mlfd_tune.core.losses import distillation_loss
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.training import TrainSpec, build_optimizer

__all__ = [
    "DIFFERENCES_ALLOWED",
    "Apart",
    "Batch",
    "Case",
    "Fused",
    "Grouped",
    "Outputs",
    "Vmapped",
    "differences",
    "renderings",
]

DIFFERENCES_ALLOWED = {
    torch.float64: {"states": 1e-9, "means": 1e-9, "squares": 1e-9, "losses": 1e-9},
    torch.float32: {"losses": 1e-3},
}
"""What `differences` may be after three steps. Single precision has no bound on the weights: Adam
divides a gradient by its own size, and so makes whole steps of those that are zero but for
rounding, as of a bias whose sum the next batch norm takes away."""

_CLASSES = 10
_LEVELS = ("embedding", "stride32")
_AUGMENT = AugmentSpec(crop_padding=2, flip=True)
_WEIGHT_DECAY, _BETAS, _EPSILON = 0.02, (0.9, 0.999), 1e-8

Outputs = tuple[Tensor, dict[str, Tensor]]
"""A student's logits ``(N, classes)`` and its features by level."""

_State = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Case:
    """Students of one architecture on batches of one size.

    Attributes:
        arch: The timm architecture.
        count: How many students.
        size: Side of the images in pixels.
        batch: Images per batch.
        first: Number of the first student; its settings and seed follow from its number.
        dtype: What is computed in.
    """

    arch: str
    count: int
    size: int = 32
    batch: int = 64
    first: int = 0
    dtype: torch.dtype = torch.float32

    def numbers(self) -> range:
        """The numbers of the students."""
        return range(self.first, self.first + self.count)


class Apart:
    """Students trained one after the other, each as the platform trains it."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.students = [_Student.number(number) for number in case.numbers()]
        self.networks = [_network(case, student).to(device) for student in self.students]
        self.optimizers = [
            build_optimizer(
                network.parameters(),
                TrainSpec(optimizer="adamw", lr=student.lr, weight_decay=_WEIGHT_DECAY),
            )
            for network, student in zip(self.networks, self.students, strict=True)
        ]

    def train(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Train every student on all batches, then the next one; return their last losses."""
        losses = []
        for network, student, optimizer in zip(
            self.networks, self.students, self.optimizers, strict=True
        ):
            for batch in batches:
                loss = student.loss(network(batch.images(), _LEVELS), batch)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.detach())
        return losses

    def states(self) -> list[_State]:
        """Return each student's weights and running statistics, and its optimiser's moments."""
        states = []
        for network, optimizer in zip(self.networks, self.optimizers, strict=True):
            moments = {name: optimizer.state[p] for name, p in network.named_parameters()}
            states.append(
                {
                    "states": {name: x.detach() for name, x in network.state_dict().items()},
                    "means": {name: of["exp_avg"] for name, of in moments.items()},
                    "squares": {name: of["exp_avg_sq"] for name, of in moments.items()},
                }
            )
        return states


class Fused(ABC):
    """Students trained as one network. There is no dropout: its draws would be others than apart.

    Attributes:
        parameters: The trained tensors by name; the first axis holds the students in order.
        buffers: The running statistics likewise; what has no axis is common to all.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def __init__(self, case: Case, device: torch.device) -> None:
        self.students = [_Student.number(number) for number in case.numbers()]
        self.fuse([_network(case, student).to(device) for student in self.students])
        rates = [student.lr for student in self.students]
        self.optimizer = _StackedAdamW(list(self.parameters.values()), rates)

    @abstractmethod
    def fuse(self, networks: list[Backbone]) -> None:
        """Take over the weights of `networks`."""

    @abstractmethod
    def outputs(self, images: Tensor) -> list[Outputs]:
        """Return each student's outputs for the images ``(N, 3, H, W)``."""

    @abstractmethod
    def part(self, value: Tensor, number: int) -> Tensor:
        """Return one student's part of a parameter, a buffer or a moment."""

    def train(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Train all students at once on each batch; return their last losses."""
        for batch in batches:
            outputs = self.outputs(batch.images())
            losses = [
                student.loss(output, batch)
                for student, output in zip(self.students, outputs, strict=True)
            ]
            # No weight is shared, so that the sum's gradients are those of each loss.
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return [loss.detach() for loss in losses]

    def states(self) -> list[_State]:
        """Return each student's weights and running statistics, and its optimiser's moments."""
        stacked = {
            "states": self.parameters | self.buffers,
            "means": dict(zip(self.parameters, self.optimizer.means, strict=True)),
            "squares": dict(zip(self.parameters, self.optimizer.squares, strict=True)),
        }
        return [
            {
                kind: {name: self.part(value.detach(), number) for name, value in values.items()}
                for kind, values in stacked.items()
            }
            for number in range(len(self.students))
        ]


class Vmapped(Fused):
    """Students fused by `torch.func`: weights and buffers stacked, one network mapped over them.

    Batch norm writes its running statistics in place. As the buffers are mapped over too, they are
    written to each student's own slice.
    """

    def fuse(self, networks: list[Backbone]) -> None:
        self.parameters, self.buffers = stack_module_state(networks)
        base = networks[0]

        def one(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor
        ) -> Outputs:
            result: Outputs = functional_call(base, (parameters, buffers), (images, _LEVELS))
            return result

        self._all = torch.vmap(one, in_dims=(0, 0, None))

    def outputs(self, images: Tensor) -> list[Outputs]:
        logits, features = self._all(self.parameters, self.buffers, images)
        return [
            (logits[number], {level: maps[number] for level, maps in features.items()})
            for number in range(len(self.students))
        ]

    def part(self, value: Tensor, number: int) -> Tensor:
        return value[number]


class Grouped(Fused):
    """Students fused as HFTA does: their channels side by side, one group of each convolution each.

    Batch norm knows each channel by itself, so that over all channels it is each student's own,
    running statistics included. Not every architecture can be grouped: see `renderings`.
    """

    def fuse(self, networks: list[Backbone]) -> None:
        self.network = _grouped(networks)
        self.parameters = dict(self.network.named_parameters())
        self.buffers = dict(self.network.named_buffers())

    def outputs(self, images: Tensor) -> list[Outputs]:
        count = len(self.students)
        logits, features = self.network(images.repeat(1, count, 1, 1), _LEVELS)
        parts = {level: maps.chunk(count, dim=1) for level, maps in features.items()}
        return [
            (own, {level: maps[number] for level, maps in parts.items()})
            for number, own in enumerate(logits.chunk(count, dim=1))
        ]

    def part(self, value: Tensor, number: int) -> Tensor:
        return value.chunk(len(self.students))[number] if value.dim() else value  # a counter


def renderings(case: Case) -> list[type[Fused]]:
    """Return the ways to fuse such students, the better one first."""
    network = _network(case, _Student.number(0))
    layers = [m for m in network.modules() if next(m.parameters(recurse=False), None) is not None]
    in_groups = all(isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear) for m in layers)
    return [Grouped, Vmapped] if in_groups else [Vmapped]


def differences(fused: type[Fused], case: Case, steps: int = 3) -> dict[str, float]:
    """Return how far students fused are from students apart after some steps from the same start.

    Of the states (weights and running statistics), the optimiser's means and squares and the last
    losses each: the largest difference over the largest value, in any student.
    """
    device = torch.device("cpu")
    apart, together = Apart(case, device), fused(case, device)
    batches = [Batch(case, number, device) for number in range(steps)]
    losses = torch.stack(apart.train(batches)), torch.stack(together.train(batches))
    gaps = {"losses": [((losses[1] - losses[0]) / losses[0]).abs().max()]}
    for one, other in zip(apart.states(), together.states(), strict=True):
        for kind, expected in one.items():
            scale = max(value.abs().max() for value in expected.values())
            gaps.setdefault(kind, []).extend(
                (other[kind][name] - value).abs().max() / scale for name, value in expected.items()
            )
    return {kind: float(torch.stack(values).max()) for kind, values in gaps.items()}


@dataclass(frozen=True)
class _Student:
    alpha: float
    beta: float
    temperature: float
    lr: float
    seed: int

    @classmethod
    def number(cls, number: int) -> _Student:
        """Return a student unlike the ones before it."""
        return cls(
            alpha=0.2 + 0.2 * number,
            beta=0.05 * (number + 1),
            temperature=1.0 + number % 4,
            lr=5e-4 * (number + 1),
            seed=number,
        )

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return Eq. 3 with this student's coefficients."""
        logits, features = outputs
        return distillation_loss(
            logits,
            batch.labels,
            batch.target_logits,
            features,
            batch.target_features,
            alpha=self.alpha,
            beta=dict.fromkeys(_LEVELS, self.beta),
            temperature=self.temperature,
        ).total


class Batch:
    """Random images, labels and targets; the targets have the student's shapes: no adaptors."""

    def __init__(self, case: Case, number: int, device: torch.device) -> None:
        draws = torch.Generator().manual_seed(number)
        pixels = (case.batch, 3, case.size, case.size)
        self._raw = torch.randint(256, pixels, generator=draws, dtype=torch.uint8).to(device)
        self.labels = torch.randint(_CLASSES, (case.batch,), generator=draws).to(device)
        shapes = _network(case, _Student.number(0)).level_shapes

        def normal(*shape: int) -> Tensor:
            return torch.randn(case.batch, *shape, generator=draws, dtype=case.dtype).to(device)

        self.target_logits = normal(_CLASSES)
        self.target_features = {level: normal(*shapes[level]) for level in _LEVELS}
        self._number = number

    def images(self) -> Tensor:
        """Return the images augmented, with the same draws for every student."""
        draws = torch.Generator(self._raw.device).manual_seed(self._number)
        varied = augment(self._raw, _AUGMENT, draws)
        return normalise(varied, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).to(self.target_logits.dtype)


class _StackedAdamW:
    """AdamW as in torch, with a learning rate for each student along the tensors' first axis."""

    def __init__(self, parameters: list[Tensor], rates: Sequence[float]) -> None:
        self.parameters = parameters
        self.means = [torch.zeros_like(weights) for weights in parameters]
        self.squares = [torch.zeros_like(weights) for weights in parameters]
        self.steps = 0
        self._rates = []
        for weights in parameters:
            each = torch.tensor(rates, dtype=weights.dtype, device=weights.device)
            rows = each.repeat_interleave(len(weights) // len(rates))
            self._rates.append(rows.view(-1, *[1] * (weights.dim() - 1)))
        self._decays = [1 - rate * _WEIGHT_DECAY for rate in self._rates]

    @torch.no_grad()
    def step(self) -> None:
        """Update all students' weights and forget the gradients."""
        self.steps += 1
        mean_share, square_share = (1 - beta**self.steps for beta in _BETAS)
        gradients = [weights.grad for weights in self.parameters if weights.grad is not None]
        torch._foreach_lerp_(self.means, gradients, 1 - _BETAS[0])
        torch._foreach_mul_(self.squares, _BETAS[1])
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - _BETAS[1])
        sizes = torch._foreach_sqrt(self.squares)
        torch._foreach_div_(sizes, math.sqrt(square_share))
        torch._foreach_add_(sizes, _EPSILON)
        changes = torch._foreach_div(self.means, sizes)
        torch._foreach_mul_(changes, self._rates)
        torch._foreach_mul_(self.parameters, self._decays)
        torch._foreach_sub_(self.parameters, changes, alpha=1 / mean_share)
        for weights in self.parameters:
            weights.grad = None


class _GroupedLinear(nn.Module):
    """Linear layers of several students on their vectors side by side, ``(N, students * C)``."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.count = len(layers)
        self.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]))

    def forward(self, vectors: Tensor) -> Tensor:
        each = vectors.view(len(vectors), self.count, -1).transpose(0, 1)
        weight = self.weight.view(self.count, -1, each.shape[2]).transpose(1, 2)
        bias = self.bias.view(self.count, 1, -1)
        return torch.baddbmm(bias, each, weight).transpose(0, 1).flatten(1)


def _grouped(networks: Sequence[Backbone]) -> Backbone:
    """Return one network of the layers of `networks` in groups."""
    fused = copy.deepcopy(networks[0])
    peers = [dict(network.named_modules()) for network in networks]
    for name, module in list(fused.named_modules()):
        layers: list[nn.Module] = [peer[name] for peer in peers]
        if isinstance(module, nn.Linear):
            linear = _GroupedLinear(layers)  # type: ignore[arg-type]
            for hook in module._forward_pre_hooks.values():  # by which Backbone sees the embedding
                linear.register_forward_pre_hook(hook)
            fused.set_submodule(name, linear)
        elif isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            for kind in ("weight", "bias", "running_mean", "running_var"):
                values = [getattr(layer, kind, None) for layer in layers]
                if values[0] is not None:
                    getattr(module, kind).data = torch.cat(values).detach()  # type: ignore[arg-type]
            if isinstance(module, nn.Conv2d):
                module.groups *= len(networks)
    return fused


def _network(case: Case, student: _Student) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(student.seed)
        return Backbone(case.arch, _CLASSES, case.size).to(case.dtype)
