#!/usr/bin/env python3
"""The peer of `pdarts bench loader`: torchvision's transforms on images of the Python Imaging Library.

Each worker is a process with one thread that reads, decodes and transforms its share of the files, as a worker of
torch's DataLoader does, to an array of bytes [224, 224, 3]. Results are not sent anywhere, which spares the peer the
DataLoader's collation and copies. A pass that is not timed comes first.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

TRANSFORMS = {
    "train": [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()],
    "val": [transforms.Resize(256), transforms.CenterCrop(224)],
}
ENDINGS = {".jpg", ".jpeg", ".png"}


def work(files, name, jitter, passes, barrier, results):
    """One worker: a pass to warm up, then `passes` together with all others."""
    torch.set_num_threads(1)
    steps = list(TRANSFORMS[name])
    if jitter and name == "train":
        steps.append(transforms.ColorJitter(0.4, 0.4, 0.4, 0.1))
    transform = transforms.Compose(steps)

    def one_pass():
        for path in files:
            # As torchvision's ImageFolder opens images.
            with open(path, "rb") as file:
                image = Image.open(file).convert("RGB")
            np.array(transform(image))

    one_pass()
    barrier.wait()
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(passes):
        one_pass()
    end, cpu = time.perf_counter(), time.process_time() - cpu_start
    results.put((start, end, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--transform", choices=list(TRANSFORMS), default="train")
    parser.add_argument("--jitter", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    folder = arguments.data / arguments.transform
    folder = folder if folder.is_dir() else arguments.data
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in ENDINGS)
    if not files:
        raise SystemExit(f"no images in the folders of {folder}")
    passes = max(1, -(-arguments.images // len(files)))
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(arguments.workers), context.Queue()
    shares = [files[number :: arguments.workers] for number in range(arguments.workers)]
    workers = [
        context.Process(
            target=work, args=(share, arguments.transform, arguments.jitter, passes, barrier, results), daemon=True
        )
        for share in shares
    ]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    seconds = max(end for _, end, *_ in found) - min(start for start, *_ in found)
    images_per_second = passes * len(files) / seconds
    figures = {
        "images_per_second": images_per_second,
        "images_per_second_per_worker": images_per_second / arguments.workers,
        "cpu_ms_per_image": 1e3 * sum(cpu for _, _, cpu, _ in found) / (passes * len(files)),
        "peak_rss_mib": max(rss for *_, rss in found),
    }
    print(json.dumps(figures) if arguments.json else figures)


if __name__ == "__main__":
    main()
