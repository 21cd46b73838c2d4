"""configs.yml is read strictly: what cannot be used is refused with a message that helps."""

import dataclasses
import typing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from common.errors import ConfigError
from data.augment import Augmentation
from data.registry import SOURCES
from model.loss import CrossEntropy
from model.vit import ViT
from training.aliases import ELSEWHERE, TARGETS, option_in
from training.config import OPTIONS, SECTIONS, Config, from_yaml, load_config
from training.dependence import RULES
from training.presets import CONFIGS, describe_options, option_comments, preset_names

LADDER = [f"ladder_{rung}" for rung in range(6)]


def with_presets(tmp_path: Path, presets: str) -> Path:
    """A file with the real defaults, and these presets alone."""
    text = CONFIGS.read_text(encoding="utf-8")
    defaults = text[text.index("defaults:") : text.index("\n\n", text.index("defaults:"))]
    path = tmp_path / "configs.yml"
    path.write_text(f"{defaults}\n\n{presets}\n", encoding="utf-8")
    return path


def refusal(overrides: list[str], preset: str = "baseline", path: Path = CONFIGS) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(preset, overrides, path)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The file that comes with the program.


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_loads_and_is_hashable(preset: str) -> None:
    config = load_config(preset)
    assert config.preset == preset
    assert hash(config) == hash(load_config(preset))


def test_the_presets_that_the_documentation_names() -> None:
    assert preset_names() == [
        "demo", "baseline", "tiny_imagenet", "tiny_imagenet_cpu", "tiny_imagenet_20", "mae_cpu",
        "mae_tiny_imagenet", "image_folder", "fashion_mnist", "mnist", "cifar10", *LADDER,
    ]  # fmt: skip


def test_each_rung_of_the_ladder_adds_one_part() -> None:
    """The model of each preset is that of the one before with one change; all but the learning rate is the same."""
    models = [vars(load_config(preset).model) for preset in LADDER]
    changes = [{key: new[key] for key in new if new[key] != old[key]} for old, new in pairwise(models)]
    assert changes == [
        {"layers": 4},
        {"heads": 4},
        {"residual": True},
        {"norm": "pre", "final_norm": True},
        {"positions": "none"},
    ]
    others = [replace(load_config(preset), model=ViT(), preset="") for preset in LADDER]
    assert len({replace(other, optim=replace(other.optim, learning_rate=0)) for other in others}) == 1


def test_baseline_is_the_plain_published_setting() -> None:
    config = load_config("baseline")
    model, optim, data, train = config.model, config.optim, config.data, config.train
    assert (model.d_model, model.heads, model.layers, model.patch_size, model.mlp_dim) == (256, 8, 8, 8, 1024)
    assert (optim.learning_rate, optim.weight_decay, optim.schedule, optim.warmup) == (1e-4, 0.01, "constant", 0)
    assert (optim.max_grad_norm, config.loss.label_smoothing) == (None, 0)
    assert (data.name, config.augment) == ("tiny_imagenet", Augmentation())
    assert (train.batch_size, train.epochs, train.steps) == (64, 60, None)


def test_tiny_imagenet_differs_from_baseline_in_training_alone() -> None:
    recommended, baseline = load_config("tiny_imagenet"), load_config("baseline")
    plain = dataclasses.replace(recommended.model, drop_path=0.0, pad_to_multiple_of=1)  # the same function
    assert plain == baseline.model
    assert recommended.augment.flip
    assert recommended.optim.max_grad_norm == 1.0


@pytest.mark.parametrize(("section", "cls"), [("model", ViT), ("loss", CrossEntropy), ("augment", Augmentation)])
def test_defaults_agree_with_the_classes_that_have_their_own(section: str, cls: type) -> None:
    assert getattr(load_config("baseline"), section) == cls()


def test_other_sections_have_no_second_copy_of_the_defaults() -> None:
    for section in ("optim", "data", "train"):
        for field in dataclasses.fields(SECTIONS[section]):
            assert field.default is dataclasses.MISSING, f"{section}.{field.name}"


def test_every_option_has_a_comment_and_appears_in_the_help() -> None:
    found = list(option_comments())
    assert [option.name for option in found] == list(OPTIONS)
    words = describe_options().split()
    for option in found:
        assert f"{option.name}={option.default}" in words
        assert len(option.comment) > 10, option
    assert all(len(line) < 80 for line in describe_options().splitlines())
    assert " ".join(found[0].comment.split()) in " ".join(words)


def test_choices_are_all_named_in_the_comments() -> None:
    for option in option_comments():
        if typing.get_origin(OPTIONS[option.name]) is typing.Literal:
            for choice in typing.get_args(OPTIONS[option.name]):
                assert choice in f"{option.default} {option.comment}", f"{option.name}: {choice}"


# Values.


@pytest.mark.parametrize(
    ("override", "section", "key", "expected"),
    [
        ("optim.learning_rate=1e-3", "optim", "learning_rate", 1e-3),  # text to PyYAML, for want of a point
        ("optim.learning_rate=010", "optim", "learning_rate", 10.0),  # 8 to PyYAML, as are the next ones
        ("train.seed=010", "train", "seed", 10),
        ("train.batch_size=064", "train", "batch_size", 64),
        ("train.steps=1_000", "train", "steps", 1000),
        ("model.image_size=[064, 048]", "model", "image_size", (64, 48)),
        ("augment.flip=yes", "augment", "flip", True),
        ("augment.flip=off", "augment", "flip", False),
        ("data.root=1:30", "data", "root", "1:30"),
        ("data.root=no", "data", "root", "no"),
        ("optim.learning_rate=1", "optim", "learning_rate", 1.0),
        ("optim.learning_rate=0", "optim", "learning_rate", 0.0),
        ("optim.max_grad_norm=none", "optim", "max_grad_norm", None),
        ("optim.max_grad_norm=null", "optim", "max_grad_norm", None),
        ("optim.max_grad_norm=2", "optim", "max_grad_norm", 2.0),
        ("optim.schedule=cosine", "optim", "schedule", "cosine"),
        ("augment.flip=true", "augment", "flip", True),
        ("data.root=/a folder/x=y: 1", "data", "root", "/a folder/x=y: 1"),  # text is taken as it is written
        ("data.root=2024", "data", "root", "2024"),
        ("data.cache=null", "data", "cache", None),
        ("model.image_size=[64, 48]", "model", "image_size", (64, 48)),
        ("model.positions=none", "model", "positions", "none"),
        ("train.seed=4294967295", "train", "seed", 2**32 - 1),
    ],
)
def test_overrides(override: str, section: str, key: str, expected: object) -> None:
    value = getattr(getattr(load_config("baseline", [override]), section), key)
    assert value == expected
    assert type(value) is type(expected)


def test_the_last_of_two_overrides_wins_and_the_rest_stays() -> None:
    config = load_config("baseline", ["train.seed=1", "train.seed=2"])
    assert config == dataclasses.replace(
        load_config("baseline"), train=dataclasses.replace(load_config("baseline").train, seed=2)
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.batch_size=64.0", "a whole number of at least 1"),
        ("train.batch_size=true", "a whole number of at least 1"),
        ("train.batch_size=0", "a whole number of at least 1"),
        ("train.batch_size=many", "a whole number of at least 1"),
        ("train.batch_size=", "a whole number of at least 1"),
        ("train.seed=-1", "from 0 to 4294967295"),
        ("train.seed=4294967296", "from 0 to 4294967295"),
        ("train.seed=2024-13-45", "from 0 to 4294967295"),  # a date that does not exist
        ("train.seed=2024-11-05", "from 0 to 4294967295"),
        ("train.seed=yes", "from 0 to 4294967295"),
        ("train.epochs=1:30", "a whole number of at least 1"),  # 90 in YAML 1.1
        ("train.minutes=1:30", "a number above 0"),
        ("train.batch_size=0x40", "a whole number of at least 1"),
        ("train.batch_size=0o100", "a whole number of at least 1"),
        ("train.batch_size=0b11", "a whole number of at least 1"),
        ("train.batch_size=１２", "a whole number of at least 1"),
        ("optim.learning_rate=0x1", "a number of at least 0"),
        ("optim.learning_rate=1:30.5", "a number of at least 0"),
        ("optim.learning_rate=infinity", "a number of at least 0"),
        ("model.d_model=96.5", "a whole number"),
        ("model.image_size=[64]", "a whole number or a list of 2"),
        ("model.image_size=[64,", "a whole number or a list of 2"),
        ("model.image_size=" + 3000 * "[", "a whole number or a list of 2"),
        ("model.image_size=[64, wide]", "a whole number or a list of 2"),
        ("optim.learning_rate=-1e-3", "a number of at least 0"),
        ("optim.learning_rate=fast", "a number of at least 0"),
        ("optim.learning_rate=true", "a number of at least 0"),
        ("optim.learning_rate=nan", "a number of at least 0"),
        ("optim.learning_rate=.inf", "a number of at least 0"),
        ("optim.learning_rate=" + "9" * 400, "a number of at least 0"),
        ("optim.warmup=1.5", "at least 0 and below 1"),
        ("optim.beta2=1", "at least 0 and below 1"),
        ("optim.eps=0", "above 0"),
        ("optim.newton_schulz_steps=1000000000", "from 1 to 100"),
        ("train.steps=10000000000", "from 1 to 2147483647"),
        ("optim.max_grad_norm=0", "above 0 or null"),
        ("optim.max_grad_norm=", "above 0 or null"),
        ("optim.schedule=linear", "one of constant, cosine"),
        ("optim.schedule=null", "one of constant, cosine"),
        ("augment.flip=1", "true or false"),
        ("data.root=", "some text or null"),
        ("model.norm=middle", "one of pre, post, none"),
        ("optim.name=adam", "one of adamw, muon; did you mean adamw?"),
        ("data.name=tiny_imagnet", f"one of {', '.join(SOURCES)}; did you mean tiny_imagenet?"),
    ],
)
def test_values_that_cannot_be_used(override: str, told: str) -> None:
    message = refusal([override])
    assert message.startswith(override)
    assert told in message


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.d_modle=3", "unknown option model.d_modle; did you mean model.d_model?"),
        ("modle.d_model=3", "unknown section modle; did you mean model.d_model?"),
        ("d_model=3", "expected section.key=value; did you mean model.d_model?"),
        ("learningrate=3", "did you mean optim.learning_rate?"),
        ("train.learning_rate=3", "unknown option train.learning_rate; did you mean optim.learning_rate?"),
        ("optim.xyz=3", "unknown option optim.xyz; choose from name, learning_rate, schedule, "),
        ("optim.lr=1e-3", "unknown option optim.lr; did you mean optim.learning_rate?"),
        ("lr=1e-3", "expected section.key=value; did you mean optim.learning_rate?"),
        ("train.lr=1e-3", "did you mean optim.learning_rate?"),
        ("learningRate=1e-3", "did you mean optim.learning_rate?"),
        ("epochs=3", "did you mean train.epochs?"),
        ("batch-size=8", "did you mean train.batch_size?"),
        ("model.depth=12", "did you mean model.layers?"),
        ("model.block_norm=false", "did you mean model.norm?"),
        ("model.skip_connections=false", "did you mean model.residual?"),
        ("model.embed_dim=96", "did you mean model.d_model?"),
        ("model.num_heads=3", "did you mean model.heads?"),
        ("model.mlp_ratio=4", "did you mean model.mlp_dim, the width itself and not a ratio?"),
        ("optim.warmup_epochs=5", "did you mean optim.warmup, a share of all steps from 0 to 1?"),
        ("optim.clip_grad=1", "did you mean optim.max_grad_norm?"),
        ("eps=1e-6", "did you mean model.eps or optim.eps?"),
        ("data.num_workers=4", "did you mean data.workers?"),
        ("train.seed =5", "unknown option 'train.seed '; did you mean train.seed?"),
        ("train.seed.x=5", "unknown option train.seed.x; did you mean train.seed?"),
        ("train .seed=5", "unknown section 'train '; did you mean train.seed?"),
        (".seed=5", "unknown section ''; did you mean train.seed?"),
        ("resume=runs/x", "did you mean --resume DIR?"),
        ("run=x", "did you mean --run DIR?"),
        ("accelerator=gpu", "did you mean --device cpu or --device gpu?"),
        ("device=gpu", "did you mean --device cpu or --device gpu?"),
        ("train.device=gpu", "did you mean --device cpu or --device gpu?"),
        ("devices=1", "did you mean train.devices?"),
        ("precision=bf16", "did you mean model.dtype?"),
        ("amp=true", "did you mean model.dtype=bfloat16?"),
        ("use_fp16=true", "did you mean model.dtype=bfloat16?"),
        ("compile=true", "there is none, as training is always compiled"),
        ("train.strategy=ddp", "there is none, as every number of devices has the same strategy, see train.devices"),
        ("pretrained=true", "did you mean train.start_from?"),
        ("print_freq=5", "did you mean train.log_every?"),
        ("num_workers=4", "did you mean data.workers?"),
        ("model.d_model", "model.d_model: expected section.key=value"),
        ("xyz", "--help lists the options"),
        ("=", "expected section.key=value"),
    ],
)
def test_names_that_do_not_exist(override: str, told: str) -> None:
    assert told in refusal([override])


@pytest.mark.parametrize(
    ("override", "section"),
    [
        ("model.heads=7", "model"),
        ("model.heads=0", "model"),
        ("model.layers=0", "model"),
        ("model.patch_size=7", "model"),
        ("model.patch_size=0", "model"),
        ("model.dropout=1.5", "model"),
        ("model.class_token=false", "model"),
        ("loss.label_smoothing=1", "loss"),
        ("augment.rand_augment_ops=1000000000", "augment"),
    ],
)
def test_values_that_do_not_fit_together(override: str, section: str) -> None:
    message = refusal([override])
    assert message.startswith(f"preset baseline with {override}: {section}: ")
    assert len(message) > len(f"preset baseline with {override}: {section}: ")


@pytest.mark.parametrize(
    ("preset", "overrides", "without", "advice"),
    [
        ("demo", "optim.momentum=0.9", "optim.name=adamw", "optim.name=muon"),
        ("demo", "optim.newton_schulz_steps=4", "optim.name=adamw", "optim.name=muon"),
        ("baseline", "optim.final_learning_rate=1e-05", "optim.schedule=constant", "optim.schedule=cosine"),
        ("demo", "augment.rand_augment_ops=3", "augment.policy=none", "augment.policy=rand_augment"),
        (
            "demo", "augment.mix_probability=0.5", "augment.mixup=0.0 and augment.cutmix=0.0",
            "augment.mixup or augment.cutmix",
        ),
        (
            "tiny_imagenet", "augment.mixup=0.4 augment.mix_probability=0", "augment.mix_probability=0.0",
            "augment.mix_probability",
        ),
        ("mnist", "data.cache=DIR", "data.name=mnist", "data.name to one that consists of image files"),
        (
            "demo", "data.broken=skip data.name=cifar100", "data.name=cifar100",
            "data.name to one that consists of image files",
        ),
        ("ladder_0", "model.heads=2", "model.layers=0", "model.layers"),
        ("demo", "model.drop_path_rule=constant", "model.drop_path=0.0", "model.drop_path"),
        ("demo", "mae.decoder_dim=64", "mae.mask=null", "mae.mask, such as mae.mask=0.75"),
        ("demo", "mae.normalize_patches=false", "mae.mask=null", "mae.mask, such as mae.mask=0.75"),
        ("mae_cpu", "model.head_weights=glorot", "mae.mask=0.75", "mae.mask=null"),
        (
            "ladder_0", "model.eps=1e-05",
            "model.norm=none and model.layers=0 and model.final_norm=false and model.patch_norm_before=false and "
            "model.patch_norm_after=false and mae.mask=null",
            "one of these",
        ),
        (
            "demo", "train.share_optimizer=true", "train.devices=1 and train.distributed=null",
            "train.devices",
        ),
    ],
)  # fmt: skip
def test_an_option_without_an_effect_is_refused(preset: str, overrides: str, without: str, advice: str) -> None:
    first, *_ = given = overrides.split()
    assert refusal(given, preset) == f"{first} has no effect with {without}: leave it out, or set {advice}"


def test_an_option_that_another_one_gives_an_effect_is_not_refused() -> None:
    """In whatever order they are given; and to say what is so anyway does no harm."""
    assert load_config("demo", ["optim.momentum=0.9", "optim.name=muon"]).optim.momentum == 0.9
    assert load_config("demo", ["augment.mix_probability=0.5", "augment.cutmix=1"]).augment.mix_probability == 0.5
    assert load_config("mae_cpu", ["mae.decoder_dim=32"]).mae.decoder_dim == 32
    assert load_config("demo", ["train.share_optimizer=true", "train.devices=all"]).train.share_optimizer
    assert load_config("demo", ["optim.momentum=0.95", "mae.decoder_dim=128"]) == load_config("demo")
    back_to_the_default = ["augment.mixup=0", "augment.cutmix=0", "augment.mix_probability=1"]
    assert load_config("tiny_imagenet", back_to_the_default).augment.mix_probability == 1
    assert load_config("demo", ["optim.momentum=0.9"], allow_idle=True).optim.momentum == 0.9


def test_options_of_a_run_that_would_change_nothing_are_refused() -> None:
    text = load_config("demo").to_yaml()
    assert from_yaml(text, overrides=["train.share_optimizer=true", "train.devices=2"]).train.share_optimizer
    with pytest.raises(ConfigError, match=r"^train\.share_optimizer=true has no effect with train\.devices"):
        from_yaml(text, overrides=["train.share_optimizer=true"])


def test_every_option_with_a_condition_exists() -> None:
    named = [name for rule in RULES for name in (*rule.options, *rule.depend_on)]
    assert set(named) <= OPTIONS.keys()


def test_muon_has_nothing_to_do_without_blocks() -> None:
    bare = ["model.layers=0", "model.pooling=mean", "model.class_token=false"]
    told = "model.layers=0 leaves no weight matrix for optim.name=muon: set optim.name=adamw"
    assert told in refusal(bare, "tiny_imagenet_cpu")
    assert load_config("tiny_imagenet_cpu", [*bare, "optim.name=adamw"]).model.layers == 0


def test_unknown_preset() -> None:
    assert "no preset tiny_image; did you mean tiny_imagenet?" in refusal([], "tiny_image")
    assert "no preset defaults; choose from demo" in refusal([], "defaults")


# How long to train: epochs, steps or minutes.


def test_steps_replace_epochs_and_epochs_steps(tmp_path: Path) -> None:
    short = load_config("baseline", ["train.steps=5"]).train
    assert (short.epochs, short.steps, short.total_steps(100)) == (None, 5, 5)
    path = with_presets(tmp_path, "short:\n  train: {steps: 7}\nlong:\n  extends: short\n  train: {epochs: 3}")
    assert load_config("short", path=path).train.total_steps(100) == 7
    assert load_config("long", path=path).train.total_steps(100) == 300
    assert load_config("short", ["train.epochs=2"], path).train.total_steps(100) == 200


def test_minutes_replace_both(tmp_path: Path) -> None:
    timed = load_config("baseline", ["train.minutes=2.5"]).train
    assert (timed.epochs, timed.steps, timed.minutes) == (None, None, 2.5)
    path = with_presets(tmp_path, "timed:\n  train: {minutes: 7}\nlong:\n  extends: timed\n  train: {epochs: 3}")
    assert load_config("timed", path=path).train.minutes == 7
    assert load_config("timed", ["train.steps=5"], path).train.total_steps(100) == 5
    assert load_config("long", path=path).train.total_steps(100) == 300


@pytest.mark.parametrize(
    "overrides", [["train.steps=5", "train.epochs=2"], ["train.minutes=5", "train.epochs=2"], ["train.epochs=null"]]
)
def test_more_than_one_length_or_none(overrides: list[str]) -> None:
    assert "give one of them" in refusal(overrides)


@pytest.mark.parametrize("value", ["0", "-1", "soon", "2h"])
def test_minutes_are_a_number_above_0(value: str) -> None:
    assert f"train.minutes={value}: expected a number above 0" in refusal([f"train.minutes={value}"])


# Other files than ours.


def test_extends_applies_the_oldest_first(tmp_path: Path) -> None:
    path = with_presets(
        tmp_path,
        "a:\n  optim: {weight_decay: 0.1, eps: 1e-6}\n"
        "b:\n  extends: a\n  optim: {weight_decay: 0.2}\n"
        "c:\n  extends: b\n  loss: {label_smoothing: 0.3}\n",
    )
    config = load_config("c", path=path)
    assert (config.optim.weight_decay, config.optim.eps, config.loss.label_smoothing) == (0.2, 1e-6, 0.3)
    assert config.optim.beta1 == 0.9


@pytest.mark.parametrize(
    ("presets", "told"),
    [
        ("a:\n  extends: b\nb:\n  extends: a", "circle: a -> b -> a"),
        ("a:\n  extends: b\ncc:", "preset a, extends: configs.yml has no preset b; choose from a, cc"),
        ("a:\n  extends: [b]", "preset a: extends=[b]: expected the name of a preset"),
        ("a:\n  train: {batch_size: 0}", "preset a: train.batch_size=0: expected a whole number of at least 1"),
        ("a:\n  train: {batchsize: 1}", "preset a: unknown option train.batchsize; did you mean train.batch_size?"),
        ("a:\n  trains: {}", "preset a: unknown section trains; did you mean train?"),
        ("a:\n  train: 3", "preset a: train: expected `key: value` lines, got 3"),
        ("a: 3", "preset a: expected `key: value` lines, got 3"),
        ("a:\n  optim: {eps: 0x}", "preset a: optim.eps=0x: expected a number above 0"),
        ("a:\n  train: {epochs: 1:30}", "preset a: train.epochs=1:30: expected a whole number of at least 1"),
        ("a:\n  train: {epochs: !!int 0x10}", "preset a: train.epochs=0x10: expected a whole number of at least 1"),
        ("a:\n  model: {image_size: [0x40, 64]}", "preset a: model.image_size=[0x40, 64]: expected a whole number or"),
        ("a:\n  model: {image_size: &x [*x, 64]}", "configs.yml, line LAST: an alias makes it contain itself"),
        ("a: " + 3000 * "[" + 3000 * "]", "configs.yml: nested too deeply"),
        ("a/b:", "a/b cannot name a preset"),
        ("3:", "3 cannot name a preset"),
    ],
)
def test_presets_that_cannot_be_used(tmp_path: Path, presets: str, told: str) -> None:
    path = with_presets(tmp_path, presets)
    last = path.read_text(encoding="utf-8").count("\n")
    assert told.replace("LAST", str(last)) in refusal([], "a", path)


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = with_presets(tmp_path, "a:\n  optim:\n    eps: 1.0\n    beta1: 0.5\n    eps: 2.0")
    line = path.read_text(encoding="utf-8").splitlines().index("    eps: 2.0") + 1
    assert refusal([], "a", path) == f"{path}, line {line}: eps is given twice"


@pytest.mark.parametrize(
    ("line", "section", "key", "expected"),
    [
        ("seed: 010", "train", "seed", 10),
        ("batch_size: 0128", "train", "batch_size", 128),
        ("seed: !!int 010", "train", "seed", 10),
        ("flip: Yes", "augment", "flip", True),
        ("root: 010", "data", "root", "010"),
        ("root: 2024-11-05", "data", "root", "2024-11-05"),
        ("root: no", "data", "root", "no"),
        ("root: ~", "data", "root", None),
        ("root:", "data", "root", None),
        ("learning_rate: 1e-3", "optim", "learning_rate", 1e-3),
    ],
)
def test_a_file_is_read_like_the_command_line(
    tmp_path: Path, line: str, section: str, key: str, expected: object
) -> None:
    """Numbers are decimal, and text is what is written, although YAML 1.1 takes many of these for something else."""
    value = getattr(
        getattr(load_config("a", path=with_presets(tmp_path, f"a:\n  {section}:\n    {line}")), section), key
    )
    assert (value, type(value)) == (expected, type(expected))


# Files of one's own.


def own(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_presets_of_ones_own_extend_those_of_configs_yml(tmp_path: Path) -> None:
    path = own(
        tmp_path, "mine:\n  extends: demo\n  train: {epochs: 3}\nyours:\n  extends: mine\n  optim: {eps: 1e-7}\n"
    )
    expected = load_config("demo", ["train.epochs=3", "optim.eps=1e-7"])
    assert load_config("yours", path=path) == dataclasses.replace(expected, preset="yours")
    assert load_config("demo", path=path) == load_config("demo")
    assert preset_names(path) == ["mine", "yours", *preset_names()]


def test_a_copy_of_configs_yml_stands_for_itself(tmp_path: Path) -> None:
    path = own(tmp_path, CONFIGS.read_text(encoding="utf-8").replace("momentum: 0.95", "momentum: 0.5"))
    assert load_config("demo", path=path).optim.momentum == 0.5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("demo:\n  train: {epochs: 3}", "configs.yml has a preset demo too; give this one another name"),
        ("mine:\n  extends: dmeo", "own.yml has no preset dmeo; did you mean demo?"),
        ("preset: demo\nmodel: {d_model: 8}", "the configuration of a run, and not a file of presets"),
        ("model: {d_model: 8}", "own.yml: model is a section: put it below the name of a preset"),
        ("mine:\n  train: {epoch: 3}", "own.yml, preset mine: unknown option train.epoch; did you mean train.epochs?"),
    ],
)
def test_own_files_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal([], "mine", own(tmp_path, text))


def test_every_name_from_elsewhere_leads_to_an_option_that_exists() -> None:
    for target in ELSEWHERE:
        assert target.startswith("--") or option_in(target) in OPTIONS, target
    own_keys = {option.partition(".")[2].replace("_", "") for option in OPTIONS}
    assert not own_keys & TARGETS.keys()  # an option that is called so here comes first


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"defaults:\n  model: [1, 2\n", ", line 3: "),
        (b"defaults:\n\tmodel: 1\n", ", line 2: "),
        (b"a: \x01", "not valid YAML"),
        (b"a: \xff", "not a text file in UTF-8"),
        (b"", "it has no presets"),
        (b"- 1\n", "it has no presets"),
        (b"defaults:\n  model: {d_model: 8}\ndemo:\n", "model.image_size, model.patch_size, "),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "configs.yml"
    path.write_bytes(content)
    message = refusal([], "demo", path)
    assert "configs.yml" in message
    assert told in message


# The configuration in the folder of a run.


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("demo", []),
        ("tiny_imagenet", ["model.image_size=[64,48]", "optim.learning_rate=0.1234567890123", "data.root=ä: # null"]),
        ("baseline", ["train.steps=3", "optim.max_grad_norm=1e-30", "data.cache=1e-3"]),
    ],
)
def test_round_trip(preset: str, overrides: list[str]) -> None:
    config = load_config(preset, overrides)
    assert from_yaml(config.to_yaml()) == config


def test_an_option_that_came_later_takes_its_default() -> None:
    text = load_config("demo", ["optim.beta2=0.5"]).to_yaml()
    older = "".join(line for line in text.splitlines(keepends=True) if "beta2" not in line)
    assert from_yaml(older) == load_config("demo", ["optim.beta2=0.999"])


def test_overrides_of_a_run_replace_its_own_values() -> None:
    text = load_config("demo", ["train.steps=5", "augment.flip=false"]).to_yaml()
    expected = load_config("demo", ["train.epochs=2", "augment.flip=false"])
    assert from_yaml(text, overrides=["train.epochs=2"]) == expected


def test_microbatches_must_fill_the_batch() -> None:
    assert load_config("baseline", ["train.accumulate=16"]).train.accumulate == 16
    assert "train: accumulate=48 must divide batch_size=64" in refusal(["train.accumulate=48"])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  beta2:", "  beta3:", "run/config.yml: unknown option optim.beta3; did you mean optim.beta2?"),
        ("beta2: 0.999", "beta2: 2", "run/config.yml: optim.beta2=2: expected a number"),
        ("optim:", "optima:", "run/config.yml: unknown section optima; did you mean optim?"),
        ("heads: 4", "heads: 5", "run/config.yml: model: "),
        ("preset: demo", "", "run/config.yml: not the configuration of a run"),
        ("preset: demo", "preset: [", "run/config.yml, line "),
    ],
)
def test_a_run_that_cannot_be_used(old: str, new: str, told: str) -> None:
    text = load_config("demo").to_yaml()
    assert old in text
    with pytest.raises(ConfigError, match=r"^run/config\.yml") as caught:
        from_yaml(text.replace(old, new, 1), source="run/config.yml")
    assert told in str(caught.value)


def test_folder_of_the_data_follows_its_name() -> None:
    folders = [load_config("baseline", overrides).data.folder for overrides in ([], ["data.name=shapes"])]
    assert folders == [Path("datasets/tiny-imagenet-200"), Path("datasets/shapes")]
    assert load_config("demo", ["data.root=/elsewhere"]).data.folder == Path("/elsewhere")


def test_configurations_cannot_be_changed_by_accident() -> None:
    config: Config = load_config("demo")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.seed = 3  # type: ignore[misc]
