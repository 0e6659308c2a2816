"""How fast small networks' steps could be at most: the fewest seconds that anything here takes for each product alone.

Usage: python bound.py PYTHON, an interpreter that has torch, or none. For N6, N7 and N8 at batch 64 on one core the
products of a step (`products.py`, `peers/torch_products.py`) are timed in isolation and the best of each are added up,
beside the first slice's step and ours, in alternating rounds. Eight minutes, so `make bench` leaves it out.

The sum bounds what is float32, multiplies directly and calls one kernel for each product, on this machine; with
activations by themselves, what has loops between the products, as XLA has on a CPU. It leaves out standardisation,
copies, gates, optimizer and data, and has operands in the nearest cache and in the best order.
"""

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import rounds
from test_train_speed import FIRST, STEPS, first_slice, pinned

HERE = Path(__file__).resolve().parent
BATCH, STEPS_A_ROUND, ROUNDS, ASKED = 64, 60, 7, 1.5


def said(command, given=None, **environment):
    """The last line of a program on one core, as JSON."""
    command = ["env", *(f"{name}={value}" for name, value in environment.items()), *pinned(command)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def best_of(variant, torch, folder):
    """For every product, seconds by way; FLOP of all; seconds of all activations."""
    environment = rounds.on_cores(1, folder)
    ours = said([sys.executable, str(HERE / "products.py"), variant, str(BATCH)], **environment)
    products = {name: found["seconds"] for name, found in ours["products"].items()}
    if torch:
        script = str(HERE / "peers" / "torch_products.py")
        theirs = said([torch, script, str(BATCH)], json.dumps(ours["shapes"]) + "\n", OMP_NUM_THREADS="1")
        products = {name: seconds | theirs[name] for name, seconds in products.items()}
    return products, 2 * sum(found["multiply_adds"] for found in ours["products"].values()), ours["activations"]


def steps_of(variant, folder):
    """Seconds of every round's step, the first slice's and ours."""
    with ExitStack() as stack:
        old, new = first_slice(folder / "first"), [sys.executable, STEPS, variant, str(BATCH), "8", "16", "float32"]
        programs = {
            "first": stack.enter_context(rounds.started(pinned([sys.executable, FIRST, variant, str(BATCH)]),
                                                        **rounds.on_cores(1, folder / "old"), **old)),
            "ours": stack.enter_context(rounds.started(pinned(new), **rounds.on_cores(1, folder / "new"))),
        }  # fmt: skip
        rounds.alternate(programs, ROUNDS, STEPS_A_ROUND)
        return {name: sorted(s / STEPS_A_ROUND for s in program.seconds) for name, program in programs.items()}


def main():
    torch = sys.argv[1] if len(sys.argv) > 1 else None
    for variant in ("N6", "N7", "N8"):
        with tempfile.TemporaryDirectory() as folder:
            steps = steps_of(variant, Path(folder))
            products, flop, loops = best_of(variant, torch, Path(folder) / "products")
        ways = sorted({way for seconds in products.values() for way in seconds})
        whole = [way for way in ways if "matrix" not in way]
        bound = sum(min(seconds.values()) for seconds in products.values())
        of_whole = sum(min(seconds[way] for way in whole) for seconds in products.values())
        first, ours = (steps[name][ROUNDS // 2] for name in ("first", "ours"))
        fastest = {name: seconds[0] * 1e3 for name, seconds in steps.items()}
        print(f"{variant}, ms: first slice {first * 1e3:.2f} (fastest {fastest['first']:.2f}), ours {ours * 1e3:.2f} "
              f"({fastest['ours']:.2f}): {first / ours:.2f} times; asked {first / ASKED * 1e3:.2f}")  # fmt: skip
        print(f"  products alone: best {bound * 1e3:.2f} ({flop / bound / 1e9:.0f} GFLOP/s), at most "
              f"{first / bound:.2f} times the first slice; best whole convolutions {of_whole * 1e3:.2f}, "
              f"{first / of_whole:.2f} times; with activations ({loops * 1e3:.2f}) {(of_whole + loops) * 1e3:.2f}, "
              f"{first / (of_whole + loops):.2f} times")  # fmt: skip
        for way in ways:
            alone = sum(seconds[way] for seconds in products.values()) * 1e3
            print(
                f"  {way}: {alone:.2f} ms, best of {sum(min(s, key=s.get) == way for s in products.values())}",
                flush=True,
            )


if __name__ == "__main__":
    main()
