"""The plain peer of `pdarts bench supernet`: the same supernet, one module per edge and operation.

This is how the public DARTS and P-DARTS codes lay the network out: every mixed edge owns its
operations, every operation its own ReLU, convolutions and BatchNorm, all called one after another on
contiguous NCHW tensors. Both steps compute all gradients, those of the alphas and those of the
weights, whichever of the two they update. State-dict names are the authors', so that their weights
load and the numbers can be compared.

Source: P-DARTS (arXiv:1904.12760), section 3; written from the description.
"""

import argparse
import json
import os
import resource
import statistics

import torch
import torch.nn.functional as F
from torch import nn

from variant import Variant, add_arguments

SEARCH_SPACE = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NUM_INPUTS = 2
NUM_NODES = 4

# Cells and live operations of the paper's three stages; those of stages 2 and 3 are typical survivors.
STAGES = {
    1: (5, SEARCH_SPACE),
    2: (11, ("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5")),
    3: (17, ("skip_connect", "sep_conv_3x3", "dil_conv_3x3")),
}
INIT_CHANNELS = 16
IMAGE_SIZE = 32
# Of PC-DARTS on CIFAR-10.
PARTIAL_CHANNELS = 4
NUM_CLASSES = 10


class Zero(nn.Module):
    """`none`: a zero of the right shape, computed as the public codes compute it."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class FactorizedReduce(nn.Module):
    """Halves the resolution: two 1x1 convolutions of stride 2, the second shifted by one pixel."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.relu = nn.ReLU(inplace=False)
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x):
        x = self.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


class ReluConvBn(nn.Module):
    """The 1x1 convolution that brings a previous cell's output to this cell's channels."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(inplace=False),
            nn.Conv2d(c_in, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out, affine=False),
        )

    def forward(self, x):
        return self.op(x)


def depthwise_separable(channels, kernel, stride, dilation):
    """ReLU, depthwise convolution, pointwise convolution, BatchNorm, as a list of modules."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(inplace=False),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=False),
    ]


class SepConv(nn.Module):
    """Two depthwise separable convolutions, the first with the stride."""

    def __init__(self, channels, kernel, stride):
        super().__init__()
        self.op = nn.Sequential(
            *depthwise_separable(channels, kernel, stride, dilation=1),
            *depthwise_separable(channels, kernel, 1, dilation=1),
        )

    def forward(self, x):
        return self.op(x)


class DilConv(nn.Module):
    """One depthwise separable convolution of dilation 2."""

    def __init__(self, channels, kernel, stride):
        super().__init__()
        self.op = nn.Sequential(*depthwise_separable(channels, kernel, stride, dilation=2))

    def forward(self, x):
        return self.op(x)


def pooling(pool, channels):
    """A pooling operation followed by the BatchNorm the supernet gives it."""
    return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False))


def build_operation(name, channels, stride):
    """The module of one candidate operation on one edge."""
    match name:
        case "none":
            return Zero(stride)
        case "max_pool_3x3":
            return pooling(nn.MaxPool2d(3, stride, padding=1), channels)
        case "avg_pool_3x3":
            average = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
            return pooling(average, channels)
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
        case "sep_conv_3x3":
            return SepConv(channels, 3, stride)
        case "sep_conv_5x5":
            return SepConv(channels, 5, stride)
        case "dil_conv_3x3":
            return DilConv(channels, 3, stride)
        case "dil_conv_5x5":
            return DilConv(channels, 5, stride)
    raise ValueError(f"unknown operation {name!r}")


class MixedOp(nn.Module):
    """One edge: the sum of its live operations, each times its softmaxed alpha."""

    def __init__(self, live, channels, stride):
        super().__init__()
        self.m_ops = nn.ModuleList(build_operation(name, channels, stride) for name in live)

    def forward(self, x, weights, index=None):
        if index is not None:
            return self.m_ops[index](x) * weights[index]
        return sum(w * op(x) for w, op in zip(weights, self.m_ops))


class PartialMixedOp(nn.Module):
    """One edge of PC-DARTS: a MixedOp on the first of `parts` parts of the channels, the others passed on, all shuffled."""

    def __init__(self, live, channels, stride, parts=PARTIAL_CHANNELS):
        super().__init__()
        self.parts = parts
        self.mixed = MixedOp(live, channels // parts, stride)
        self.pool = nn.MaxPool2d(2, 2) if stride == 2 else nn.Identity()

    def forward(self, x, weights, index=None):
        num_mixed = x.shape[1] // self.parts
        mixed = self.mixed(x[:, :num_mixed], weights, index)
        joined = torch.cat([mixed, self.pool(x[:, num_mixed:])], dim=1)
        n, c, h, w = joined.shape
        return joined.view(n, self.parts, c // self.parts, h, w).transpose(1, 2).reshape(n, c, h, w)


class Cell(nn.Module):
    """A cell of 2 input states, 4 intermediate states and 14 edges ordered by node, then source.

    `switches`: the live operations of each edge. `edges`: a weight for each edge, or None.
    """

    def __init__(self, switches, c_older, c_newer, channels, reduction, after_reduction, edge=MixedOp):
        super().__init__()
        if after_reduction:
            self.preprocess0 = FactorizedReduce(c_older, channels)
        else:
            self.preprocess0 = ReluConvBn(c_older, channels)
        self.preprocess1 = ReluConvBn(c_newer, channels)
        sources = [s for node in range(NUM_NODES) for s in range(NUM_INPUTS + node)]
        self.cell_ops = nn.ModuleList(
            edge(live, channels, 2 if reduction and source < NUM_INPUTS else 1)
            for live, source in zip(switches, sources)
        )

    def forward(self, older, newer, weights, indices, edges=None):
        states = [self.preprocess0(older), self.preprocess1(newer)]
        edge = 0
        for _ in range(NUM_NODES):
            mixed = [
                self.cell_ops[edge + source](state, weights[edge + source], indices[edge + source])
                for source, state in enumerate(states)
            ]
            if edges is not None:
                mixed = [edges[edge + source] * output for source, output in enumerate(mixed)]
            edge += len(states)
            states.append(sum(mixed))
        return torch.cat(states[-NUM_NODES:], dim=1)


class Supernet(nn.Module):
    """Stem, cells with reductions at one and two thirds of the depth, pooling and classifier.

    `switches_normal`, `switches_reduce`: names of the live operations of each of the 14 edges, the
    same number on every edge.
    """

    def __init__(
        self, num_cells, channels, num_classes, switches_normal, switches_reduce, strategy="p-darts"
    ):
        super().__init__()
        self.strategy = strategy
        self.stem = nn.Sequential(
            nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)
        )
        self.cells = nn.ModuleList()
        self.reductions = []
        edge = PartialMixedOp if strategy == "pc-darts" else MixedOp
        c_older = c_newer = 3 * channels
        after_reduction = False
        for index in range(num_cells):
            reduction = index in (num_cells // 3, 2 * num_cells // 3)
            channels *= 2 if reduction else 1
            switches = switches_reduce if reduction else switches_normal
            self.cells.append(
                Cell(switches, c_older, c_newer, channels, reduction, after_reduction, edge)
            )
            self.reductions.append(reduction)
            after_reduction = reduction
            c_older, c_newer = c_newer, NUM_NODES * channels
        self.global_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(c_newer, num_classes)
        self.alphas_normal = init_alphas(switches_normal)
        self.alphas_reduce = init_alphas(switches_reduce)
        if strategy == "pc-darts":
            self.betas_normal, self.betas_reduce = (
                nn.Parameter(1e-3 * torch.randn(len(switches))) for switches in (switches_normal, switches_reduce)
            )

    def forward(self, images):
        older = newer = self.stem(images)
        normal, reduce = self.mix(self.alphas_normal), self.mix(self.alphas_reduce)
        if self.strategy == "pc-darts":
            normal, reduce = (*normal, by_node(self.betas_normal)), (*reduce, by_node(self.betas_reduce))
        for cell, reduction in zip(self.cells, self.reductions):
            older, newer = newer, cell(older, newer, *(reduce if reduction else normal))
        return self.classifier(self.global_pooling(newer).flatten(1))

    def mix(self, alphas):
        """The weights of a cell's operations and, for GDAS, the one operation of each edge that runs."""
        if self.strategy != "gdas":
            return F.softmax(alphas, dim=-1), [None] * len(alphas)
        gumbel = -torch.empty_like(alphas).exponential_().log()
        soft = F.softmax(F.log_softmax(alphas, dim=-1) + gumbel, dim=-1)
        index = soft.argmax(dim=-1)
        return F.one_hot(index, soft.shape[-1]) - soft.detach() + soft, index.tolist()

    def arch_parameters(self):
        return [p for name, p in self.named_parameters() if name.startswith(("alphas_", "betas_"))]

    def weight_parameters(self):
        return [p for name, p in self.named_parameters() if not name.startswith(("alphas_", "betas_"))]


def by_node(betas):
    """A softmax over the edges that lead to each node."""
    sizes = [NUM_INPUTS + node for node in range(NUM_NODES)]
    return torch.cat([F.softmax(part, dim=-1) for part in betas.split(sizes)])


def init_alphas(switches):
    """`[edges, live operations]`, from 1e-3 * N(0, 1)."""
    return nn.Parameter(1e-3 * torch.randn(len(switches), len(switches[0])))


def alpha_optimizer(model, capturable=False):
    return torch.optim.Adam(
        model.arch_parameters(), lr=6e-4, betas=(0.5, 0.999), weight_decay=1e-3, capturable=capturable
    )


def weight_optimizer(model):
    return torch.optim.SGD(
        model.weight_parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4
    )


def step(model, optimizer, parameters, images, labels, variant):
    """One update of `parameters`; the gradients of all others are computed too."""
    optimizer.zero_grad(set_to_none=not variant.captures)
    with variant.autocast():
        loss = F.cross_entropy(model(images), labels)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 5.0)
    optimizer.step()


def measure(stage, live, global_batch, repeats, warmups=2, strategy="p-darts", variant=None):
    """Median seconds of both steps at the paper's sizes, and the peak memory of this process.

    Under torchrun, with DistributedDataParallel over gloo: the ranks share the batch.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    num_cells, default_live = STAGES[stage]
    switches = [live or default_live] * sum(NUM_INPUTS + node for node in range(NUM_NODES))
    variant = variant or Variant()
    model = variant.place(Supernet(num_cells, INIT_CHANNELS, NUM_CLASSES, switches, switches, strategy))
    alphas, weights = model.arch_parameters(), model.weight_parameters()
    for_alphas, for_weights = alpha_optimizer(model, variant.captures), weight_optimizer(model)
    images = variant.place(torch.randn(global_batch // ranks, 3, IMAGE_SIZE, IMAGE_SIZE))
    labels = variant.place(torch.randint(NUM_CLASSES, (global_batch // ranks,)))
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
        model = nn.parallel.DistributedDataParallel(model)
    arch_step, weight_step = variant.prepared(
        lambda: step(model, for_alphas, alphas, images, labels, variant),
        lambda: step(model, for_weights, weights, images, labels, variant),
    )
    arch_seconds, weight_seconds = [], []
    for _ in range(warmups + repeats):
        arch_seconds.append(variant.seconds(arch_step))
        weight_seconds.append(variant.seconds(weight_step))
    arch_step_s, weight_step_s = (statistics.median(s[warmups:]) for s in (arch_seconds, weight_seconds))
    return {
        "stage": stage,
        "arch_step_s": arch_step_s,
        "weight_step_s": weight_step_s,
        "ranks": ranks,
        "images_per_second": 2 * global_batch / (arch_step_s + weight_step_s),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": sum(p.numel() for p in weights),
    } | variant.peak_gpu()


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def operation_names(text):
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in SEARCH_SPACE]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown operation {unknown[0]!r}; the operations are {', '.join(SEARCH_SPACE)}"
        )
    return names


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", type=int, choices=STAGES, required=True)
    parser.add_argument("--global-batch", type=positive, default=32, metavar="N")
    parser.add_argument("--threads", type=positive, default=None, metavar="T")
    parser.add_argument("--repeats", type=positive, default=5, metavar="R")
    parser.add_argument("--live", type=operation_names, default=None, metavar="OP,OP,...")
    parser.add_argument("--strategy", choices=("p-darts", "pc-darts", "gdas"), default="p-darts")
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a line of text")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    result = measure(
        arguments.stage,
        arguments.live,
        arguments.global_batch,
        arguments.repeats,
        strategy=arguments.strategy,
        variant=Variant(arguments.variant, arguments.device),
    )
    if int(os.environ.get("RANK", "0")) > 0:
        return
    if arguments.json:
        print(json.dumps(result), flush=True)
    else:
        print(
            f"stage {result['stage']}: arch step {result['arch_step_s']:.3f} s, "
            f"weight step {result['weight_step_s']:.3f} s, "
            f"peak {result['peak_rss_mib']:.0f} MiB, {result['parameters']} parameters"
        )


if __name__ == "__main__":
    main()
