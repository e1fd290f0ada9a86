"""The reference interaction model: raw sound and raw pixels in, floor, acts, actions, words out.

One network trained from scratch, in two equal forms. `forward` runs a whole conversation at once
and is what training uses; `step` runs one 200 ms micro-turn with explicit state and is what ships.
A test holds the two to each other.

Per micro-turn: a learned filterbank (Gabor start, 100 Hz, log power) over microphone and playback
reference; causal depthwise convolutions at 50 Hz; ten of their vectors fold into one turn vector,
to which the picture, the events and the status are added; a causal transformer over the last 128
turns (25.6 s) weighs it all; small heads read it out. Transcript and phones are read at 50 Hz.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.reference.vocabulary import (
    ACTIONS,
    ACTS,
    DELEGATE,
    EVENTS,
    FLOOR,
    INTENTS,
    PHONES,
    STATUS,
    SYMBOLS,
)

TURN_SAMPLES = 3200
HOP = 160
WINDOW = 400
TAIL = WINDOW - HOP
BLOCK = math.gcd(WINDOW, HOP)
"""Samples of the past that the next turn's first filterbank frame still needs."""
SUBFRAMES = 10
"""50 Hz vectors in a micro-turn."""
INPUT_GAIN = 20.0
"""Brings speech at -24 dBFS RMS near one."""
LOG_FLOOR = 3e-6
"""Below the quietest band of a quiet room: a higher floor hides most bands under it."""
MEAN_DECAY = 0.93
"""Of the running mean per band and turn: about 3 s of memory."""
MEAN_PRIOR = 0.3
VISION = ("present", "facing", "mouth_moving", "waving", "hand_raised")
SPEECH = ("none", "addressed", "bystander")


@dataclass(frozen=True)
class ModelConfig:
    width: int = 256
    layers: int = 6
    heads: int = 4
    window: int = 128
    """Turns that attention reaches back to."""
    local_width: int = 192
    local_layers: int = 4
    local_kernel: int = 9
    local_expansion: int = 2
    """Width inside a layer of the ear, in widths of the ear."""
    bands: int = 80
    frame_px: int = 96
    vision_width: int = 128

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class Outputs(NamedTuple):
    """Logits. Phones, speech, end_of_turn and intent only serve training; B batch, T turns."""

    floor: Tensor
    """(B, T, 5)"""
    act: Tensor
    action: Tensor
    delegate: Tensor
    transcript: Tensor
    """(B, T * 10, 29)"""
    phones: Tensor
    """(B, T * 10, 40)"""
    speech: Tensor
    """(B, T, 3): none, addressed to us, a bystander's."""
    seen: Tensor
    """(B, T, 5)"""
    end_of_turn: Tensor
    """(B, T)"""
    intent: Tensor
    """(B, T, 29): what has just been said."""


def gabor_bank(bands: int, samples: int = WINDOW, rate_hz: int = 16_000) -> Tensor:
    """Cosine and sine filters on mel-spaced centres, float32 (2 * bands, samples)."""
    mel = [2595 * math.log10(1 + hz / 700) for hz in (60.0, 7600.0)]
    centres = 700 * (10 ** (torch.linspace(mel[0], mel[1], bands + 2) / 2595) - 1)
    widths = (centres[2:] - centres[:-2]) / 2
    time = (torch.arange(samples) - samples / 2) / rate_hz
    bank = torch.zeros(2 * bands, samples)
    for band in range(bands):
        half = min(samples / rate_hz, 2.2 / widths[band].item()) / 2
        hann = 0.5 + 0.5 * torch.cos(math.pi * time / half)
        hann = torch.where(time.abs() < half, hann, torch.zeros(()))
        hann = hann / hann.norm()
        phase = 2 * math.pi * centres[band + 1] * time
        bank[2 * band] = hann * torch.cos(phase)
        bank[2 * band + 1] = hann * torch.sin(phase)
    return bank


class Filterbank(nn.Module):
    """Raw samples to standardised log power per band at 100 Hz."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.weight = nn.Parameter(gabor_bank(bands))
        self.gain = nn.Parameter(torch.full((bands,), 0.35))
        self.bias = nn.Parameter(torch.full((bands,), 2.5))

    def forward(self, audio: Tensor) -> Tensor:
        """(B, C, 240 + n * 160) -> (B, C, n, bands)."""
        batch, channels, _ = audio.shape
        frames = (audio * INPUT_GAIN).unfold(2, WINDOW, HOP)
        sounds = _sounding(audio)
        silent = math.log(LOG_FLOOR) * self.gain + self.bias
        found = []
        for channel in range(channels):
            some = sounds[:, channel]
            if some.all():
                found.append(self._log_power(frames[:, channel] @ self.weight.t()))
            else:  # what the loudspeaker played is zeros most of the time
                whole = silent.expand(batch, some.shape[1], -1).clone()
                whole[some] = self._log_power(frames[:, channel][some] @ self.weight.t())
                found.append(whole)
        return torch.stack(found, 1)

    def step(self, audio: Tensor) -> Tensor:
        """The same as one strided convolution, for the exported graph."""
        _, channels, samples = audio.shape
        flat = (audio * INPUT_GAIN).reshape(channels, 1, samples)
        response = F.conv1d(flat, self.weight[:, None], stride=HOP).transpose(1, 2)
        return self._log_power(response[None])

    def _log_power(self, response: Tensor) -> Tensor:
        squared = response * response
        power = squared[..., 0::2] + squared[..., 1::2]
        return torch.log(power + LOG_FLOOR) * self.gain + self.bias


def _sounding(audio: Tensor) -> Tensor:
    """Frames in which not all is zero: (B, C, 240 + n * 160) -> bool (B, C, n)."""
    blocks = audio.detach().abs().unflatten(2, (-1, BLOCK)).amax(-1)
    return F.max_pool1d(blocks, WINDOW // BLOCK, HOP // BLOCK) > 0


class LocalConv(nn.Module):
    """Causal depthwise convolution and a two-layer perceptron, both residual."""

    def __init__(self, width: int, kernel: int, expansion: int = 2) -> None:
        super().__init__()
        self.kernel = kernel
        self.norm = nn.LayerNorm(width)
        self.depthwise = nn.Parameter(torch.randn(kernel, width) * kernel**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.expand = nn.Linear(width, expansion * width)
        self.project = nn.Linear(expansion * width, width)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, n, width), past (B, kernel - 1, width) -> the same, advanced."""
        length = x.shape[1]
        joined = torch.cat([past, self.norm(x)], 1)
        mixed = self._convolve(joined) if self.training else self._shift_and_add(joined, length)
        return x + self.project(F.gelu(self.expand(mixed))), joined[:, length:]

    def _shift_and_add(self, joined: Tensor, length: int) -> Tensor:
        """The fastest for the ten steps of a micro-turn."""
        mixed = self.bias + joined[:, :length] * self.depthwise[0]
        for tap in range(1, self.kernel):
            mixed = mixed + joined[:, tap : tap + length] * self.depthwise[tap]
        return mixed

    def _convolve(self, joined: Tensor) -> Tensor:
        """The same for whole conversations, forth and back in a quarter of the time: channels lie
        last, as the kernels of the CPU like it."""
        weight = self.depthwise.to(joined.dtype).t()[:, None, :, None]
        weight = weight.contiguous(memory_format=torch.channels_last)
        image = joined[:, :, None].permute(0, 3, 1, 2)
        with torch.autocast(joined.device.type, enabled=False):
            mixed = F.conv2d(image, weight, self.bias.to(joined.dtype), groups=weight.shape[0])
        return mixed.permute(0, 2, 3, 1)[:, :, 0]


class Block(nn.Module):
    """Pre-norm transformer block; attention reaches back a fixed window with a learned bias."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window, self.head_width = heads, window, width // heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.expand = nn.Linear(width, 4 * width)
        self.project = nn.Linear(4 * width, width)
        self.distance_bias = nn.Parameter(torch.zeros(heads, window))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, self.head_width)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _join(self, x: Tensor, attended: Tensor) -> Tensor:
        batch, length, width = x.shape
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.project(F.gelu(self.expand(self.norm2(x))))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self._split(x)
        index = torch.arange(x.shape[1], device=x.device)
        distance = index[:, None] - index[None]
        visible = (distance >= 0) & (distance < self.window)
        bias = self.distance_bias[:, distance.clamp(0, self.window - 1)]
        bias = bias.masked_fill(~visible, -1e4).to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        return self._join(x, attended)

    def step(
        self, x: Tensor, keys: Tensor, values: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (1, 1, width), keys and values (1, heads, window - 1, head_width), valid (1, window -
        1)."""
        query, key, value = self._split(x)
        keys, values = torch.cat([keys, key], 2), torch.cat([values, value], 2)
        mask = (torch.cat([valid, torch.ones_like(valid[:, :1])], 1) - 1) * 1e4
        bias = self.distance_bias.flip(1)[None, :, None] + mask[:, None, None]
        scores = query @ keys.transpose(2, 3) * self.head_width**-0.5 + bias
        attended = torch.softmax(scores, -1) @ values
        return self._join(x, attended), keys[:, :, 1:], values[:, :, 1:]


class PictureStem(nn.Module):
    """Raw pixels to one vector: three strided convolutions and a linear layer."""

    def __init__(self, frame_px: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, 24, 4, stride=4),
                nn.Conv2d(24, 48, 3, stride=2, padding=1),
                nn.Conv2d(48, 96, 3, stride=2, padding=1),
            ]
        )
        self.linear = nn.Linear(96 * (frame_px // 16) ** 2, width)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 (n, H, W, 3) -> (n, width)."""
        x = (frames.float() * (4 / 255) - 1.8).permute(0, 3, 1, 2)
        for conv in self.convs:
            x = F.gelu(conv(x))
        return self.linear(x.flatten(1))


class InteractionModel(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or ModelConfig()
        self.filterbank = Filterbank(c.bands)
        self.enter = nn.Linear(2 * 3 * c.bands, c.local_width)
        self.local = nn.ModuleList(
            [
                LocalConv(c.local_width, c.local_kernel, c.local_expansion)
                for _ in range(c.local_layers)
            ]
        )
        self.local_norm = nn.LayerNorm(c.local_width)
        self.fold = nn.Linear(SUBFRAMES * c.local_width, c.width)
        self.picture = PictureStem(c.frame_px, c.vision_width)
        self.see = nn.Linear(3 * c.vision_width, c.width)
        self.context = nn.Linear(len(EVENTS) + len(STATUS) + 1, c.width)
        self.blocks = nn.ModuleList([Block(c.width, c.heads, c.window) for _ in range(c.layers)])
        self.head_norm = nn.LayerNorm(c.width)
        self.head_hidden = nn.Linear(c.width, c.width)
        sizes = (len(FLOOR), len(ACTS), len(ACTIONS), len(DELEGATE), len(SPEECH), 1)
        self.head_sizes = sizes
        self.head = nn.Linear(c.width, sum(sizes))
        self.intent_head = nn.Linear(c.width, len(INTENTS))
        self.vision_head = nn.Linear(3 * c.vision_width, len(VISION))
        self.phone_head = nn.Linear(c.local_width, len(PHONES))
        self.unfold = nn.Linear(c.width, SUBFRAMES * 64)
        self.text_hidden = nn.Linear(c.local_width + 64, 256)
        self.text_phones = nn.Linear(len(PHONES), 256)
        self.text_out = nn.Linear(256, len(SYMBOLS))

    # -- shared by both forms -------------------------------------------------

    def _features(self, bands: Tensor, mean: Tensor) -> Tensor:
        """bands (B, 2, T * 20, nb), mean (B, T, nb) of the microphone's past -> (B, T * 10, 6
        nb)."""
        batch, _, frames, nb = bands.shape
        mic, played = bands[:, 0], bands[:, 1]
        centred = mic.reshape(batch, -1, 20, nb) - mean[:, :, None]
        joined = torch.cat([mic, centred.reshape(batch, frames, nb), played], -1)
        return joined.reshape(batch, frames // 2, 6 * nb)

    def _turn_vector(
        self, local: Tensor, seen: Tensor, before: Tensor, valid: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor]:
        """local (B, T * 10, lw), pictures (B, T, vw), valid (B, T, 1) -> turn vectors, vision."""
        batch = local.shape[0]
        pair = torch.cat([seen, before, seen - before], -1)
        turn = self.fold(local.reshape(batch, -1, SUBFRAMES * local.shape[2]))
        turn = turn + self.see(pair) + self.context(torch.cat([context, valid], -1))
        return turn, self.vision_head(pair)

    def _read(self, turn: Tensor, local: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Turn vectors (B, T, w) and local vectors (B, T * 10, lw) -> what the heads
        read, the heads, transcript, phones."""
        read = F.gelu(self.head_hidden(self.head_norm(turn)))
        heads = self.head(read)
        phones = self.phone_head(local)
        detail = self.unfold(turn).reshape(turn.shape[0], -1, 64)
        hidden = self.text_hidden(torch.cat([local, detail], -1))
        hidden = hidden + self.text_phones(torch.softmax(phones, -1))
        return read, heads, self.text_out(F.gelu(hidden)), phones

    # -- a whole conversation -------------------------------------------------

    def forward(
        self,
        audio: Tensor,
        pictures: Tensor,
        picture_of: Tensor,
        frame_valid: Tensor,
        events: Tensor,
        status: Tensor,
    ) -> Outputs:
        """A conversation of T turns.

        audio float32 (B, 2, T * 3200) in -1..1; pictures uint8 (U, H, W, 3) and picture_of int64
        (B, T), the index of the one that is seen in each turn; frame_valid float32 (B, T, 1);
        events (B, T, 8); status (B, T, 5).
        """
        batch, turns = picture_of.shape
        with torch.autocast(audio.device.type, enabled=False):
            bands = self.filterbank(F.pad(audio.float(), (TAIL, 0)))
            mean = self._past_mean(bands[:, 0].reshape(batch, turns, 20, -1).mean(2))
        x = self.enter(self._features(bands, mean))
        for layer in self.local:
            x, _ = layer(x, x.new_zeros(batch, layer.kernel - 1, x.shape[2]))
        local = self.local_norm(x)
        seen = self.picture(pictures)[picture_of] * frame_valid
        before = F.pad(seen, (0, 0, 1, 0))[:, :-1]
        context = torch.cat([events, status], -1)
        turn, vision = self._turn_vector(local, seen, before, frame_valid, context)
        for block in self.blocks:
            turn = block(turn)
        read, heads, transcript, phones = self._read(turn, local)
        floor, act, action, delegate, speech, end = heads.split(self.head_sizes, -1)
        return Outputs(
            floor,
            act,
            action,
            delegate,
            transcript,
            phones,
            speech,
            seen=vision,
            end_of_turn=end[..., 0],
            intent=self.intent_head(read),
        )

    def _past_mean(self, turn_mean: Tensor) -> Tensor:
        """Decayed mean over the turns before each; (B, T, nb) -> (B, T, nb)."""
        index = torch.arange(turn_mean.shape[1], device=turn_mean.device)
        age = index[:, None] - 1 - index[None]
        weight = torch.where(
            age >= 0, MEAN_DECAY ** age.clamp(0).float(), torch.zeros((), device=age.device)
        )
        weight = weight / (weight.sum(1, keepdim=True) + MEAN_PRIOR)
        return weight @ turn_mean

    # -- one micro-turn -------------------------------------------------------

    def initial_state(self) -> dict[str, Tensor]:
        """All zeros, batch 1, by the names the exported graph uses."""
        c = self.config
        state = {"audio": torch.zeros(1, 2, TAIL), "mean": torch.zeros(1, 1, c.bands)}
        state["mean_weight"] = torch.zeros(1, 1, 1)
        for index in range(c.local_layers):
            state[f"local{index}"] = torch.zeros(1, c.local_kernel - 1, c.local_width)
        state["picture"] = torch.zeros(1, 1, c.vision_width)
        cache = (c.layers, 1, c.heads, c.window - 1, c.width // c.heads)
        state["keys"], state["values"] = torch.zeros(cache), torch.zeros(cache)
        state["valid"] = torch.zeros(1, c.window - 1)
        return state

    def step(
        self,
        audio: Tensor,
        frame: Tensor,
        frame_valid: Tensor,
        events: Tensor,
        status: Tensor,
        state: dict[str, Tensor],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One micro-turn: audio (1, 2, 3200), frame uint8 (1, H, W, 3), the others (1, n).

        Returns the outputs by name, and the state for the next turn.
        """
        new: dict[str, Tensor] = {}
        joined = torch.cat([state["audio"], audio], 2)
        new["audio"] = joined[:, :, TURN_SAMPLES:]
        bands = self.filterbank.step(joined)
        mean = state["mean"] / (state["mean_weight"] + MEAN_PRIOR)
        new["mean"] = state["mean"] * MEAN_DECAY + bands[:, 0].mean(1, keepdim=True)
        new["mean_weight"] = state["mean_weight"] * MEAN_DECAY + 1.0
        x = self.enter(self._features(bands, mean))
        for index, layer in enumerate(self.local):
            x, new[f"local{index}"] = layer(x, state[f"local{index}"])
        local = self.local_norm(x)
        valid = frame_valid[:, None]
        seen = self.picture(frame)[:, None] * valid
        new["picture"] = seen
        context = torch.cat([events, status], -1)[:, None]
        turn, vision = self._turn_vector(local, seen, state["picture"], valid, context)
        keys, values = [], []
        for index, block in enumerate(self.blocks):
            turn, key, value = block.step(
                turn, state["keys"][index], state["values"][index], state["valid"]
            )
            keys.append(key)
            values.append(value)
        new["keys"], new["values"] = torch.stack(keys), torch.stack(values)
        new["valid"] = torch.cat([state["valid"][:, 1:], torch.ones_like(state["valid"][:, :1])], 1)
        _, heads, transcript, _ = self._read(turn, local)
        floor, act, action, delegate, _, _ = heads[:, 0].split(self.head_sizes, -1)
        outputs = {"floor": floor, "act": act, "action": action, "delegate": delegate}
        outputs["transcript"], outputs["seen"] = transcript, vision[:, 0]
        return outputs, new
