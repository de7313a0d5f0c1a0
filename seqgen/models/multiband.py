"""Multi-band recurrent network: one step of a recurrence for the samples of all bands of a filter bank.

Of a waveform cut into M bands (:mod:`seqgen.audio.filter_bank`) the numbers of one place follow each other, ``e_{Mm} …
e_{Mm+M-1}``. One gated recurrence a group, told the L groups before and what was heard one period of the voice ago;
then a head for each band, which is told the lower bands of the same group:

    h_m = GRU(h_{m-1};  c_m + W [e of the groups m-1 … m-L,  e of the lower M/2 bands of the groups m-d+k, |k| ≤ K])
    y_b = relu(O_b h_m + a_b + Σ_{k<b} V_{bk} e_{Mm+k}),         p(e_{Mm+b} | before) by  P_b y_b + q_b

with ``d`` the period in groups that the features tell. A recurrence remembers what was 150 samples ago badly, and it
takes long to learn to; that place is where the same thing happened last.

What is drawn of a distribution is as noisy as the model is ignorant, and what a listener hears of that lies between the
harmonics of a voice. A band b may be drawn colder where the sound is periodic, at ``τ (1 - cold_b · ramp(clarity))``,
the ramp rising from 0.6 to 0.95. The likelihood knows nothing of it.

Source: one recurrence for several bands, Yu et al., arXiv 1909.01700 (DurIAN), section 2.4, and with linear prediction
Tian et al., arXiv 2005.05551 (FeatherWave), section 3; there the bands of a place are independent given the state, here
they are one after the other, so that the likelihood is exact. The look one period back: Valin et al., arXiv 2405.21069
(FARGAN), section III. Colder where there is pitch: Valin & Skoglund, arXiv 1810.11846 (LPCNet), section 3.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.frames import PERIOD
from seqgen.nets.gru import gru_cell, gru_sequence
from seqgen.nets.gru_kernel import Lines
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning, written_out
from seqgen.stream.contract import Streamable
from seqgen.stream.lazy_interpolation import LazyInterpolation

UNCLEAR, CLEAR = 0.6, 0.95
"""Clarity from which on a band is drawn colder, and that from which on it is as cold as it gets."""


class GroupState(NamedTuple):
    """State of a multi-band network, ``phase`` numbers into a group.

    Attributes:
        hidden: h, ``[B, H]``. past: the groups before, oldest first, ``[B, R, M]``. group: the numbers of the group
            that are known, zeros behind them, ``[B, M]``. inner: ``O_b h + a_b`` of the group, ``[B, M · inner]``.
        clarity: ``[B, 1]``, of the group. phase: int64 ``[B]``, the band that is next.
    """

    hidden: Tensor
    past: Tensor
    group: Tensor
    inner: Tensor
    clarity: Tensor
    phase: Tensor


class MultiBand(Streamable[GroupState]):
    """The body of a multi-band vocoder: the number before in, parameters of the next number's distribution out.

    Shapes: ``[B, T, 1]`` of about unit size (the number before each place) and a conditioning vector for each group,
    ``cond [B, ceil(T/M), (2 +) 3·hidden]``, with a look one period back its period and clarity first → ``[B, T,
    outputs]``, and what the temperature is multiplied with where it is ``cold``. Rows of one batch must be in the same
    phase.

    Raises:
        SeqgenError: for sizes that make no network, rows of different phase, or missing conditioning.

    Example:
        >>> body = MultiBand(MultiBand.Config(hidden=16, bands=2, longest=9))
        >>> body(torch.zeros(1, 4, 1), torch.zeros(1, 2, 50)).shape
        torch.Size([1, 4, 9])
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body.

        Attributes:
            hidden: size of the state. bands: M of the filter bank. inner: units of a band's head.
            groups: L, how many groups before it reads as they are.
            taps: K, groups on either side of one period back that it reads of the lower bands; -1: none.
            longest: the longest period in groups: a longer one is taken for this.
            outputs: parameters of the distribution, 3 for each component of a mixture of logistics.
            cold: of each band, by how much colder than asked it is drawn where the sound is periodic, 0 to 1; nothing
                for none.
        """

        hidden: int = 256
        bands: int = 4
        inner: int = 32
        groups: int = 4
        taps: int = 4
        longest: int = 100
        outputs: int = 9
        cold: tuple[float, ...] = ()

    @classmethod
    def examples(cls) -> Iterable[MultiBand]:
        sizes = {"hidden": 6, "bands": 2, "inner": 3, "groups": 2, "longest": 5, "outputs": 3}
        kinds: list[dict[str, Any]] = [{"taps": -1}, {"taps": 1}, {"taps": 1, "cold": (0.5, 0.0)}]
        return [cls(cls.Config(**sizes, **kind)) for kind in kinds]

    def __init__(self, config: Config) -> None:
        super().__init__()
        least = {"hidden": 1, "bands": 2, "inner": 1, "groups": 1, "taps": -1, "longest": config.taps + 1, "outputs": 1}
        for name, value in least.items():
            if getattr(config, name) < value:
                raise SeqgenError(f"multiband: {name} is {getattr(config, name)}", remedy=f"give at least {value}")
        if config.cold and (
            config.taps < 0 or len(config.cold) != config.bands or not all(0 <= one <= 1 for one in config.cold)
        ):
            raise SeqgenError(
                f"multiband: cold is {list(config.cold)} with {config.bands} bands and {config.taps} taps",
                remedy="give a number from 0 to 1 for each band of a network that looks one period back, or none",
            )
        self.config, self.hidden, self.bands = config, config.hidden, config.bands
        self.low = max(1, config.bands // 2)
        looks = config.taps >= 0
        self.spec = StreamSpec(
            in_dim=1,
            out_dim=config.outputs + bool(config.cold),
            cond_dim=3 * config.hidden + PERIOD * looks,
            context=None,
            cond_every=config.bands,
            periodic=looks,
            cools=bool(config.cold),
        )
        self.reach = max(config.groups, config.longest + config.taps if looks else 0)
        width = config.groups * config.bands + (2 * config.taps + 1) * self.low * looks
        self.recurrent = nn.Parameter(torch.empty(3 * config.hidden, config.hidden))
        self.input = nn.Parameter(torch.empty(3 * config.hidden, width))
        self.inner = nn.Linear(config.hidden, config.bands * config.inner)
        self.lower = nn.Parameter(torch.zeros(config.bands, config.bands - 1, config.inner))  # V
        self.out = nn.Parameter(torch.empty(config.bands, config.inner, config.outputs))  # P
        self.bias = nn.Parameter(torch.empty(config.bands, config.outputs))  # q
        nn.init.uniform_(self.recurrent, -1 / math.sqrt(config.hidden), 1 / math.sqrt(config.hidden))
        nn.init.normal_(self.input, std=0.2 / math.sqrt(width))
        nn.init.normal_(self.out, std=0.1)
        # Components of a mixture that begin alike would stay so.
        nn.init.uniform_(self.bias, -0.5, 0.5)
        known = torch.arange(config.bands)[:, None] > torch.arange(config.bands - 1)
        self.register_buffer("known", known[..., None].float(), persistent=False)
        self.register_buffer("cold", torch.tensor(config.cold), persistent=False)

    known: Tensor
    cold: Tensor

    def init_state(self, batch: int, memory: Any = None) -> GroupState:
        config = self.config
        hidden, group = self.zeros(batch, config.hidden), self.zeros(batch, config.bands)
        past, inner = self.zeros(batch, self.reach, config.bands), self.zeros(batch, config.bands * config.inner)
        phase = torch.zeros(batch, dtype=torch.int64, device=hidden.device)
        return GroupState(hidden, past, group, inner, self.zeros(batch, 1), phase)

    def step(self, x: Tensor, state: GroupState, cond: Conditioning | None = None) -> tuple[Tensor, GroupState]:
        if cond is None:
            raise SeqgenError("multiband: got no conditioning", remedy=f"give cond [B, groups, {self.spec.cond_dim}]")
        values, bands, phase = x[..., 0], self.bands, self._phase(state)
        parts, start, used = [self.zeros(x.shape[0], 0, self.spec.out_dim)], 0, 0
        while start < values.shape[1]:
            whole = (values.shape[1] - start) // bands
            if phase == 0 and whole:
                stop = start + whole * bands
                made, state = self._groups(values[:, start:stop], state, cond[:, used : used + whole])
                start, used = stop, used + whole
            else:
                given = cond[:, used : used + 1] if phase == 0 else None
                made, state = self._number(values[:, start], phase, state, given)
                start, used, phase = start + 1, used + (phase == 0), (phase + 1) % bands
            parts.append(made)
        return (parts[1] if len(parts) == 2 else torch.cat(parts, dim=1)), state

    def _phase(self, state: GroupState) -> int:
        phase = int(state.phase[0]) if state.phase.shape[0] else 0
        if not torch.jit.is_tracing() and bool((state.phase != phase).any()):
            raise SeqgenError(
                "multiband: rows of one batch are at different bands of their group", remedy="step rows of one phase"
            )
        return phase

    def _groups(self, values: Tensor, state: GroupState, cond: Conditioning) -> tuple[Tensor, GroupState]:
        """Whole groups at once: their numbers but the last are known, ``[B, n·M]``."""
        n, known = values.shape[1] // self.bands, values.unflatten(1, (-1, self.bands))
        # Of place t a block has the number before it: a group's last one comes with the next group's first place.
        before = torch.cat([state.group[:, None, :-1], known[:, :-1, 1:]], dim=1)  # [B, n, M - 1]
        line = torch.cat([state.past[:, 1:], torch.cat([before, known[..., :1]], dim=2)], dim=1)  # [B, R - 1 + n, M]
        states = self._recurrence(line, n, state.hidden, cond)
        inner = self.inner(states)
        lower = known[..., 1:]  # [B, n, M - 1]
        group = F.pad(lower[:, -1], (0, 1))
        clarity = self._clarity(cond)
        params = self._heads(inner.unflatten(2, (self.bands, -1)), lower, clarity)
        after = GroupState(states[:, -1], line[:, n - 1 :], group, inner[:, -1], clarity[:, -1], state.phase)
        return params.flatten(1, 2), after

    def _number(
        self, value: Tensor, phase: int, state: GroupState, cond: Conditioning | None
    ) -> tuple[Tensor, GroupState]:
        """One place, ``value [B]`` the number before it; at a group's first one the recurrence is run."""
        if phase == 0:
            assert cond is not None
            last = torch.cat([state.group[:, :-1], value[:, None]], dim=1)
            line = torch.cat([state.past[:, 1:], last[:, None]], dim=1)
            hidden = self._recurrence(line, 1, state.hidden, cond)[:, 0]
            clarity = self._clarity(cond)[:, 0]
            state = GroupState(hidden, line, torch.zeros_like(state.group), self.inner(hidden), clarity, state.phase)
        else:
            now = torch.arange(self.bands, device=value.device) == phase - 1
            state = state._replace(group=torch.where(now, value[:, None], state.group))
        inner = state.inner[:, None].unflatten(2, (self.bands, -1))
        params = self._heads(inner, state.group[:, None, :-1], state.clarity[:, None])
        following = state.phase + 1 if phase + 1 < self.bands else state.phase - phase
        return params[:, :, phase], state._replace(phase=following)

    def _recurrence(self, line: Tensor, n: int, hidden: Tensor, cond: Conditioning) -> Tensor:
        """States of n groups, ``line [B, R - 1 + n, M]`` ending with the group before the last one → ``[B, n, H]``."""
        config, reach = self.config, self.reach
        read = [line[:, reach - 1 - back : reach - 1 - back + n] for back in range(config.groups)]
        if self.spec.periodic:
            told, cond = cond.split([PERIOD, self.spec.cond_dim - PERIOD], dim=-1)
            read.append(self._one_period_back(line, n, written_out(told)))
        known, weight = torch.cat(read, dim=2), self.input.t()
        if isinstance(cond, LazyInterpolation):
            gates: Tensor | Lines = Lines(torch.cat([known, cond.columns()], dim=2), weight, cond.line)
        else:
            with torch.autocast(known.device.type, enabled=False):
                gates = torch.baddbmm(cond.to(weight.dtype), known, weight.expand(len(known), -1, -1))
        if n == 1 and isinstance(gates, Tensor):
            return gru_cell(gates[:, 0], F.linear(hidden, self.recurrent), hidden)[:, None]
        return gru_sequence(gates, hidden, self.recurrent)

    def _one_period_back(self, line: Tensor, n: int, period: Tensor) -> Tensor:
        """Lower bands around the place one period before each group, ``[B, n, (2K + 1) · low]``."""
        taps, longest = self.config.taps, self.config.longest
        groups = (torch.exp(period[..., 0].float()) / self.bands + 0.5).floor().clamp(taps + 1, longest).long()
        place = torch.arange(n, device=line.device) + self.reach  # of a group in its line, where it would stand
        around = torch.arange(-taps, taps + 1, device=line.device)
        index = (place - groups)[..., None] + around  # [B, n, 2K + 1]
        lower = line[..., : self.low]
        found = lower.gather(1, index.flatten(1)[..., None].expand(-1, -1, self.low))
        return found.reshape(len(line), -1, len(around) * self.low)

    def _clarity(self, cond: Conditioning) -> Tensor:
        """Clarity of groups, ``[B, n, 1]``; 0 where none is told."""
        if not self.spec.cools:
            return self.zeros(cond.shape[0], cond.shape[1], 1)
        return written_out(cond.split([1, 1, self.spec.cond_dim - PERIOD], dim=-1)[1])

    def _heads(self, inner: Tensor, lower: Tensor, clarity: Tensor) -> Tensor:
        """Parameters of all bands: ``[B, n, M, inner], [B, n, M - 1], [B, n, 1] → [B, n, M, out_dim]``."""
        with torch.autocast(inner.device.type, enabled=False):
            told = torch.einsum("btk,mki->btmi", lower.to(self.lower.dtype), self.lower * self.known)
            rectified = torch.relu(inner.to(told.dtype) + told)
            params = torch.einsum("btmi,mio->btmo", rectified, self.out) + self.bias
            if not self.spec.cools:
                return params
            warmth = 1 - self.cold * ((clarity - UNCLEAR) / (CLEAR - UNCLEAR)).clamp(0, 1)  # [B, n, M]
            return torch.cat([params, warmth[..., None]], dim=-1)
