"""Beam search: the likeliest sequences a network can write, the same at every run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# long [N, L] tokens so far -> float [N, V] logits of the next.
Step = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True)
class Beams:
    """count: sequences kept. longest, shortest: tokens written, without start and end. start, end, pad: tokens; pad is
    never written.

    A sequence's score is the mean log probability of its tokens, the end among them.
    """

    count: int
    longest: int
    shortest: int
    start: int
    end: int
    pad: int

    def best(self, step: Step, batch: int, device: str) -> "tuple[Tensor, list[bool]]":
        """(long [batch, L], start first, padded after the end; whether each came to its end). step sees batch * count
        rows, those of an element side by side.
        """
        import torch

        tokens = torch.full((batch * self.count, 1), self.start, device=device)
        scores = torch.full((batch, self.count), -torch.inf, device=device)
        scores[:, 0] = 0.0  # all beams are the same at the start
        done = torch.zeros(batch, self.count, dtype=torch.bool, device=device)
        for written in range(self.longest + 1):
            if bool(done.all()):
                break
            found = self._continued(step(tokens).float(), scores, done, written)
            values, places = found.flatten(1).topk(self.count)
            beam, token = places // found.shape[2], places % found.shape[2]
            rows = (beam + torch.arange(batch, device=device)[:, None] * self.count).flatten()
            tokens = torch.cat([tokens[rows], token.reshape(-1, 1)], dim=1)
            scores, done = values, done.gather(1, beam) | (token == self.end)
        return self._likeliest(tokens.view(batch, self.count, -1), scores, done)

    def _continued(self, logits: "Tensor", scores: "Tensor", done: "Tensor", written: int) -> "Tensor":
        """float [batch, count, V] scores with each next token; sequences at their end are padded for free."""
        chances = logits.log_softmax(-1).view(*scores.shape, -1).clone()
        chances[..., self.pad] = chances[..., self.start] = -float("inf")
        if written < self.shortest:
            chances[..., self.end] = -float("inf")
        chances[done] = -float("inf")
        chances[..., self.pad] = chances[..., self.pad].masked_fill(done, 0.0)
        return scores[..., None] + chances

    def _likeliest(self, tokens: "Tensor", scores: "Tensor", done: "Tensor") -> "tuple[Tensor, list[bool]]":
        import torch

        lengths = (tokens[:, :, 1:] != self.pad).sum(-1).clamp(min=1)
        best = (scores / lengths).argmax(dim=1)
        rows = torch.arange(len(tokens), device=tokens.device)
        return tokens[rows, best], done[rows, best].tolist()
