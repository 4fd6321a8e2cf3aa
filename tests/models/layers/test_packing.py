"""Videos of several shapes in one sequence: packed equals one by one, under every plan; and FlexAttention equals dense
attention.
"""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from clipmill.curate.errors import UserError
from clipmill.models.backbones.by_name import plan_named
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.backbones.sequence import Part
from clipmill.models.layers import flex
from clipmill.models.layers.attention import Attention
from clipmill.models.layers.embeddings import rotary_table
from clipmill.models.layers.packing import Packing, length_of, row_of, videos_of_row

torch.set_num_threads(1)
CPU = torch.device("cpu")
CHANNELS, TOKEN_DIM, VECTOR_DIM, FRAME_CHANNELS = 3, 5, 7, 4
WINDOW, CAUSAL_WINDOW = plan_named("window 2x2x2"), plan_named("causal window 3x2x0")
SPATIAL, TEMPORAL, FULL, CAUSAL = (plan_named(name) for name in ("spatial", "temporal", "full", "causal full"))
OTHERS = [plan_named(name) for name in ("causal temporal", "first", "previous", "diagonal")]
# Videos, frames, height, width: an image, odd sides, and two videos of one shape.
SHAPES = [(1, 3, 6, 5), (2, 2, 4, 7), (1, 1, 8, 8), (1, 5, 2, 3)]
TEXT = {
    "cross": {"text": "cross", "token_dim": TOKEN_DIM},
    "in context": {"text": "in_context", "token_dim": TOKEN_DIM},
}


def name(plan):
    return f"{plan.reach}{'-causal' * plan.causal}"


def dit(plans, **options):
    """With numbers everywhere, also where layers start at zero."""
    torch.manual_seed(0)
    options = {"space_positions": "rotary", "time_positions": "rotary", "qk_norm": True, "depth": 2} | options
    model = DiT(
        DiTConfig(in_channels=CHANNELS, out_channels=CHANNELS, width=32, head_dim=16, plans=plans, **options)
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def parts(config, seed=1):
    """Videos of all shapes; a different count of text tokens for each, the third part without any."""
    random = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    found = []
    for number, (videos, frames, height, width) in enumerate(SHAPES):
        counts = torch.randint(1, 5, (videos, 1), generator=random)
        text = bool(config.token_dim) and number != 2
        conditioning = Conditioning(
            vector=numbers(videos, VECTOR_DIM) if config.vector_dim else None,
            tokens=numbers(videos, 4, TOKEN_DIM) if text else None,
            token_mask=torch.arange(4) < counts if text else None,
            frames=numbers(videos, frames, FRAME_CHANNELS, height, width) if config.frame_channels else None,
        )
        found.append(Part(numbers(videos, frames, CHANNELS, height, width), numbers(videos).sigmoid(), conditioning))
    return found


def one_by_one(model, videos):
    """Every video in a pass of its own."""
    found = []
    for z, level, conditioning in videos:
        each = [
            model(z[i : i + 1], level[i : i + 1], conditioning.map(lambda t, i=i: t[i : i + 1])) for i in range(len(z))
        ]
        found.append(torch.cat(each))
    return found


def gradients(model, outputs):
    model.zero_grad()
    sum((output.square().sum() for output in outputs), torch.zeros(())).backward()
    return {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}


MODELS = {
    **{name(plan): ((plan,), {}) for plan in (SPATIAL, TEMPORAL, FULL, CAUSAL, WINDOW, CAUSAL_WINDOW, *OTHERS)},
    "latte": (
        (SPATIAL, TEMPORAL),
        {"space_positions": "sinusoidal", "time_positions": "sinusoidal", "vector_dim": VECTOR_DIM},
    ),
    "stream": (
        (SPATIAL, TEMPORAL),
        {"time_positions_in": "stream", "time_positions": "unit", "frame_channels": FRAME_CHANNELS},
    ),
    "latte-3": ((SPATIAL,), {"along_time": "modulated", "vector_dim": VECTOR_DIM}),
    "latte-4": ((SPATIAL,), {"along_time": "heads", "time_positions": "sinusoidal"}),
    "gentron": ((SPATIAL,), TEXT["cross"] | {"along_time": "zero"}),
    "walt": ((plan_named("window 1x2x2"), WINDOW), TEXT["cross"] | {"modulation_rank": 2}),
    "uvit": (
        (FULL,),
        TEXT["in context"]
        | {"told": "tokens", "vector_dim": VECTOR_DIM, "depth": 3, "long_skips": True, "final_convolution": True}
        | {
            "space_positions": "learned",
            "space_sides": (8, 8),
            "time_positions": "learned",
            "time_positions_in": "stream",
        },
    ),
    "patches of 2x2x2": ((FULL,), {"patch": (2, 2, 2), "time_positions": "sinusoidal"}),
    "cross": ((SPATIAL, TEMPORAL), TEXT["cross"]),
    "in context": ((FULL,), TEXT["in context"]),
    "in context, added positions": (
        (FULL,),
        TEXT["in context"] | {"space_positions": "sinusoidal", "time_positions": "sinusoidal"},
    ),
}


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_packed_equals_one_by_one_in_outputs_and_gradients(config):
    plans, options = config
    model = dit(plans, **options)
    videos = parts(model.config)
    expected, found = one_by_one(model, videos), model.forward_packed(videos)
    for mine, theirs, video in zip(found, expected, videos, strict=True):
        assert mine.shape == video.z.shape
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    assert min(theirs.abs().max() for theirs in expected) > 0.1
    wanted, got = gradients(model, expected), gradients(model, found)
    assert got.keys() == wanted.keys()
    for key, gradient in wanted.items():
        torch.testing.assert_close(got[key], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("plans", [(FULL,), (SPATIAL, TEMPORAL), (WINDOW,)], ids=["full", "latte", "window"])
def test_a_video_does_not_depend_on_its_neighbours_nor_on_its_place_in_the_row(plans):
    model = dit(plans, **TEXT["cross"])
    videos, others = parts(model.config), parts(model.config, seed=2)
    found = model.forward_packed(videos)
    torch.testing.assert_close(model.forward_packed([others[0], videos[1], others[2]])[1], found[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(model.forward_packed([others[3], others[0], videos[1]])[2], found[1], rtol=0, atol=1e-6)
    assert (model.forward_packed(others)[1] - found[1]).abs().max() > 1e-2


@pytest.mark.parametrize("text", ["cross", "in context"])
def test_the_row_holds_no_padding(text):
    model, lengths = dit((FULL,), patch=(1, 2, 2), **TEXT[text]), []
    for block in model.blocks:
        block.register_forward_hook(lambda _, given, found: lengths.append(tuple(found.shape)))
    videos = parts(model.config)
    model.forward_packed(videos)
    patches = 3 * 3 * 3 + 2 * 2 * 2 * 4 + 16 + 5 * 1 * 2
    words = sum(int(part.conditioning.token_mask.sum()) for part in videos if part.conditioning.token_mask is not None)
    assert lengths == [(1, 1, 1, patches + (words if text == "in context" else 0), 32)] * 2


def test_modulation_is_computed_once_per_video_of_a_row():
    model, rows = dit((FULL,)), []
    for block in model.blocks:
        block.modulation.linear.register_forward_hook(lambda _, given, found: rows.append(tuple(found.shape[:-1])))
    model.forward_packed(parts(model.config))
    assert rows == [(5,)] * 2


@pytest.mark.parametrize("options", [{}, {"images_skip_time": True}, {"along_time": "zero"}])
def test_frames_of_their_own_are_so_in_a_row_too(options):
    model = dit((SPATIAL, TEMPORAL), **options)
    plain = parts(model.config)
    videos = [
        part._replace(conditioning=Conditioning(independent=torch.arange(part.z.shape[1]).expand(len(part.z), -1) > 1))
        for part in plain
    ]
    found = model.forward_packed(videos)
    for mine, theirs in zip(found, one_by_one(model, videos), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
    assert (found[0] - model.forward_packed(plain)[0]).abs().max() > 1e-3


def test_recomputation_and_autocast_work_on_rows():
    model = dit((SPATIAL, FULL), **TEXT["cross"]).float()
    videos = [
        Part(z.float(), level.float(), c.map(lambda t: t.float() if t.is_floating_point() else t))
        for z, level, c in parts(model.config)
    ]
    expected = gradients(model, model.forward_packed(videos))
    model.recompute_every = 1
    for key, gradient in gradients(model, model.forward_packed(videos)).items():
        assert torch.equal(gradient, expected[key])
    exact = model.forward_packed(videos)
    with torch.autocast("cpu", torch.bfloat16):
        for rough, fine in zip(model.forward_packed(videos), exact, strict=True):
            assert ((rough - fine).norm() / fine.norm()).item() < 0.05


@pytest.mark.slow
def test_rows_of_many_shapes_need_few_graphs():
    """Shapes are kept out of the compiled graphs: else every new mixture of videos would be compiled again."""
    model = dit((FULL,), depth=1, **TEXT["cross"])
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for block in model.blocks:
        block.compile(backend="eager")
    graphs = []
    videos = parts(model.config)
    for chosen in ([0, 1, 2], [3, 0], [2, 1, 3]):
        some = [videos[number] for number in chosen]
        for mine, theirs in zip(
            model.forward_packed(some), one_by_one(dit((FULL,), depth=1, **TEXT["cross"]), some), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    torch._dynamo.reset()
    assert graphs[1] == graphs[-1] > 0, "the lengths become symbols with the second row"


def test_conditions_without_a_place_are_refused():
    model = dit((FULL,))
    videos = parts(model.config)
    with pytest.raises(UserError, match="vector"):
        model.forward_packed([videos[0], videos[1]._replace(conditioning=Conditioning(vector=torch.zeros(2, 3)))])
    with pytest.raises(UserError, match="videos"):
        model.forward_packed([videos[0]._replace(z=videos[0].z[:, :, :2])])


# FlexAttention

FLEX_SHAPES = ((1, 3, 6, 5), (2, 4, 4, 7), (1, 1, 9, 9))
FLEX_PLANS = [FULL, CAUSAL, WINDOW, CAUSAL_WINDOW]


def attention(plan):
    torch.manual_seed(1)
    return Attention(32, 16, plan, qk_norm=True)


def on_flex(monkeypatch):
    """FlexAttention as it is without a compiler; counts its calls."""
    calls = []
    uncompiled = flex._flex(CPU)

    def counted(*given, **options):
        calls.append(options)
        return uncompiled(*given, **options)

    monkeypatch.setattr(flex, "runs_flex", lambda device: True)
    monkeypatch.setattr(flex, "_flex", lambda device: counted)
    return calls


def tried(function):
    """Without gradients: CPUs have no backward pass for it."""
    try:
        with torch.no_grad():
            return function()
    except NotImplementedError as error:
        pytest.skip(f"this torch has no FlexAttention on a CPU: {error}")


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("plan", [CAUSAL, WINDOW, CAUSAL_WINDOW], ids=name)
def test_flex_equals_dense_attention(plan, monkeypatch):
    grid = (5, 6, 7)
    layer, x, table = attention(plan), torch.randn(2, *grid, 32), rotary_table(grid, (4, 6, 6), CPU)
    dense, turned = layer(x), layer(x, table)
    calls = on_flex(monkeypatch)
    torch.testing.assert_close(tried(lambda: layer(x)), dense, rtol=0, atol=1e-5)
    torch.testing.assert_close(tried(lambda: layer(x, table)), turned, rtol=0, atol=1e-5)
    assert len(calls) == 2


def packing_of(shapes, device):
    nothing = (None,) * len(shapes)
    return Packing(shapes, videos_of_row(shapes, device), nothing, nothing, nothing)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("plan", FLEX_PLANS, ids=name)
def test_flex_equals_dense_attention_in_a_row(plan, monkeypatch):
    layer, x = attention(plan), torch.randn(1, 1, 1, sum(map(length_of, FLEX_SHAPES)), 32)
    packing = packing_of(FLEX_SHAPES, CPU)
    dense = layer(x, packing=packing)
    calls = on_flex(monkeypatch)
    torch.testing.assert_close(tried(lambda: layer(x, packing=packing)), dense, rtol=0, atol=1e-5)
    assert len(calls) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compiled FlexAttention needs a GPU")
@pytest.mark.parametrize("plan", FLEX_PLANS, ids=name)
def test_on_a_gpu_compiled_flex_equals_dense_attention_with_its_gradients(plan):
    layer, x = attention(plan), torch.randn(1, 1, 1, sum(map(length_of, FLEX_SHAPES)), 32)
    found = {}
    for device in (CPU, torch.device("cuda")):
        layer, row = layer.to(device), x.to(device).detach().requires_grad_()
        output = layer(row, packing=packing_of(FLEX_SHAPES, device))
        output.square().sum().backward()
        found[device.type] = output.detach().cpu(), row.grad.cpu()
    for mine, theirs in zip(found["cuda"], found["cpu"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-3)


def test_flex_is_left_alone_where_it_does_not_help(monkeypatch):
    calls = on_flex(monkeypatch)
    video = torch.randn(1, 4, 4, 4, 32)
    for plan in (SPATIAL, TEMPORAL, plan_named("causal temporal"), FULL, WINDOW):
        attention(plan)(video)
    attention(CAUSAL)(video, independent=torch.tensor([[False, False, True, True]]))
    attention(CAUSAL).double()(video.double())
    Attention(24, 12, CAUSAL)(video[..., :24])
    assert not calls


@pytest.mark.parametrize("plan", [*FLEX_PLANS, SPATIAL, TEMPORAL], ids=name)
def test_blocks_that_are_left_out_hold_no_pair_and_those_taken_whole_hold_all(plan):
    layout = flex.row_layout(plan, FLEX_SHAPES, CPU)
    positions, blocks = len(layout.order), len(layout.order) // 128
    made = create_block_mask(layout.mask.mask_mod, None, None, positions, positions, device="cpu")
    index = torch.arange(positions)
    dense = layout.mask.mask_mod(0, 0, index[:, None], index[None])
    assert torch.equal(layout.mask.to_dense().bool(), made.to_dense().bool()), (
        "those that torch finds by trying all pairs"
    )
    whole = torch.zeros(blocks, blocks, dtype=torch.bool)
    for query in range(blocks):
        whole[
            query, layout.mask.full_kv_indices[0, 0, query, : int(layout.mask.full_kv_num_blocks[0, 0, query])].long()
        ] = True
    pairs = dense.view(blocks, 128, blocks, 128)
    assert torch.equal(whole, pairs.all(3).all(1))


@pytest.mark.parametrize("plan", FLEX_PLANS, ids=name)
def test_a_row_by_groups_holds_every_position_once(plan):
    row = row_of(plan, FLEX_SHAPES, CPU)
    length = sum(map(length_of, FLEX_SHAPES))
    assert torch.equal(row.order.sort().values, torch.arange(length))
    assert (row.group.diff() >= 0).all()
    video = videos_of_row(FLEX_SHAPES, CPU)[row.order]
    assert all(len(video[row.group == group].unique()) == 1 for group in row.group.unique())
    if plan.reach == "full":
        assert torch.equal(row.group, video)
