"""Attention under every plan against its definition, position by position, and what plans must not mix."""

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.models.layers.attention import Attention, CrossAttention
from clipmill.models.layers.embeddings import rotary_channels, rotary_table, rotate
from clipmill.models.layers.plan import (
    CAUSAL,
    DIAGONAL,
    FIRST_AND_PREVIOUS,
    FIRST_FRAME,
    FULL,
    SPATIAL,
    TEMPORAL,
    TEMPORAL_CAUSAL,
    AttentionPlan,
    join,
    partition,
    query_key_pairs,
)

torch.set_num_threads(1)
GRID = (4, 3, 5)
DIM, HEAD_DIM = 12, 4
WINDOW = AttentionPlan("window", window=(2, 2, 2))
CAUSAL_WINDOW = AttentionPlan("window", causal=True, window=(3, 2, 0))
KEY_FRAMES = AttentionPlan("frames", key_frames=(0, -1))
PLANS = [
    SPATIAL,
    TEMPORAL,
    TEMPORAL_CAUSAL,
    FULL,
    CAUSAL,
    WINDOW,
    CAUSAL_WINDOW,
    FIRST_FRAME,
    KEY_FRAMES,
    FIRST_AND_PREVIOUS,
    DIAGONAL,
]
LINKABLE = [TEMPORAL, TEMPORAL_CAUSAL, FULL, CAUSAL, WINDOW, CAUSAL_WINDOW]


def name(plan):
    return (
        f"{plan.reach}{'-causal' * plan.causal}{plan.window if plan.reach == 'window' else ''}{plan.key_frames or ''}"
    )


def layer(plan, **options):
    torch.manual_seed(1)
    return Attention(DIM, HEAD_DIM, plan, **options).double()


def video(seed=0, batch=2, grid=GRID):
    return torch.randn(batch, *grid, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sees(plan, query, key, frames):
    """The definition: query and key are (frame, row, column)."""
    (t, *pixel), (t_key, *pixel_key) = query, key
    cells = [side or 10**9 for side in plan.window]
    same_cell = all(a // cell == b // cell for a, b, cell in zip(query, key, cells, strict=True))
    found = {
        "spatial": t == t_key,
        "temporal": pixel == pixel_key,
        "full": True,
        "window": same_cell,
        "frames": t_key in [frame % frames for frame in plan.key_frames],
        "previous": t_key in (0, max(t - 1, 0)),
        "diagonal": query == key,
    }[plan.reach]
    return found and (t_key <= t or not plan.causal)


def by_definition(attention, x, alone=None):
    """Dense softmax over all positions of all frames, one head after the other."""
    frames = x.shape[1]
    positions = [(t, row, column) for t in range(frames) for row in range(x.shape[2]) for column in range(x.shape[3])]
    mask = torch.tensor(
        [[sees(attention.plan, query, key, frames) for key in positions] for query in positions]
    ).expand(len(x), -1, -1)
    if alone is not None:
        frame = torch.tensor([t for t, _, _ in positions])
        single = alone[:, frame]
        mask = mask & ((frame[:, None] == frame) | ~(single[:, :, None] | single[:, None]))
    query, key, value = attention.query_key_value(x.flatten(1, 3)).chunk(3, dim=-1)
    heads = []
    for q, k, v in zip(*(part.split(HEAD_DIM, dim=-1) for part in (query, key, value)), strict=True):
        scores = attention.query_norm(q) @ attention.key_norm(k).transpose(1, 2) / HEAD_DIM**0.5
        heads.append(scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v)
    return attention.output(torch.cat(heads, dim=-1)).view(x.shape)


@pytest.mark.parametrize("plan", PLANS, ids=name)
@pytest.mark.parametrize("qk_norm", [False, True])
def test_every_plan_is_its_definition(plan, qk_norm):
    attention, x = layer(plan, qk_norm=qk_norm), video()
    torch.testing.assert_close(attention(x), by_definition(attention, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("plan", LINKABLE, ids=name)
def test_independent_frames_see_only_themselves_and_nobody_sees_them(plan):
    attention, x = layer(plan), video()
    alone = torch.tensor([[False, True, False, True], [False, False, False, False]])
    torch.testing.assert_close(attention(x, independent=alone), by_definition(attention, x, alone), rtol=0, atol=1e-12)


def test_all_frames_independent_is_attention_over_the_diagonal():
    diagonal, temporal = layer(DIAGONAL), layer(TEMPORAL)
    x = video()
    torch.testing.assert_close(
        diagonal(x), temporal(x, independent=torch.ones(2, 4, dtype=torch.bool)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("window", [GRID, (0, 0, 0), (9, 9, 9)])
def test_a_window_that_covers_everything_is_full_attention(window):
    x = video()
    torch.testing.assert_close(layer(AttentionPlan("window", window=window))(x), layer(FULL)(x), rtol=0, atol=1e-13)


def test_windows_of_a_whole_frame_and_of_a_single_pixel_are_spatial_and_temporal():
    x = video()
    torch.testing.assert_close(
        layer(AttentionPlan("window", window=(1, 0, 0)))(x), layer(SPATIAL)(x), rtol=0, atol=1e-13
    )
    torch.testing.assert_close(
        layer(AttentionPlan("window", window=(0, 1, 1)))(x), layer(TEMPORAL)(x), rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("plan", [FIRST_FRAME, FIRST_AND_PREVIOUS], ids=name)
def test_attention_to_other_frames_of_a_still_clip_is_spatial(plan):
    still = video()[:, :1].expand(-1, 4, -1, -1, -1)
    torch.testing.assert_close(layer(plan)(still), layer(SPATIAL)(still), rtol=0, atol=1e-13)


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_a_change_of_one_value_reaches_exactly_what_the_plan_says(plan):
    attention, x = layer(plan), video()
    changed = x.clone()
    changed[0, 2, 1, 3] += 1
    reached = (attention(x) != attention(changed)).any(-1)
    grid = [(t, row, column) for t in range(4) for row in range(3) for column in range(5)]
    # A query that does not see the position is bit by bit the same; one whose own value changed may differ through its
    # query.
    expected = torch.tensor([query == (2, 1, 3) or sees(plan, query, (2, 1, 3), 4) for query in grid]).view(GRID)
    assert not reached[1].any()
    assert not reached[0][~expected].any()
    assert reached[0][expected].float().mean() > 0.9


def test_without_positions_attention_along_time_commutes_with_any_order_of_frames():
    x, order = video(), torch.tensor([2, 0, 3, 1])
    attention = layer(TEMPORAL)
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order], rtol=0, atol=1e-13)
    turned = rotary_table((4, 1, 1), (HEAD_DIM, 0, 0), x.device)
    assert (attention(x[:, order], turned) - attention(x, turned)[:, order]).abs().max() > 1e-3


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_partition_and_join_are_inverse(plan):
    x = video()
    assert torch.equal(join(partition(x, plan), plan, GRID), x)


@pytest.mark.parametrize("plan", [plan for plan in PLANS if not plan.window[0]], ids=name)
def test_pairs_are_those_that_are_computed(plan):
    positions = 4 * 3 * 5
    per_query = {
        "spatial": 15,
        "temporal": 4,
        "full": 60,
        "previous": 30,
        "diagonal": 0,
        "frames": 15 * len(plan.key_frames),
    }
    assert query_key_pairs(plan, GRID) == positions * per_query[plan.reach]


def test_pairs_of_windows_count_what_fills_them_up():
    assert query_key_pairs(WINDOW, GRID) == (4 * 4 * 6) * 8


def test_masked_positions_are_as_if_they_were_not_there():
    attention, x = layer(FULL), video(grid=(1, 1, 7))
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    found = attention(x, key_mask=mask)
    torch.testing.assert_close(found[1, ..., :4, :], attention(x[1:, ..., :4, :])[0], rtol=0, atol=1e-13)


def test_what_a_plan_has_no_place_for_is_refused():
    with pytest.raises(UserError, match="cannot be causal"):
        AttentionPlan("spatial", causal=True)
    with pytest.raises(UserError, match="key frames"):
        AttentionPlan("frames")
    with pytest.raises(UserError, match="no meaning"):
        layer(FIRST_FRAME)(video(), independent=torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(UserError, match="masked positions"):
        layer(SPATIAL)(video(), key_mask=torch.ones(2, 60, dtype=torch.bool))
    with pytest.raises(UserError, match="heads of 5"):
        Attention(12, 5, SPATIAL)


# Positions


def test_rotary_scores_depend_on_offsets_only():
    channels = rotary_channels(16)
    assert sum(channels) == 16
    assert all(count % 2 == 0 and count > 0 for count in channels)
    table = rotary_table((5, 4, 6), channels, torch.device("cpu")).double()
    query, key = (torch.randn(16, dtype=torch.float64).expand(5, 4, 6, 1, 16).flatten(1, 2)[None] for _ in range(2))
    turns = table.flatten(1, 2)[None]
    # rotate works in float32.
    query, key = (rotate(part, turns).view(5, 4, 6, 16) for part in (query, key))
    score = (query[4, 3, 5] * key[2, 2, 1]).sum()
    torch.testing.assert_close(score, (query[2, 1, 4] * key[0, 0, 0]).sum(), rtol=0, atol=1e-5)
    for other in ((2, 2, 5), (4, 0, 5), (4, 3, 1)):
        assert (score - (query[other] * key[2, 2, 1]).sum()).abs() > 1e-3
    torch.testing.assert_close(query.norm(dim=-1), query[0, 0, 0].norm().expand(5, 4, 6), rtol=1e-5, atol=0)


@pytest.mark.parametrize("plan", [SPATIAL, FULL, WINDOW, FIRST_FRAME], ids=name)
def test_rotation_goes_with_the_positions_of_the_plan(plan):
    """Turning before the cut into groups, on the whole grid, is the same."""
    attention, x = layer(plan), video()
    table = rotary_table(GRID, (0, 2, 2), x.device)
    found = attention(x, table)
    mirrored = attention(x.flip(2, 3), table).flip(2, 3)
    assert (found - attention(x)).abs().max() > 1e-3
    if plan.reach == "window":
        return
    # With angles of opposite sign the mirrored picture gives the mirrored output.
    opposite = table.clone()
    opposite[..., 1, :] *= -1
    torch.testing.assert_close(attention(x.flip(2, 3), opposite).flip(2, 3), found, rtol=0, atol=1e-5)
    assert (mirrored - found).abs().max() > 1e-4


# Tokens


def cross_layer():
    torch.manual_seed(2)
    return CrossAttention(DIM, HEAD_DIM, 6).double()


def test_every_frame_attends_to_the_tokens_of_its_sample_without_padding():
    cross, x, tokens = cross_layer(), video(), torch.randn(2, 5, 6, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    found = cross(x, tokens, mask)
    torch.testing.assert_close(found[1], cross(x[1:], tokens[1:, :2])[0], rtol=0, atol=1e-13)
    torch.testing.assert_close(found[0, 2], cross(x[:1, 2:3], tokens[:1])[0, 0], rtol=0, atol=1e-13)
    query = cross.query(x[0, 1, 2, 3]).view(3, HEAD_DIM)
    key, value = (part.view(5, 3, HEAD_DIM) for part in cross.key_value(tokens[0]).chunk(2, dim=-1))
    weights = (torch.einsum("hd,nhd->hn", query, key) / HEAD_DIM**0.5).softmax(-1)
    expected = cross.output(torch.einsum("hn,nhd->hd", weights, value).flatten())
    torch.testing.assert_close(found[0, 1, 2, 3], expected, rtol=0, atol=1e-12)


def test_a_sample_without_tokens_gets_finite_numbers_and_gradients():
    cross, x = cross_layer(), video().requires_grad_()
    found = cross(x, torch.randn(2, 5, 6, dtype=torch.float64), torch.zeros(2, 5, dtype=torch.bool))
    found.square().sum().backward()
    torch.testing.assert_close(found, cross.output.bias.expand_as(found), rtol=0, atol=1e-13)
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in cross.parameters())
