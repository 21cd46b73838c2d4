"""The same model in PyTorch, eager and under `torch.compile`, with fused kernels for attention and AdamW."""

import contextlib
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import Tensor, nn

from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.problem import Params, Problem
from common.cores import available_cores


class Block(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        D, M = problem.d_model, problem.mlp_dim
        self.heads = problem.heads
        self.norm1 = nn.LayerNorm(D, problem.norm_eps)
        self.qkv = nn.Linear(D, 3 * D)
        self.out = nn.Linear(D, D)
        self.norm2 = nn.LayerNorm(D, problem.norm_eps)
        self.expand = nn.Linear(D, M)
        self.gelu = nn.GELU(approximate="tanh" if problem.gelu == "tanh" else "none")
        self.project = nn.Linear(M, D)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.project(self.gelu(self.expand(self.norm2(x))))

    def attention(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.qkv(x).view(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, H, N, K)
        return self.out(mixed.transpose(1, 2).reshape(B, N, D))


class TorchViT(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        D = problem.d_model
        self.patch = nn.Conv2d(problem.channels, D, problem.patch_size, stride=problem.patch_size)
        self.class_token = nn.Parameter(torch.zeros(D))
        self.positions = nn.Parameter(torch.zeros(problem.tokens, D))
        self.blocks = nn.Sequential(*(Block(problem) for _ in range(problem.layers)))
        self.norm = nn.LayerNorm(D, problem.norm_eps)
        self.head = nn.Linear(D, problem.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(2).transpose(1, 2)  # (B, D, rows, columns) -> (B, n, D)
        token = self.class_token.expand(len(x), 1, -1)
        x = torch.cat([token, x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def build(name: str, problem: Problem, params: Params) -> Contestant:
    cores = available_cores()
    torch.set_num_threads(cores)
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU, JAX's default there; no effect on a CPU
    on_gpu = problem.device == "gpu"
    if on_gpu and not torch.cuda.is_available():
        raise RuntimeError("this build of PyTorch finds no GPU")
    device = torch.device("cuda" if on_gpu else "cpu")
    model = TorchViT(problem).to(device)
    with torch.no_grad():
        model.load_state_dict({key: torch.tensor(value) for key, value in from_engine(params, problem).items()})
    forward: Callable[[Tensor], Tensor] = torch.compile(model) if name == "torch-compile" else model
    optimizer = torch.optim.AdamW(
        parameter_groups(model, problem.weight_decay),
        lr=problem.learning_rate,
        betas=(problem.beta1, problem.beta2),
        eps=problem.adam_eps,
        fused=True,
    )
    pixels, targets = problem.inputs()
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)  # (B, C, H, W), PyTorch's order
    labels = torch.from_numpy(targets).long().to(device)

    def precision() -> contextlib.AbstractContextManager:
        if problem.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)

    def synchronize() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    def run_step() -> Tensor:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = F.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    compile_seconds = None
    if name == "torch-compile":
        began = time.perf_counter()
        with precision():
            loss = F.cross_entropy(forward(images), labels)
        loss.backward()
        synchronize()
        compile_seconds = time.perf_counter() - began

    def run_forward() -> None:
        model.eval()
        with torch.inference_mode(), precision():
            forward(images)

    return Contestant(
        step=run_step,
        forward=run_forward,
        wait=synchronize,
        compile_seconds=compile_seconds,
        temp_bytes=None,
        device_peak=lambda: torch.cuda.max_memory_allocated() if on_gpu else None,
        version=f"PyTorch {torch.__version__}",
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
    )


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay acts on the weights of the dense layers and of the patch projection only."""
    matrices = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    decayed = [p for p in model.parameters() if id(p) in matrices]
    others = [p for p in model.parameters() if id(p) not in matrices]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def from_engine(params: Params, problem: Problem) -> dict[str, np.ndarray]:
    """The engine's parameters under PyTorch's names: weights transposed, the patch projection as a convolution."""
    (h, w), C, D = problem.patch_size, problem.channels, problem.d_model
    patch = params["patch_embedding"]["project"]
    state = {
        "patch.weight": patch["W"].reshape(h, w, C, D).transpose(3, 2, 0, 1),
        "patch.bias": patch["b"],
        "class_token": params["position_embedding"]["class_token"],
        "positions": params["position_embedding"]["positions"],
    }

    def linear(name: str, dense: Params) -> None:
        state.update({f"{name}.weight": dense["W"].T, f"{name}.bias": dense["b"]})

    def norm(name: str, layer_norm: Params) -> None:
        state.update({f"{name}.weight": layer_norm["gamma"], f"{name}.bias": layer_norm["beta"]})

    for i in range(problem.layers):
        block = params["encoder"][f"block_{i}"]
        norm(f"blocks.{i}.norm1", block["attention"]["norm"])
        linear(f"blocks.{i}.qkv", block["attention"]["attention"]["qkv"])
        linear(f"blocks.{i}.out", block["attention"]["attention"]["out"])
        norm(f"blocks.{i}.norm2", block["feed_forward"]["norm"])
        linear(f"blocks.{i}.expand", block["feed_forward"]["feed_forward"]["expand"])
        linear(f"blocks.{i}.project", block["feed_forward"]["feed_forward"]["project"])
    norm("norm", params["norm"])
    linear("head", params["head"])
    return {name: np.ascontiguousarray(array) for name, array in state.items()}
