"""timm (Ross Wightman): training steps of its dm_nfnet on PyTorch, timed one at a time by whoever runs this.

Usage: python timm_nfnet.py VARIANT BATCH PIXELS CLASSES DEVICE TYPE COMPILE CLIPPING, for example f0 8 96 1000 cpu
float32 eager none. TYPE is float32 or bfloat16 (autocast), COMPILE eager or compile, CLIPPING none or agc (timm's own
adaptive gradient clipping). Prints one JSON object of facts when ready; then for every line read, a number of steps,
one with the seconds that they took. Images are channels-last; the optimizer is SGD with Nesterov momentum.
"""

import enum
import importlib.machinery
import json
import resource
import sys
import time
import types


class Absent(types.ModuleType):
    """A module whose every name is an empty class: timm imports torchvision for transforms that are not used here."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "InterpolationMode":
            return enum.Enum(name, "NEAREST BILINEAR BICUBIC BOX HAMMING LANCZOS")
        return type(name, (), {})


def without_torchvision():
    for name in ("", "transforms", "transforms.functional", "ops", "ops.misc", "models", "models.feature_extraction",
                 "datasets", "datasets.folder", "io"):  # fmt: skip
        full = f"torchvision.{name}".rstrip(".")
        module = Absent(full)
        module.__spec__, module.__path__ = importlib.machinery.ModuleSpec(full, None), []
        above, _, last = full.rpartition(".")
        if above:
            setattr(sys.modules[above], last, module)
        sys.modules[full] = module


def main():
    variant, batch, pixels, classes, device, kind, way, clipping = sys.argv[1:]
    batch, pixels, classes = int(batch), int(pixels), int(classes)
    without_torchvision()
    import timm
    import torch
    from timm.utils.agc import adaptive_clip_grad

    torch.manual_seed(0)
    model = timm.create_model(f"dm_nfnet_{variant}", pretrained=False, num_classes=classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    body = [p for name, p in model.named_parameters() if not name.startswith("head.fc")]
    images = torch.randn(batch, 3, pixels, pixels, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, classes, (batch,), device=device)
    forward = torch.compile(model) if way == "compile" else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=kind == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        if clipping == "agc":
            adaptive_clip_grad(body)
        optimizer.step()

    def seconds(steps):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    start = time.perf_counter()
    seconds(2)
    facts = {"torch": torch.__version__, "timm": timm.__version__, "threads": torch.get_num_threads(),
             "ready_seconds": time.perf_counter() - start}  # fmt: skip
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        took = seconds(int(line))
        print(json.dumps({"seconds": took, "peak_bytes": peak(torch, device)}), flush=True)


def peak(torch, device):
    """Most memory held: the process's on a CPU, the allocator's on a GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024


main()
