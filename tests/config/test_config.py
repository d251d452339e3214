"""Every option of every group composes and passes preflight."""

import pytest
import safetensors.torch
from hydra.utils import instantiate

from efat import EfatError
from efat.campaign.results import Baseline
from efat.campaign.stages import severity_measure
from efat.config.build import build_experiment
from efat.config.compose import compose_jobs
from efat.config.schema import CONF
from efat.engine.store import Result, Store
from tests.data import tiny_data

OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/[!_]*.yaml")
    if path.parent.name != "experiment" and path.stem != "no_remap"  # only for compare=
)
NEEDS = {
    "fleet=file": ["fleet.path=chips.npz"],
    "trainer=gpu": ["trainer.accelerator=cpu"],
    "executor=slurm": ["executor.cluster=local"],
    "planner=exact": ["fleet.chips=20"],
    "trainer=ddp": ["trainer.accelerator=cpu", "executor=launch"],
    "task=mse": ["data=diabetes", "model=mlp", "model.sizes=[10,8,1]"],
    "data=diabetes": ["task=mse", "model=mlp", "model.sizes=[10,8,1]"],
    "model=vit_tiny": [
        "array.off_array=[vit.embeddings.cls_token,vit.embeddings.position_embeddings]"
    ],
}
EXTRAS = {"executor=ray": "ray", "executor=slurm": "submitit"}
LARGE = ("resnet50", "vit_tiny")  # of an extra; for images of 224 pixels


def needs(option, folder):
    """Return what else to say so that an option makes sense, and make the files it reads."""
    group, _, name = option.partition("=")
    more = list(NEEDS.get(option, []))
    if name in LARGE:
        pytest.importorskip("transformers")
        path = tiny_data.write_npz(folder / "large.npz", 24, side=224)
        return [*more, "data=npz", f"data.path={path}", "data.batch_size=4", "data.val_size=10"]
    if name == "mlp_vts18":
        return [*more, "data=mnist", *tiny_data.overrides_of("mnist", folder)]
    if group == "data" and name != "diabetes":
        classes, channels = 100 if name == "cifar100" else 10, tiny_data.CHANNELS.get(name, 3)
        more += [f"model.in_channels={channels}", f"model.num_classes={classes}"]
        more += tiny_data.overrides_of(name, folder)
    if group == "model" and name not in ("mlp", "resnet8"):
        path = tiny_data.write_npz(folder / "small.npz", 100)
        more += ["data=npz", f"data.path={path}", "data.batch_size=4", "data.val_size=20"]
    return more


def test_options_were_found():
    assert {"planner=greedy", "array=ws_16", "executor=serial", "tracking=wandb"} <= set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_passes_preflight(option, tmp_path, monkeypatch):
    from efat.hardware.fleets import save_fleet, uniform_fleet
    from efat.hardware.mapping import SystolicArray

    if option in EXTRAS:
        pytest.importorskip(EXTRAS[option])
    monkeypatch.chdir(tmp_path)
    save_fleet(uniform_fleet(SystolicArray(16, 16), 0, 2, 0.1), tmp_path / "chips.npz")
    (cfg,) = compose_jobs(["+experiment=resnet_fat", option, *needs(option, tmp_path)])
    experiment = build_experiment(cfg)
    assert experiment.amounts.budget_steps % experiment.amounts.eval_every_steps == 0


GPU = ("trainer.accelerator=cpu", "trainer.precision=32-true")
EXPERIMENTS = {
    "resnet_fat": (),
    "resnet_fat_repair": (),
    "single_fat": (),
    "diabetes_mlp": (),
    "fashion_mnist_resnet8": ("fashion_mnist",),
    "mlp_vts18": ("fashion_mnist",),
    "cifar10_resnet20": ("cifar10", "baseline.checkpoint=w.safetensors", "data.train_size=0.5"),
    "paper/vgg11_cifar10": ("cifar10", *GPU),
    "paper/resnet18_cifar10": ("cifar10", *GPU),
    "paper/mobilenetv2_cifar100": ("cifar100", *GPU),
    "paper/resnet50_imagenet": ("imagefolder", "baseline.checkpoint=w.safetensors", *GPU),
}
"""Whole experiments, and what they need: data of the kind, weights, no GPU."""


def test_all_experiments_are_in_the_table():
    folder = CONF / "experiment"
    found = {str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.yaml")}
    assert found == set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_passes_preflight(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "resnet50" in experiment:
        pytest.importorskip("transformers")
    data, *more = EXPERIMENTS[experiment] or (None,)
    if data:
        more += tiny_data.overrides_of(data, tmp_path)
    if "baseline.checkpoint=w.safetensors" in more:
        model = "resnet50" if "resnet50" in experiment else "resnet20"
        (cfg,) = compose_jobs([f"model={model}"])
        safetensors.torch.save_file(instantiate(cfg.model).state_dict(), "w.safetensors")
    (cfg,) = compose_jobs([f"+experiment={experiment}", *more])
    assert build_experiment(cfg).name == experiment.rpartition("/")[2]


def test_an_experiment_without_its_data_names_the_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EfatError, match=r"data\.path: not given; set it with data\.path="):
        compose_jobs(["+experiment=fashion_mnist_resnet8"])
    (cfg,) = compose_jobs(["+experiment=fashion_mnist_resnet8", "data.path=nowhere"])
    with pytest.raises(EfatError, match=r"data\.path: 'nowhere' given; no such folder"):
        build_experiment(cfg)


def test_amounts_in_epochs_become_whole_steps():
    (cfg,) = compose_jobs(
        ["training.budget_epochs=1", "training.eval_every_epochs=0.25", "baseline.epochs=2",
         "trainer.accumulate_grad_batches=3"]
    )  # fmt: skip
    amounts = build_experiment(cfg).amounts
    assert amounts.steps_per_epoch == 11  # 33 batches of 32, three a step
    assert amounts.samples_per_step == 96
    assert amounts.eval_every_steps == 3
    assert amounts.budget_steps == 12
    assert amounts.pretrain_steps == 22


def test_weight_rate_is_of_the_configured_model(tmp_path):
    (cfg,) = compose_jobs(["selection.severity=weight_rate", "model=mlp", "fleet.chips=2"])
    experiment = build_experiment(cfg)
    store, weights = Store(tmp_path), ("pretrain", "k")
    store.write(*weights, Result({}, instantiate(cfg.model).state_dict()))
    severity = severity_measure(experiment, store, Baseline(weights, 0.9, 0.0))
    chip = experiment.fleet.chips[1].fault_map
    assert severity(chip) != chip.fault_rate
    assert 0 < severity(chip) < 1


BAD_OVERRIDES = {
    ("array.rowz=1",): "array.rowz: no such key (1 given); allowed here: cols, dataflow",
    ("planner=x",): "planner: x given; allowed: early_stop, exact, fixed, ",
    ("array.rows=two",): "array.rows: two given; an int is needed",
    ("rules.price_group=x",): "rules.price_group: x given; a number is needed",
    ("array.off_array=3",): "array.off_array: 3 given; a list, [a,b], is needed",
    ("seed=0,1",): "seed: 0,1 given; a sweep over it needs -m",
    ("+array.depth=3",): "array.depth: no such key",
    ("a b=[",): "command line: 'a b=[' given; key=value is needed",
    ("fleet=file",): "fleet.path: not given",
    ("executor=null",): "executor: null given; allowed: launch, processes, ray, serial, slurm",
    ("seed=${foo}",): "seed: ${foo} given; it refers to a value that is not there",
    ("array.rows=${array.cols}", "array.cols=${array.rows}"): "array.cols: ${array.rows} given; ",
    ("--config-name", "nowhere"): "--config-name nowhere given; no nowhere.yaml in",
    ("--config-dir", "nowhere"): "command line: --config-dir nowhere given; no such folder",
    ("--config-path", "nowhere"): "nowhere given; no such folder",
    ("--nosuch",): "command line: --nosuch given; no such option; ",
    ("--cfg", "jobs"): "command line: --cfg/-c given; invalid choice: 'jobs'",
    ("--run", "-m"): "command line: more than one of --run, --multirun, ",
    ("--experimental-rerun", "config.pickle"): "it would unpickle a file",
    ("experiment=resnet_fat",): "write +experiment=resnet_fat",
}


@pytest.mark.parametrize("overrides", BAD_OVERRIDES)
def test_overrides_that_do_not_fit(overrides):
    with pytest.raises(EfatError) as caught:
        compose_jobs(overrides)
    assert BAD_OVERRIDES[overrides] in str(caught.value)
    for noise in ("provider=", "object_type", "reference_type", "full_key", "Exception"):
        assert noise not in str(caught.value)


def test_keys_of_an_option_that_does_not_exist_are_not_judged():
    with pytest.raises(EfatError) as caught:
        compose_jobs(["planner=randm", "planner.sizes=[3]", "fleet.chps=1"])
    keys = [problem.split(":")[0] for problem in caught.value.problems]
    assert keys == ["planner", "fleet.chps"]


def test_a_key_added_inside_an_added_one_fits():
    (cfg,) = compose_jobs(["+fleet.extra={}", "+fleet.extra.k=1"])
    assert cfg.fleet.extra.k == 1


def test_sweeps_are_expanded_as_hydra_does():
    jobs = compose_jobs(["-m", "seed=0,1", "array=ws_8,ws_16", "fleet.chips=range(2,4)"])
    assert [(job.seed, job.array.rows, job.fleet.chips) for job in jobs] == [
        (s, r, c) for s in (0, 1) for r in (8, 16) for c in (2, 3)
    ]
    assert compose_jobs(["--help"]) == []


LINEAR = "_target_: torch.optim.lr_scheduler.LinearLR, _partial_: true"
COSINE = "_target_: torch.optim.lr_scheduler.CosineAnnealingLR, _partial_: true, T_max: 9"
HIDDEN = (
    "_target_: functools.partial, _args_: [{_target_: hydra.utils.get_class, "
    "path: torch.optim.lr_scheduler.CosineAnnealingLR}], T_max: 9"
)


SCHEDULERS = {
    f"{{{COSINE}}}": "CosineAnnealingLR depends on the budget",
    f"{{{HIDDEN}}}": "CosineAnnealingLR depends on the budget",
    f"{{{LINEAR}, total_iters: ${{training.budget_epochs}}}}": "it depends on the budget",
    f"{{{LINEAR}, total_iters: ${{..budget_epochs}}}}": "it depends on the budget",
    "5": "training.scheduler: 5 given",
}
BAD_VALUES = (  # each dict is one command, whose problems are all reported
    {
        "selection.stat=conformal": "selection.stat=conformal with selection.quantile=0.9 needs at",
        "selection.sustained=0": "selection.sustained: 0 given; an int >= 1",
        "selection.monotone=isotonic": "fall below what selection.stat=conformal stands for",
        "selection.interpolation=linear": "selection.interpolation: linear given; ",
        "selection.confidence=1": "selection.confidence: 1.0 given",
        "fault_rates.search=halve": "'halve' given; allowed: grid, bisect",
        "executor.retries=-1": "executor.retries: -1 given",
        "executor.workers=100000": "executor.workers: 100000 given; an int from 1 to",
        "store=/etc/hostname": "store: /etc/hostname given; it cannot be written (Not a directory)",
        "baseline.epochs=inf": "baseline.epochs: inf given; a finite number > 0",
        "training.eval_every_epochs=9": "training.eval_every_epochs: 9.0 given; at most",
        "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val: -1.0 given",
        "trainer.accumulate_grad_batches=2": "a divisor of the 33 batches of an epoch",
        "trainer.devices=2": "trainer.devices: 2 given; with more than one use executor=launch",
        "name=../evil": "name: '../evil' given",
        "compare=[none,none]": "names one twice",
        "array.off_array=[nope]": "off_array: 'nope' given",
        "training.frozen=[layer9]": "training.frozen: 'layer9' given; the model has no such",
        "baseline.checkpoint=nowhere.pt": "baseline.checkpoint: 'nowhere.pt' given; no such",
        "+fleet.foo=1": "fleet.foo: 1 given; efat.hardware.fleets.uniform_fleet takes no such",
        "+planner.foo=1": "planner.foo: 1 given; efat.planning.MinCost takes no such argument",
    },
    {
        "selection.monotone=pava": "'pava' given; allowed: envelope, isotonic",
        "selection.quantile=2": "selection.quantile: 2.0 given; [0, 1] is needed",
        "data.batch_size=0": "data.batch_size: 0 given",
        "data.split_seed=null": "data.split_seed: None given",
        "training.batch_norm=off": "training.batch_norm: ",
        "+executor.foo=1": "executor.foo: 1 given; efat.engine.executors.Processes takes no such",
        "+executor.bar=2": "executor.bar: 2 given",
        "+model.foo=1": "model.foo: 1 given",
        "+model.bar=2": "model.bar: 2 given",
        "rules.max_groups=0": "rules.max_groups: 0 given",
        "fleet.fault_rate=[0.1,1.5]": "fleet.fault_rate: [0.1, 1.5] given",
        "fault_rates.rates=[0.001,0.1]": "rates: [0.001] given; less than one of the array's 256",
    },
    {"selection.sustained=14": "selection.sustained: 14 given; a curve has 13 evaluations"},
    *({f"training.scheduler={node}": problem} for node, problem in SCHEDULERS.items()),
    {"~planner": "", "+planner={_target_: builtins.dict}": "planner: dict given"},
    {"~tracking": "", "+tracking={_target_: builtins.dict}": "tracking: dict given"},
    {"~model": "", "+model={_target_: torch.nn.Flatten}": "model: no layer maps onto the array"},
    {
        "array.dataflow=is": "selection.severity: weight_rate given, but array.dataflow=is prunes",
        "selection.severity=weight_rate": "",
        "recipe.steps=[remap,retrain]": "recipe.steps: remap given, but array.dataflow=is keeps no",
    },
    {"task=mse": "task.loss: does not fit outputs of shape"},
    {"task.loss._target_=torch.nn.BCEWithLogitsLoss": "task.loss: does not fit outputs"},
    {"+task.loss.reduction=none": "task.loss: gives "},
    {"training.frozen=[conv1,bn1,layer1,layer2,layer3,linear]": "frozen: covers every layer"},
    {"task.metric._target_=torch.nn.Linear": "task: "},
    {"+training.lr_factors.conv1=-1": "training.lr_factors: conv1: -1.0 given"},
)


@pytest.mark.parametrize("values", BAD_VALUES)
def test_values_that_cannot_be(values):
    with pytest.raises(EfatError) as caught:
        build_experiment(compose_jobs(list(values))[0])
    missing = [problem for problem in values.values() if problem not in str(caught.value)]
    assert not missing, caught.value.problems


def test_a_warm_up_of_its_own_length_is_welcome():
    (cfg,) = compose_jobs([f"training.scheduler={{{LINEAR}, total_iters: 9}}"])
    assert build_experiment(cfg).retrain_setup.scheduler.arguments["total_iters"] == 9
