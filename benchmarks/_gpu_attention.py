"""Windows, causal attention and packed videos by FlexAttention against dense attention of the same groups: results,
times, and the training step of a transformer over packed videos against one shape after the other.
"""

from functools import partial

import torch
from _gpu_bench import Bench, Skipped, fitting, one_line, peak_memory, peaks, timed
from _gpu_steps import adamw, compile_blocks, moved

from clipmill.models.backbones.by_name import plan_named
from clipmill.models.backbones.contract import Conditioning, training_flops
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.backbones.sequence import Part
from clipmill.models.layers.attention import attend
from clipmill.models.layers.flex import flex_attend, flex_helps, runs_flex
from clipmill.models.layers.packing import length_of, split_row
from clipmill.models.layers.plan import group_mask, join, partition, query_key_pairs
from clipmill.models.training.loop import allow_graphs

# Plan -> shapes of the row, in positions: windows that are cut short, frames that see earlier ones, several videos.
FULL = {
    "window 4x10x10, cut": ("window 4x10x10", ((4, 16, 32, 32),)),
    "window 0x8x8, even": ("window 0x8x8", ((4, 16, 32, 32),)),
    "causal full": ("causal full", ((4, 8, 16, 16),)),
    "packed full": ("full", ((2, 16, 16, 16), (4, 8, 16, 16), (1, 16, 16, 28), (16, 1, 16, 16))),
    "packed window 4x8x8": ("window 4x8x8", ((2, 16, 16, 16), (4, 8, 16, 16), (1, 16, 16, 28), (16, 1, 16, 16))),
}
SMALL = {
    "window 2x3x3, cut": ("window 2x3x3", ((1, 4, 8, 8),)),
    "causal full": ("causal full", ((1, 4, 4, 4),)),
    "packed full": ("full", ((2, 4, 4, 4), (1, 2, 8, 8), (4, 1, 4, 4))),
}
WIDTH = 1152
# bf16 rounds at 2^-9; float32 on a GPU adds in another order.
TOLERANCE = {torch.bfloat16: 2e-2, torch.float32: 1e-4}
LAYER_S, STEP_S = 15, 30


def run(bench: Bench) -> None:
    allow_graphs(64)  # flex is compiled for each of these rows
    peak = peaks(bench)
    bench.tell("peak", peak)
    dtype = torch.bfloat16 if bench.cuda else torch.float32
    for head_dim in bench.pick((64, 72), (16,)):
        for name, (plan, shapes) in list(bench.pick(FULL, SMALL).items())[-bench.pick(9, 9, 1) :]:
            bench.case(f"{name}, heads of {head_dim}", LAYER_S, partial(_layer, plan, shapes, head_dim, dtype, bench))
    batches = (("one shape after the other", False), ("packed", True))
    rows = {}
    for compiled in bench.pick((False, True), (False, True), (False,)):
        for name, packs in batches:
            title = f"{name}, {'compiled' if compiled else 'eager'}"
            measure = partial(_step, packs, compiled, peak["peak_flops"], bench)
            rows[title] = bench.case(f"DiT, full attention: {title}", STEP_S * (1 + compiled), measure)
    found = {
        f"packed / one after the other, {kind}": packed["tokens_per_s"] / apart["tokens_per_s"]
        for kind in ("eager", "compiled")
        if (packed := rows.get(f"packed, {kind}")) and (apart := rows.get(f"one shape after the other, {kind}"))
    }
    bench.tell("DiT, full attention: ratios", found)


def _layer(plan_name: str, shapes, head_dim: int, dtype: torch.dtype, bench: Bench) -> dict:
    """Queries, keys and values at random, forward and backward (on a CPU forward alone: it has no backward pass)."""
    plan, heads = plan_named(plan_name), bench.pick(WIDTH, 64) // head_dim
    length = sum(map(length_of, shapes))
    # One row: videos of one shape are that many shapes for flex, and a batch for dense attention.
    given = [torch.randn(1, 1, length, heads, head_dim, device=bench.device, dtype=dtype) for _ in range(3)]
    given = [part.requires_grad_(bench.cuda) for part in given]
    taken = flex_helps(plan, shapes, head_dim, given[0])
    ways = {"dense": partial(dense, plan=plan, shapes=shapes), "flex": partial(flex_attend, plan=plan, shapes=shapes)}
    exact = _outcome(ways["dense"], [part.detach().float().requires_grad_(bench.cuda) for part in given])
    facts: dict = {"errors": {}}
    for name in tuple(ways):
        try:
            facts["errors"][name] = _error(_outcome(ways[name], given), exact)
        except Exception as error:
            if taken or name == "dense":
                raise
            facts["flex fails"] = one_line(error)  # a head that models does not give it either
            del ways[name]
    times = timed({name: partial(_outcome, way, given) for name, way in ways.items()}, bench)
    pairs = sum(shape[0] * query_key_pairs(plan, shape[1:]) for shape in shapes)
    flops = (3 if bench.cuda else 1) * 4 * pairs * heads * head_dim
    for name, time in times.items():
        facts[name] = time | {"tflops": flops / time["ms"] / 1e9}
    if "flex" in times:
        facts |= {"within": facts["errors"]["flex"] <= TOLERANCE[dtype]}
        facts |= {"flex / dense": times["dense"]["ms"] / times["flex"]["ms"]}
    return facts | {
        "positions": length,
        "heads": heads,
        "dtype": str(dtype).removeprefix("torch."),
        "models takes": "flex" if taken else "dense",
        "backward": bench.cuda,
    }


def dense(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, plan, shapes) -> torch.Tensor:
    """As a layer does without flex: every part by itself, its groups as a batch. [1, 1, L, heads, d] each."""
    mixed = []
    for parts in zip(*(split_row(row[0, 0], shapes) for row in (query, key, value)), strict=True):
        grid = (parts[0].shape[1], parts[0].shape[2], parts[0].shape[3])
        mask = group_mask(plan, grid, None, query.device)
        mixed.append(join(attend(*(partition(part, plan) for part in parts), mask), plan, grid).flatten(0, 3))
    return torch.cat(mixed)[None, None]


def _outcome(way, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """The output, and the gradients where they are wanted."""
    output = way(*given)
    if not output.requires_grad:
        return [output]
    return [output.detach(), *torch.autograd.grad(output.float().square().sum(), given)]


def _error(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    """The largest root mean square of a difference, of that of the exact tensor."""
    pairs = zip(found, exact, strict=True)
    return max(((a.float() - b).square().mean() / b.square().mean()).sqrt().item() for a, b in pairs)


def _step(packs: bool, compiled: bool, peak: float, bench: Bench) -> dict:
    """A training step over videos of four shapes, bf16 on a GPU."""
    if packs and not runs_flex(bench.device) and bench.full:
        raise Skipped("FlexAttention is compiled on GPUs alone")
    return fitting(bench.pick(2, 1), lambda several: _step_of(several, packs, compiled, peak, bench))


def _step_of(several: int, packs: bool, compiled: bool, peak: float, bench: Bench) -> dict:
    torch.manual_seed(0)
    width, depth, head_dim = bench.pick((WIDTH, 12, 64), (64, 2, 16))
    rotary = {"space_positions": "rotary", "time_positions": "rotary", "qk_norm": True}
    model = DiT(DiTConfig(width=width, depth=depth, head_dim=head_dim, plans=(plan_named("full"),), **rotary))
    model, facts = model.to(bench.device), {}
    if compiled:
        compile_blocks(model.repeated_blocks(), bench)
    grids = bench.pick(
        ((2, 16, 32, 32), (4, 8, 32, 32), (1, 16, 32, 56), (16, 1, 32, 32)), ((2, 4, 8, 8), (1, 2, 8, 16), (4, 1, 8, 8))
    )
    parts = [_part(several * count, grid, bench) for count, *grid in grids]
    optimiser = adamw(model, bench)
    with peak_memory(bench, facts):
        facts |= timed({"step": lambda: _train(model, optimiser, parts, packs, bench)}, bench)["step"]
    seconds, tokens = facts["ms"] / 1000, sum(part.z.numel() // 16 for part in parts)
    flops = sum(len(part.z) * training_flops(model, (part.z.shape[1], *part.z.shape[3:])) for part in parts)
    return facts | {
        "tokens": tokens,
        "tokens_per_s": tokens / seconds,
        "model_tflops": flops / seconds / 1e12,
        "mfu": flops / seconds / peak,
    }


def _part(count: int, grid, bench: Bench) -> Part:
    frames, height, width = grid
    z = torch.randn(count, frames, 4, height, width, device=bench.device)
    return Part(z, torch.rand(count, device=bench.device), Conditioning())


def _train(model: DiT, optimiser, parts: list[Part], packs: bool, bench: Bench) -> None:
    with bench.autocast(bench.cuda):
        if packs:
            sum(found.float().square().mean() for found in model.forward_packed(parts)).backward()
        else:
            for part in parts:
                model(part.z, part.noise_level, part.conditioning).float().square().mean().backward()
    moved(model, optimiser)
