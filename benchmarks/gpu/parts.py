"""The parts, in the order in which they run: what is most wanted stands first in its stage."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.gpu import readers
from benchmarks.gpu.part import Part

STAGES = ("check", "speed", "train")

NOTHING: Mapping[str, str] = {}
TF32, FULL = {"JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32"}, {"JAX_DEFAULT_MATMUL_PRECISION": "float32"}
FLAGS = (  # of XLA, one at a time against none; XLA ends a process at a flag that it does not know
    "--xla_gpu_enable_triton_gemm=false",
    "--xla_gpu_enable_cublaslt=true",
    "--xla_gpu_enable_latency_hiding_scheduler=true",
    "--xla_gpu_enable_command_buffer=",
    "--xla_gpu_autotune_level=0",
    "--xla_gpu_exclude_nondeterministic_ops=true",
)
RIVALS = ("engine", "flax-nnx", "torch-compile")  # those that the engine has to beat
OTHERS = ("engine", "autodiff", "conventional", "torch-eager")
JSON = "{out}/result.json"
TINY = (
    "data.name=shapes", "model.num_classes=12", "model.patch_size=32", "model.d_model=8", "model.heads=2",
    "model.layers=2", "model.mlp_dim=8",
)  # fmt: skip


# What the trainings change in the preset `tiny_imagenet`, and why: docs/gpu.md.
LIGHT = ("augment.mixup=0", "augment.cutmix=0", "model.drop_path=0")
RECIPES = {
    "train 1 minute": (*LIGHT, "train.evaluate_every=2"),
    "train 3 minutes": ("augment.mix_probability=1", "train.evaluate_every=5"),
    "train longest": ("augment.mix_probability=1", "augment.erasing=0.25", "train.evaluate_every=10"),
}


@dataclass(frozen=True)
class Sizes:
    """What a rehearsal makes smaller."""

    device: str
    shrink: tuple[str, ...]  # options that make a preset tiny
    batches: tuple[int, ...]
    rounds: int
    rivals: tuple[str, ...]
    others: tuple[str, ...]
    flags: tuple[str, ...]
    patches: tuple[int, ...]
    attention: tuple[str, ...]
    limit: float  # factor of all limits
    products: tuple[tuple[str, Mapping[str, str]], ...]  # how float32 products are computed
    trainings: tuple[tuple[str, float], ...]  # name, limit in seconds
    start: float  # seconds that a training needs to load and compile, generously


GPU = Sizes(
    device="gpu",
    shrink=(),
    batches=(1024, 256, 64),
    rounds=15,
    rivals=RIVALS,
    others=OTHERS,
    flags=FLAGS,
    patches=(4, 2),
    attention=(),
    limit=1.0,
    products=(("float32 by TF32", TF32), ("float32 in full", FULL)),
    trainings=(("train 1 minute", 165.0), ("train 3 minutes", 315.0), ("train longest", 690.0)),
    start=90.0,
)
REHEARSAL = Sizes(
    device="cpu",
    shrink=TINY,
    batches=(4,),
    rounds=1,
    rivals=("engine",),
    others=("autodiff",),
    flags=("--xla_cpu_enable_fast_math=false",),
    patches=(16,),
    attention=("--batch", "2", "--tokens", "5", "--heads", "2", "--width", "4", "--rounds", "1"),
    limit=0.25,
    products=(("float32 in full", FULL),),
    trainings=(("train longest", 120.0),),
    start=118.0,
)


def parts(rehearse: bool) -> list[Part]:
    """All parts. Raises nothing: what is missing on this machine is found out when a part begins."""
    sizes = REHEARSAL if rehearse else GPU
    return [*_check(sizes), *_speed(sizes), *_train(sizes, rehearse)]


def _check(sizes: Sizes) -> list[Part]:
    shrink, limit = sizes.shrink, sizes.limit
    device = ("--device", sizes.device)

    def gradcheck(
        name: str, seconds: float, *arguments: str, stretches: bool = False, environment: Mapping[str, str] = NOTHING
    ) -> Part:
        command = ("gradcheck.py", *arguments, *device, "--json", JSON)
        read = readers.gradcheck
        return Part("check", name, command, limit * seconds, read, environment=environment, stretches=stretches)

    budget = ("--exhaustive", "--budget", "{seconds}s", "--state", "{shared}/exhaustive.json")
    few = ("--only", "norm") if shrink else ()
    return [
        gradcheck("gradients at full size", 180, "tiny_imagenet", *shrink, *few),
        *(
            gradcheck(f"precisions, {name}", 180, "tiny_imagenet", *shrink, "--precision", environment=environment)
            for name, environment in sizes.products
        ),
        gradcheck("gradients at tiny shapes", 180, *few),
        Part(
            "check",
            "compiled against op by op",
            ("-m", "benchmarks.eager", "baseline", *shrink, "--rounds", str(min(5, sizes.rounds)), *device),
            limit * 180,
            readers.printed,
        ),
        Part(
            "check",
            "complex step by operation",
            ("-m", "benchmarks.gpu.complex_step", *device),
            limit * 60,
            readers.last_line,
        ),
        gradcheck("every coordinate", 600, "tiny_imagenet", *shrink, *budget, *few, stretches=not shrink),
    ]


def _speed(sizes: Sizes) -> list[Part]:
    limit, rounds = sizes.limit, ("--rounds", str(sizes.rounds))
    device = ("--device", sizes.device)

    def step(
        name: str, batch: int, dtype: str, rivals: tuple[str, ...], environment: Mapping[str, str], *options: str
    ) -> Part:
        overrides = (*sizes.shrink, *options, f"train.batch_size={batch}")
        command = ("-m", "benchmarks.step", "baseline", *overrides, "--only", ",".join(rivals), *rounds, *device)
        command = (*command, "--dtype", dtype, "--json", JSON)
        seconds = limit * (60 + 30 * len(rivals))
        return Part("speed", name, command, seconds, readers.step, environment=environment)

    largest, few = sizes.batches[0], ("engine",)
    profile = ("-m", "benchmarks.gpu.profile", "baseline", *sizes.shrink, f"train.batch_size={largest}", *device)
    made = [
        step(f"bfloat16, batch {largest}", largest, "bfloat16", sizes.rivals, {}),
        Part("speed", "profile by kernel", (*profile, "--trace", "{out}/trace"), limit * 120, readers.last_line),
        step(f"others, batch {largest} in bfloat16", largest, "bfloat16", sizes.others, {}),
    ]
    padded = "model.pad_to_multiple_of=8"
    made.append(step(f"attention padded to 72 tokens, batch {largest}", largest, "bfloat16", ("engine",), {}, padded))
    made += [step(f"bfloat16, batch {batch}", batch, "bfloat16", sizes.rivals, {}) for batch in sizes.batches[1:]]
    made += [
        step(f"{name}, batch {batch}", batch, "float32", sizes.rivals if environment is TF32 else few, environment)
        for name, environment in sizes.products
        for batch in sizes.batches
    ]
    made += [
        step(f"patches of {side}", max(1, largest // (64 // side)), "bfloat16", few, {}, f"model.patch_size={side}")
        for side in sizes.patches
    ]
    attention = ("-m", "benchmarks.gpu.attention", *sizes.attention)
    made.append(Part("speed", "attention, plain and cuDNN", attention, limit * 120, readers.last_line))
    scan = ("-m", "benchmarks.gpu.scan", "baseline", *sizes.shrink, "model.dtype=bfloat16")
    scan = (*scan, f"train.batch_size={largest}", *rounds, *device)
    made.append(Part("speed", "layers unrolled or scanned", scan, limit * 120, readers.last_line))
    made += [step(f"XLA {flag}", largest, "bfloat16", few, {"XLA_FLAGS": flag}) for flag in sizes.flags]
    return made


def _train(sizes: Sizes, rehearse: bool) -> list[Part]:
    """Data, trainings of one, three and as many minutes as there are, and what becomes of the last one."""
    if rehearse:
        data = ("-m", "data.shapes", "--to", "{shared}/data", "--train-per-class", "3", "--val-per-class", "2")
        prepare = Part("train", "data", (*data, "--workers", "1"), 15.0, readers.printed)
        where: tuple[str, ...] = (
            "data.root={shared}/data",
            "data.workers=1",
            "train.batch_size=8",
            "model.drop_path=0",
        )
    else:
        unpack = ("-m", "benchmarks.gpu.unpack", "--archives", "{archives}", "--to", "{shared}")
        prepare = Part("train", "data", unpack, 300.0, readers.last_line, needs_archives=True)
        where = ("data.root={shared}/tiny-imagenet-200", "data.cache={shared}/cache", "model.dtype=bfloat16")
        where = (*where, "train.eval_batch_size=1000")
    device = ("--device", sizes.device)
    made = [prepare]
    for name, limit in sizes.trainings:
        command = (
            "train.py",
            "tiny_imagenet",
            *sizes.shrink,
            *RECIPES[name],
            *where,
            "train.minutes={minutes}",
            *device,
        )
        longest = name == sizes.trainings[-1][0]
        made.append(
            Part(
                "train",
                name,
                (*command, "--run", "{out}/run"),
                limit,
                readers.training,
                needs_archives=not rehearse,
                start=sizes.start,
                stretches=longest and not rehearse,
            )
        )
    run = "{shared}/../" + sizes.trainings[-1][0] + "/run"
    half = ("-m", "benchmarks.gpu.half", run, "--to", "{out}/run", *device)
    made.append(Part("train", "half precision", half, 60.0, readers.last_line, needs_archives=not rehearse))
    return made
