"""GRPO's groups share their prompt: it is computed once and not once per completion.

On a CPU this is most of a step, for prompts are several times as long as the programs that answer
them. Numbers are those of the plain computation up to rounding, gradients too.
"""

import functools
from typing import Any

import torch
from transformers import DynamicCache


def prompt_cache(network: Any, ids: torch.Tensor, mask: torch.Tensor) -> DynamicCache:
    """Keys and values of all but the last token of each prompt, equal prompts computed once.

    Args:
        network: without its language-model head.
        ids: [rows, width], padded on the left.
        mask: [rows, width], 0 where padded.
    """
    pairs, inverse = torch.unique(torch.stack([ids, mask], -1), dim=0, return_inverse=True)
    own_ids, own_mask = pairs[:, :-1].unbind(-1)
    cache = DynamicCache(config=network.config)
    network(
        input_ids=own_ids,
        attention_mask=own_mask,
        position_ids=positions(own_mask),
        past_key_values=cache,
        use_cache=True,
    )
    cache.batch_select_indices(inverse)
    return cache


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Places of tokens, padding on the left not counted; the mask goes on to the right."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def share_prefill(model: Any) -> None:
    """Makes `model.generate` compute equal prompts of a batch once."""
    generate = model.generate

    @functools.wraps(generate)
    def shared(*args: Any, **kwargs: Any) -> Any:
        ids: Any = kwargs.get("input_ids")
        mask: Any = kwargs.get("attention_mask")
        plain = not args and ids is not None and mask is not None
        if plain and ids.shape[1] > 1 and "past_key_values" not in kwargs:
            with torch.no_grad():
                kwargs["past_key_values"] = prompt_cache(model.base_model, ids, mask)
        return generate(*args, **kwargs)

    model.generate = shared


class SharedPrompts:
    """Mixed into `trl.GRPOTrainer`; where the plain way is needed it is taken."""

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **images: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        if not self._may_share(compute_aux_loss, images):
            return super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                compute_aux_loss=compute_aux_loss,
                **images,
            )
        parts = [
            self._scored_rows(model, ids, mask, logits_to_keep)
            for ids, mask in zip(
                input_ids.split(batch_size or len(input_ids)),
                attention_mask.split(batch_size or len(input_ids)),
                strict=True,
            )
        ]
        log_probs, entropy = (torch.cat(part) for part in zip(*parts, strict=True))
        return log_probs, entropy if compute_entropy else None, None

    def _may_share(self, compute_aux_loss: bool, images: dict[str, Any]) -> bool:
        # Checkpointed layers keep no cache, and sharded weights are whole within the model alone.
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled  # type: ignore[attr-defined]
        plain = compute_aux_loss or self.args.gradient_checkpointing  # type: ignore[attr-defined]
        return not (sharded or plain or any(value is not None for value in images.values()))

    def _scored_rows(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, kept: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies [rows, kept]; 0 where padded."""
        width = ids.shape[1] - kept
        # Padding that all rows have is left out, on both sides.
        start = int(mask[:, :width].any(0).int().argmax())
        length = max(1, int(mask[:, width:].any(0).sum()))
        ids, mask = ids[:, start : width + length], mask[:, start : width + length]
        width -= start
        accelerator = self.accelerator  # type: ignore[attr-defined]
        unwrapped = accelerator.unwrap_model(model)
        network = getattr(unwrapped, "get_base_model", lambda: unwrapped)().base_model
        with accelerator.autocast():
            cache = prompt_cache(network, ids[:, :width], mask[:, :width])
            labels = ids.masked_fill(mask == 0, -100)[:, width - 1 :]
            labels[:, 0] = -100
            outputs = model(
                input_ids=ids[:, width - 1 :],
                attention_mask=mask,
                position_ids=positions(mask)[:, width - 1 :],
                past_key_values=cache,
                labels=labels,
                fused_lm_head=True,
            )
        missing = (0, kept - length)
        pad = torch.nn.functional.pad
        return pad(outputs.log_probs, missing), pad(outputs.entropy, missing)
