"""How a peer computes: its device, and what its users do to be faster there."""

import time

import torch

VARIANTS = ("eager", "channels_last", "bf16", "graph")


class Variant:
    """Some of VARIANTS, joined by commas: "eager" alone is the code as it stands."""

    def __init__(self, text="eager", device="cpu"):
        self.names = text.split(",")
        unknown = [name for name in self.names if name not in VARIANTS]
        if unknown:
            raise ValueError(f"{unknown[0]!r}: one of {', '.join(VARIANTS)}")
        if "graph" in self.names and device == "cpu":
            raise ValueError("graph: with --device cuda")
        self.device = device
        # As every user of a GPU does whose images have one size.
        torch.backends.cudnn.benchmark = True

    @property
    def captures(self):
        return "graph" in self.names

    @property
    def format(self):
        return torch.channels_last if "channels_last" in self.names else torch.contiguous_format

    def place(self, tensor_or_module):
        """On the device, in the variant's layout."""
        is_image = not isinstance(tensor_or_module, torch.Tensor) or tensor_or_module.dim() == 4
        return tensor_or_module.to(self.device, memory_format=self.format if is_image else torch.preserve_format)

    def autocast(self):
        return torch.autocast(self.device, torch.bfloat16, enabled="bf16" in self.names)

    def prepared(self, *steps):
        """Each of `steps`, which take no arguments and wait for nothing, or a replay of it."""
        if not self.captures:
            return steps
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                for step in steps:
                    step()
        torch.cuda.current_stream().wait_stream(side)
        replays = []
        for step in steps:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            replays.append(graph.replay)
        return replays

    def seconds(self, step):
        """Of one call, until the device is done."""
        self.wait()
        start = time.perf_counter()
        step()
        self.wait()
        return time.perf_counter() - start

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def peak_gpu(self):
        """The most that tensors took on the GPU at one time, as a field of the result; none on CPUs."""
        return {} if self.device == "cpu" else {"peak_gpu_mib": torch.cuda.max_memory_allocated() / 2**20}


def add_arguments(parser):
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--variant", default="eager", metavar="V", help=f"some of {', '.join(VARIANTS)}, joined by commas")
