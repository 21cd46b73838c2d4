"""The same model in PyTorch, eager and under `torch.compile`, with fused kernels for attention and AdamW.

Its modules have the names of timm, under which it is given the parameters. JAX is not imported.
"""

import contextlib
import time
from collections.abc import Callable

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
        self.attn = nn.ModuleDict({"qkv": nn.Linear(D, 3 * D), "proj": nn.Linear(D, D)})
        self.norm2 = nn.LayerNorm(D, problem.norm_eps)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(D, M), "fc2": nn.Linear(M, D)})
        self.gelu = nn.GELU(approximate="tanh" if problem.gelu == "tanh" else "none")

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp["fc2"](self.gelu(self.mlp["fc1"](self.norm2(x))))

    def attention(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.attn["qkv"](x).view(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, H, N, K)
        return self.attn["proj"](mixed.transpose(1, 2).reshape(B, N, D))


class TorchViT(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        D, size = problem.d_model, problem.patch_size
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(problem.channels, D, size, stride=size)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, D))
        self.pos_embed = nn.Parameter(torch.zeros(1, problem.tokens, D))
        self.blocks = nn.Sequential(*(Block(problem) for _ in range(problem.layers)))
        self.norm = nn.LayerNorm(D, problem.norm_eps)
        self.head = nn.Linear(D, problem.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)  # (B, D, rows, columns) -> (B, n, D)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
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
        model.load_state_dict({name: torch.tensor(array) for name, array in params.items()})
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
