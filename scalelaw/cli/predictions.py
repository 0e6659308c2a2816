"""`scalelaw predict`: what to train with a budget, or for a loss, and what to expect of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from scalelaw.cli.tables import Column, Json, Results, TomlFile, column_map, load, print_json, refuse_existing

if TYPE_CHECKING:
    from scalelaw.plan import ErrorPlan, Needed, Plan

Pretraining = Annotated[str | None, arg(metavar="PATH")]


def predict(
    results: Results,
    core_hours: float | None = None,
    flop: float | None = None,
    times: float | None = None,
    device_hours: float | None = None,
    dollars: float | None = None,
    loss: float | None = None,
    metric: Literal["val_loss", "top1_error"] = "val_loss",
    pretraining: Pretraining = None,
    hardware: str | None = None,
    devices: int | None = None,
    price: float | None = None,
    utilisation: float | None = None,
    inference_images: float | None = None,
    unique_images: float | None = None,
    monotone: bool = False,
    far: bool = False,
    toml: TomlFile = None,
    column: Column = (),
    json: Json = False,
) -> int:
    """Says which model, how many epochs and which learning rate are best for a budget, and the loss to expect.

    Args:
        core_hours: The budget in TPU-v4 core-hours.
        flop: The budget in training FLOP.
        times: The budget as a multiple of the largest finished run.
        device_hours: The budget in hours of single devices of --hardware (a whole GPU, a TPU-v4 chip).
        dollars: The budget in dollars, at --price an hour of a device of --hardware.
        loss: Instead of a budget the held-out loss to reach: says what compute it takes, and plans with that.
        metric: What is to be low. top1_error is that after fine-tuning, where RESULTS hold runs that name a parent: the
            budget is still of pre-training, and the answer says what the lowest loss would have given instead. Without
            fine-tuned runs it is the runs' own error.
        pretraining: Results of the parents, where RESULTS hold fine-tuned runs alone.
        hardware: Says time and memory on it, with any budget: a100, h100, h200, tpu-v2 to tpu-v4, tpu-v5e, tpu-v5p or
            tpu-v6e.
        devices: So many devices of --hardware share every batch; 1 unless given.
        price: Dollars an hour of one device of --hardware costs.
        utilisation: Share of the peak of --hardware that training reaches; unless given what was measured there, or a
            published range.
        inference_images: Images that the model will be asked about: says which model costs least to train and use.
        unique_images: Different images that are available: epochs refer to them, and where the runs tell what repeated
            images are worth, says what twice as many would buy.
        monotone: Hold the learning rate's trend to rates that never rise with size or epochs.
        far: Allow a budget more than 100 times the largest finished run.
        toml: Write the plan as a spec of one run that scalelaw sweep trains as it is; an existing file is kept.
    """
    from scalelaw import compute, plan
    from scalelaw.errors import UserError
    from scalelaw.plan.result import unreachable
    from scalelaw.runs import files
    from scalelaw.transfer.rows import together

    given = {"--core-hours": core_hours, "--flop": flop, "--times": times, "--device-hours": device_hours,
             "--dollars": dollars, "--loss": loss}  # fmt: skip
    count = sum(value is not None for value in given.values())
    if count != 1:
        raise UserError(f"predict: give exactly one of {', '.join(given)}; {count} were given")
    _refuse({"--device-hours": device_hours, "--dollars": dollars, "--devices": devices, "--price": price,
             "--utilisation": utilisation}, needs="--hardware", value=hardware)  # fmt: skip
    _refuse({"--dollars": dollars}, needs="--price", value=price)
    if loss is not None and unique_images is not None:
        raise UserError("predict: what a loss takes is for fresh images; leave --loss or --unique-images out")
    if inference_images is not None and unique_images is not None:
        raise UserError("predict: what use costs is for fresh images; leave --inference-images or --unique-images out")
    by_error = metric == "top1_error"
    if pretraining is not None and not by_error:
        raise UserError("predict: --pretraining belongs to --metric top1_error; leave it out or add that")
    others = {"--loss": loss, "--inference-images": inference_images, "--unique-images": unique_images}
    if by_error and (named := [flag for flag, value in others.items() if value is not None]):
        raise UserError(
            f"predict: {' and '.join(named)}: worked out by loss alone; leave it out, or --metric top1_error"
        )
    refuse_existing(toml)
    on = None
    if hardware is not None:
        on = plan.Machines(hardware, 1 if devices is None else devices, price, utilisation)
    needed: Needed | None = None
    found: Plan | ErrorPlan | None
    if loss is not None:
        runs = load(results, column_map(column))
        needed, found = plan.predict_for(
            runs, loss, on=on, inference_images=inference_images, monotone=monotone, far=far
        )
    else:
        timed = device_hours is not None or dollars is not None
        budget = compute.Budget(
            core_hours=core_hours,
            flop=flop,
            times=times,
            device_hours=device_hours,
            dollars=dollars,
            hardware=hardware if timed else None,
            utilisation=utilisation if timed else None,
            price_per_device_hour=price if dollars is not None else None,
        )
        runs = load(results, column_map(column))
        if pretraining is not None:
            runs = together(runs, load(pretraining, column_map(column)))
        if by_error:
            found = plan.predict_by_error(runs, budget, on=on, monotone=monotone, far=far)
        else:
            found = plan.predict(
                runs,
                budget,
                on=on,
                inference_images=inference_images,
                unique_images=unique_images,
                monotone=monotone,
                far=far,
            )
    if found is None:
        assert needed is not None
        if toml is not None:
            raise UserError(f"--toml {toml}: not written: {needed.warnings[0]}")
        if json:
            print_json(unreachable(needed))
        else:
            print(needed)
        return 0
    if toml is not None:
        files.write_text(toml, found.toml())
    if json:
        print_json(found.to_dict())
        return 0
    print(found)
    if toml is not None:
        print(f"written: {toml}; to train it: scalelaw sweep {toml}")
    return 0


def _refuse(flags: dict[str, float | None], *, needs: str, value: object) -> None:
    """Refuses flags that say nothing without another.

    Raises:
        UserError: naming those that were given.
    """
    from scalelaw.errors import UserError

    named = [flag for flag, given in flags.items() if given is not None]
    if named and value is None:
        raise UserError(f"predict: {' and '.join(named)}: needs {needs} too; add it, or leave {named[0]} out")
