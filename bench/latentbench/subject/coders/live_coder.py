"""A coder that is an object in Python: functions, or methods of a `torch.nn.Module`, without a file.

    coder = lb.LiveCoder("mine", "layers.9", sae.encode, sae.decode, d_in=576)
    lb.build_suite(recipe, folder, coders=coder)      # whose recipe may name it: {name: mine, format: live}

A suite is a frozen thing, and an object may do anything, so three things are asked of it. It is tried on random rows: the
latents of a row depend on that row alone, are the same each time, finite and not negative. It has an identity: the bytes of
its parameters and buffers, its plain attributes and the source of its classes, or a version that its maker states and
answers for. And its result is kept sparse: the dense latents exist for one chunk of rows.

What offers a coder is one process. A recipe that names it cannot be built, verified or steered in another one, and the
message says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latentbench.kernel.errors import CoderError, SpecError
from latentbench.kernel.identity import digest
from latentbench.models.language_model import Loaded
from latentbench.models.module_identity import module_identity, tensor_digest
from latentbench.subject.coders.provenance import NOTHING, Provenance
from latentbench.subject.coders.sparse import Kind, SparseLatents, above, chunks, gathered
from latentbench.subject.hooks import site

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

ROWS = 6
"""Random rows of each size that a coder is tried on."""
SIZES = (0.1, 1.0, 10.0)
CLOSE = 1e-3
"""Difference allowed between a row alone and in a batch, as a share of the largest latent: products are summed in another
order."""
Function = Callable[..., Tensor]


class LiveCoder:
    """Functions as a coder.

    Args:
        name: stands in the ids of its latents.
        hookpoint: where it reads, as in `latentbench.subject.hooks`.
        encode: [n, d_in] float32 -> dense latents [n, n_latents], none negative; a function, or a method of a module.
        decode: dense latents [n, n_latents] -> [n, d_model], or with `decode_takes_input` also the input [n, d_in].
        d_in: width of the input.
        kind: `sae` where it reconstructs its input, `transcoder` where it reconstructs something else.
        directions: [n_latents, d_model], decoder rows; by default what `decode` makes of one latent of size 1, which needs a
            `decode` that is linear but for a constant.
        version: states its identity, together with the name, instead of what is in the module.
        evals: recorded quality, as in `SparseCoder`.
        provenance: what is known of its training.
        decode_takes_input: see `decode`.

    Raises:
        CoderError: it does not do what a coder must, or nothing identifies it; the message says which.
    """

    def __init__(
        self,
        name: str,
        hookpoint: str,
        encode: Function,
        decode: Function | None = None,
        *,
        d_in: int,
        kind: Kind = "sae",
        directions: Tensor | None = None,
        version: str | None = None,
        evals: Mapping[str, float] = MappingProxyType({}),
        provenance: Provenance = NOTHING,
        decode_takes_input: bool = False,
    ) -> None:
        self.name, self.hookpoint, self.d_in, self.kind = name, hookpoint, d_in, kind
        self.evals, self.provenance, self.version = evals, provenance, version
        self._encode, self._decode, self._takes_input = encode, decode, decode_takes_input
        self._directions = None if directions is None else directions.detach().float()
        if decode is None and directions is None:
            raise CoderError(
                f"coder {name!r}: give `decode` or `directions`; a suite keeps the direction of each latent."
            )
        self.n_latents = self._tried_encode()
        self.d_model = self._tried_decode()
        if self._directions is not None and self._directions.shape != (self.n_latents, self.d_model):
            raise CoderError(
                f"coder {name!r}: directions have the shape {tuple(self._directions.shape)}, expected "
                f"{(self.n_latents, self.d_model)}."
            )
        _ = self.key

    @property
    def key(self) -> str:
        """Content hash, computed anew each time: a module that was trained on is another coder.

        Raises:
            CoderError: nothing identifies it.
        """
        place = [self.hookpoint, self.kind, self.n_latents, self.d_model]
        if self.version is not None:
            return digest(["live", "stated", self.name, self.version, *place])
        functions = [f for f in (self._encode, self._decode) if f is not None]
        owners = [_owner(f) for f in functions]
        modules = list({id(m): m for m in owners if m is not None}.values())
        if len([m for m in owners if m is not None]) < len(functions):
            raise CoderError(
                f"coder {self.name!r}: a plain function has no parameters to be known by. Give methods of a torch.nn.Module, or "
                "state a `version`, which you change whenever the function computes something else."
            )
        called = [getattr(f, "__name__", "forward") for f in functions]
        given = [] if self._directions is None else [tensor_digest(self._directions)]
        return digest(["live", place, called, [_identity(m, self.name) for m in modules], given])

    @torch.inference_mode()
    def encode(self, acts: Tensor) -> SparseLatents:
        """Active latents of activations [n, d_in].

        Raises:
            CoderError: a latent that is negative, infinite or not a number.
        """
        parts = []
        for part in chunks(len(acts), self.n_latents):
            dense = self._dense(acts[part].float())
            parts.append(above(dense, 0.0, part.start))
        return gathered(parts, len(acts), acts.device)

    @torch.inference_mode()
    def decode(self, found: SparseLatents, acts: Tensor | None = None) -> Tensor:
        """Reconstruction [n_rows, d_model], float32.

        Raises:
            CoderError: it has no `decode`.
            ValueError: `acts` is needed and missing, or `found` does not know its number of rows.
        """
        if self._decode is None:
            raise CoderError(f"coder {self.name!r} was given no `decode`; it cannot reconstruct.")
        if found.n_rows is None:
            raise ValueError("these latents do not say how many rows were encoded; decode what `encode` returned.")
        if self._takes_input and acts is None:
            raise ValueError(f"coder {self.name!r} reconstructs from its input, too: decode needs the activations.")
        out = []
        for part in chunks(found.n_rows, self.n_latents):
            here = (found.rows >= part.start) & (found.rows < part.stop)
            dense = torch.zeros(part.stop - part.start, self.n_latents, device=found.values.device)
            dense[found.rows[here] - part.start, found.latents[here]] = found.values[here].float()
            out.append(self._decoded(dense, None if acts is None else acts[part].float()))
        if not out:
            return torch.zeros(0, self.d_model, device=found.values.device)
        return torch.cat(out)

    @torch.inference_mode()
    def direction(self, latents: Tensor) -> Tensor:
        """Decoder rows [m, d_model]."""
        if self._directions is not None:
            return self._directions[latents.to(self._directions.device).long()]
        rows = []
        zero = self._decoded(torch.zeros(1, self.n_latents), None)
        for part in chunks(len(latents), self.n_latents):
            chosen = latents[part].long().cpu()
            one = torch.zeros(len(chosen), self.n_latents)
            one[torch.arange(len(chosen)), chosen] = 1
            rows.append(self._decoded(one, None) - zero)
        return torch.cat(rows)

    def _device(self, fallback: torch.device) -> torch.device:
        owner = _owner(self._encode)
        first = None if owner is None else next((t for t in (*owner.parameters(), *owner.buffers())), None)
        return fallback if first is None else first.device

    def _dense(self, x: Tensor) -> Tensor:
        """Dense latents of rows, checked, on the device of the rows."""
        out = self._encode(x.to(self._device(x.device)))
        if not isinstance(out, Tensor):
            raise CoderError(
                f"coder {self.name!r}: encode gives {type(out).__name__}, expected a tensor [n, n_latents]."
            )
        out = out.to_dense() if out.is_sparse else out
        if out.ndim != 2 or len(out) != len(x):
            raise CoderError(
                f"coder {self.name!r}: encode gives the shape {tuple(out.shape)} for {len(x)} rows, expected "
                f"({len(x)}, n_latents)."
            )
        out = out.detach().float().to(x.device)
        if not bool(out.isfinite().all()):
            raise CoderError(f"coder {self.name!r}: encode gives values that are infinite or not a number.")
        if bool((out < 0).any()):
            raise CoderError(
                f"coder {self.name!r}: encode gives {float(out.min()):.3g}, and a latent here is active above 0 or silent. "
                "Make two latents of one with a sign."
            )
        return out

    def _decoded(self, dense: Tensor, acts: Tensor | None) -> Tensor:
        assert self._decode is not None
        device = self._device(dense.device)
        given = [dense.to(device)] + ([acts.to(device)] if self._takes_input and acts is not None else [])
        return self._decode(*given).detach().float().to(dense.device)

    def _probe(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.cat([size * torch.randn(ROWS, self.d_in, generator=generator) for size in SIZES])

    @torch.inference_mode()
    def _tried_encode(self) -> int:
        """Width of the latents, after a trial on random rows."""
        rows = self._probe()
        given = rows.clone()
        together = self._dense(given)
        if not torch.equal(given, rows):
            raise CoderError(f"coder {self.name!r}: encode changes its input in place; let it work on a copy.")
        if not torch.equal(together, self._dense(rows.clone())):
            raise CoderError(
                f"coder {self.name!r}: encode gives other latents the second time. Call `.eval()` on its module, and draw "
                "nothing."
            )
        alone = torch.cat([self._dense(row[None].clone()) for row in rows])
        backwards = self._dense(rows.flip(0)).flip(0)
        most = max(float(together.abs().max()), 1e-12)
        for other in (alone, backwards):
            if other.shape != together.shape or float((other - together).abs().max()) > CLOSE * most:
                raise CoderError(
                    f"coder {self.name!r}: the latents of a row depend on the rows beside it (a BatchTopK of training does that; "
                    "at inference it is a threshold). Then no window of a suite could be checked."
                )
        return int(together.shape[1])

    @torch.inference_mode()
    def _tried_decode(self) -> int:
        """Width of the decoder rows, after a trial of `decode`."""
        if self._decode is None:
            assert self._directions is not None
            return int(self._directions.shape[-1])
        rows = self._probe()
        dense = self._dense(rows.clone())
        out = self._decoded(dense, rows)
        if out.ndim != 2 or len(out) != len(rows) or not bool(out.isfinite().all()):
            raise CoderError(
                f"coder {self.name!r}: decode gives the shape {tuple(out.shape)} for {len(rows)} rows, or values that are not "
                "finite; expected finite ones of the shape (n, d_model)."
            )
        if self._directions is None:
            if self._takes_input:
                raise CoderError(f"coder {self.name!r}: a decode that takes the input needs `directions`, too.")
            zero = self._decoded(torch.zeros_like(dense), None)
            gap = self._decoded(dense + dense.flip(0), None) - (out + out.flip(0) - zero)
            if float(gap.abs().max()) > CLOSE * max(float(out.abs().max()), 1e-12):
                raise CoderError(
                    f"coder {self.name!r}: decode is not linear, so a latent has no direction; give `directions`."
                )
        return int(out.shape[1])


_OFFERED: dict[str, LiveCoder] = {}


def offer(*coders: LiveCoder) -> None:
    """Let recipes of this process name coders with `format: live`; one of the same name is replaced."""
    _OFFERED.update({coder.name: coder for coder in coders})


def load(spec: CoderSpec, loaded: Loaded) -> LiveCoder:
    """The coder that was offered under the spec's name.

    Raises:
        CoderError: none was, it reads elsewhere than the spec says, or an unknown hookpoint.
    """
    coder = _OFFERED.get(spec.name)
    if coder is None:
        known = ", ".join(sorted(_OFFERED)) or "none"
        raise CoderError(
            f"coder {spec.name!r} of format live is an object in Python, and none of this name was offered in this process "
            f"(offered: {known}). Give it to `latentbench.build_suite` as `coders`, or `offer` it "
            "(latentbench.subject.coders.live_coder), or save the coder in a format that has files."
        )
    if spec.hookpoint is not None and site(loaded, spec.hookpoint).name != site(loaded, coder.hookpoint).name:
        raise CoderError(
            f"coder {spec.name!r} reads {coder.hookpoint}, and the recipe says {spec.hookpoint}; leave it out there."
        )
    return coder


def _owner(function: Function) -> nn.Module | None:
    if isinstance(function, nn.Module):
        return function
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def _identity(module: nn.Module, coder: str) -> list[object]:
    try:
        return module_identity(module)
    except SpecError as e:
        raise CoderError(f"coder {coder!r}: {e} Or state a `version`.") from e
