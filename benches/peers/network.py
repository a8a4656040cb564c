"""The plain peer of `pdarts bench train-step`: the evaluation networks, one module per operation.

This is how the public DARTS and P-DARTS codes lay the networks out: every edge owns its operation,
every operation its own ReLU, convolutions and BatchNorm, all called one after another on contiguous
NCHW tensors. State-dict names are the authors', so that their weights load and the numbers can be
compared.

Source: P-DARTS (arXiv:1904.12760), section 4.3; written from the description.
"""

import argparse
import json
import resource
import statistics

import torch
import torch.nn.functional as F
from torch import nn

from variant import Variant, add_arguments

PDARTS_C10 = {
    "normal": [
        ("skip_connect", 0), ("dil_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 3), ("sep_conv_3x3", 0), ("dil_conv_5x5", 4),
    ],
    "normal_concat": [2, 3, 4, 5],
    "reduce": [
        ("avg_pool_3x3", 0), ("sep_conv_5x5", 1), ("sep_conv_3x3", 0), ("dil_conv_5x5", 2),
        ("max_pool_3x3", 0), ("dil_conv_3x3", 1), ("dil_conv_3x3", 1), ("dil_conv_5x5", 3),
    ],
    "reduce_concat": [2, 3, 4, 5],
}  # fmt: skip

# Cells, channels, classes, side of an image, drop path, label smoothing.
NETWORKS = {
    "cifar": (20, 36, 10, 32, 0.3, 0.0),
    "imagenet": (14, 48, 1000, 224, 0.0, 0.1),
}
AUXILIARY_WEIGHT = 0.4


class FactorizedReduce(nn.Module):
    """Halves the resolution: two 1x1 convolutions of stride 2, the second shifted by one pixel."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.relu = nn.ReLU(inplace=False)
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        x = self.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


class Sequence(nn.Module):
    """Layers in a row, under the name that the public codes give them."""

    def __init__(self, layers):
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x):
        return self.op(x)


def relu_conv_bn(c_in, c_out):
    """The 1x1 convolution that brings a previous cell's output to this cell's channels."""
    return Sequence(
        [nn.ReLU(inplace=False), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
    )


def depthwise_separable(channels, kernel, stride, dilation):
    """ReLU, depthwise convolution, pointwise convolution, BatchNorm, as a list of modules."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(inplace=False),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


def sep_conv(channels, kernel, stride):
    first = depthwise_separable(channels, kernel, stride, dilation=1)
    return Sequence(first + depthwise_separable(channels, kernel, 1, dilation=1))


def conv_7x1_1x7(channels, stride):
    return nn.Sequential(
        nn.ReLU(inplace=False),
        nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
        nn.BatchNorm2d(channels),
    )


OPERATIONS = {
    "max_pool_3x3": lambda channels, stride: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda channels, stride: nn.AvgPool2d(
        3, stride, padding=1, count_include_pad=False
    ),
    "skip_connect": lambda channels, stride: (
        nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    ),
    "sep_conv_3x3": lambda channels, stride: sep_conv(channels, 3, stride),
    "sep_conv_5x5": lambda channels, stride: sep_conv(channels, 5, stride),
    "sep_conv_7x7": lambda channels, stride: sep_conv(channels, 7, stride),
    "dil_conv_3x3": lambda channels, stride: Sequence(
        depthwise_separable(channels, 3, stride, dilation=2)
    ),
    "dil_conv_5x5": lambda channels, stride: Sequence(
        depthwise_separable(channels, 5, stride, dilation=2)
    ),
    "conv_7x1_1x7": conv_7x1_1x7,
}


def drop_path(x, probability):
    """Leaves the branch out for some of the images."""
    keep = 1.0 - probability
    mask = torch.empty(x.size(0), 1, 1, 1, device=x.device, dtype=x.dtype).bernoulli_(keep)
    return x.div(keep).mul(mask)


class Cell(nn.Module):
    def __init__(self, genotype, c_older, c_newer, channels, reduction, after_reduction):
        super().__init__()
        if after_reduction:
            self.preprocess0 = FactorizedReduce(c_older, channels)
        else:
            self.preprocess0 = relu_conv_bn(c_older, channels)
        self.preprocess1 = relu_conv_bn(c_newer, channels)
        kind = "reduce" if reduction else "normal"
        edges, self.concat = genotype[kind], genotype[f"{kind}_concat"]
        self.sources = [source for _, source in edges]
        self._ops = nn.ModuleList(
            OPERATIONS[name](channels, 2 if reduction and source < 2 else 1)
            for name, source in edges
        )

    def forward(self, older, newer, drop_probability):
        states = [self.preprocess0(older), self.preprocess1(newer)]
        for node in range(len(self._ops) // 2):
            branches = []
            for edge in (2 * node, 2 * node + 1):
                operation = self._ops[edge]
                branch = operation(states[self.sources[edge]])
                droppable = not isinstance(operation, nn.Identity)
                if self.training and drop_probability > 0.0 and droppable:
                    branch = drop_path(branch, drop_probability)
                branches.append(branch)
            states.append(branches[0] + branches[1])
        return torch.cat([states[index] for index in self.concat], dim=1)


class AuxiliaryHead(nn.Module):
    """A small classifier behind the second reduction, in training only."""

    def __init__(self, channels, num_classes, stride):
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(inplace=False),
            nn.AvgPool2d(5, stride, padding=0, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def conv_bn(c_in, c_out, stride):
    return [nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(c_out)]


class Network(nn.Module):
    """`kind`: "cifar" or "imagenet"; `genotype`: operations and sources of both cells, by name."""

    def __init__(self, kind, genotype, num_cells, channels, num_classes, auxiliary=True):
        super().__init__()
        self.kind = kind
        if kind == "cifar":
            c_older = c_newer = 3 * channels
            self.stem = nn.Sequential(*conv_bn(3, c_newer, 1))
        else:
            c_older = c_newer = channels
            half, quarter = conv_bn(3, channels // 2, 2), conv_bn(channels // 2, channels, 2)
            self.stem0 = nn.Sequential(*half, nn.ReLU(inplace=True), *quarter)
            self.stem1 = nn.Sequential(nn.ReLU(inplace=False), *conv_bn(channels, channels, 2))
        self.cells = nn.ModuleList()
        self.auxiliary_cell = 2 * num_cells // 3
        after_reduction = kind == "imagenet"
        for index in range(num_cells):
            reduction = index in (num_cells // 3, 2 * num_cells // 3)
            channels *= 2 if reduction else 1
            cell = Cell(genotype, c_older, c_newer, channels, reduction, after_reduction)
            self.cells.append(cell)
            after_reduction = reduction
            c_older, c_newer = c_newer, len(cell.concat) * channels
            if index == self.auxiliary_cell:
                c_auxiliary = c_newer
        if auxiliary:
            stride = 3 if kind == "cifar" else 2
            self.auxiliary_head = AuxiliaryHead(c_auxiliary, num_classes, stride)
        self.global_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(c_newer, num_classes)

    def forward(self, images, drop_probability=0.0):
        """Logits, and those of the auxiliary head or None."""
        if self.kind == "cifar":
            older = newer = self.stem(images)
        else:
            older = self.stem0(images)
            newer = self.stem1(older)
        auxiliary_logits = None
        for index, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer, drop_probability)
            if index == self.auxiliary_cell and self.training and hasattr(self, "auxiliary_head"):
                auxiliary_logits = self.auxiliary_head(newer)
        return self.classifier(self.global_pooling(newer).flatten(1)), auxiliary_logits


def step(model, optimizer, images, labels, drop_probability, label_smoothing, variant):
    """One update of the weights."""
    optimizer.zero_grad(set_to_none=not variant.captures)
    with variant.autocast():
        logits, auxiliary_logits = model(images, drop_probability)
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        auxiliary_loss = F.cross_entropy(auxiliary_logits, labels, label_smoothing=label_smoothing)
        loss = loss + AUXILIARY_WEIGHT * auxiliary_loss
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()


def measure(network, global_batch, repeats, warmups=2, variant=None):
    """Median seconds of a step at the paper's sizes, and the peak memory of this process."""
    num_cells, channels, num_classes, size, drop_probability, smoothing = NETWORKS[network]
    variant = variant or Variant()
    model = variant.place(Network(network, PDARTS_C10, num_cells, channels, num_classes))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)
    images = variant.place(torch.randn(global_batch, 3, size, size))
    labels = variant.place(torch.randint(num_classes, (global_batch,)))
    (one_step,) = variant.prepared(
        lambda: step(model, optimizer, images, labels, drop_probability, smoothing, variant)
    )
    seconds = [variant.seconds(one_step) for _ in range(warmups + repeats)]
    step_s = statistics.median(seconds[warmups:])
    return {
        "network": network,
        "step_s": step_s,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": sum(
            p.numel() for name, p in model.named_parameters() if "auxiliary" not in name
        ),
        "ranks": 1,
        "images_per_second": global_batch / step_s,
    } | variant.peak_gpu()


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--global-batch", type=positive, default=32, metavar="N")
    parser.add_argument("--threads", type=positive, default=None, metavar="T")
    parser.add_argument("--repeats", type=positive, default=5, metavar="R")
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a line of text")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    result = measure(
        arguments.network,
        arguments.global_batch,
        arguments.repeats,
        variant=Variant(arguments.variant, arguments.device),
    )
    if arguments.json:
        print(json.dumps(result), flush=True)
    else:
        print(
            f"{result['network']}: step {result['step_s']:.3f} s, "
            f"{result['images_per_second']:.1f} images/s, peak {result['peak_rss_mib']:.0f} MiB, "
            f"{result['parameters']} parameters"
        )


if __name__ == "__main__":
    main()
