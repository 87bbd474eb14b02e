"""The ANN teacher: a causal language model of the OPT family (needs the ``train`` extra).

The only module that knows the transformers library; to all others a teacher is a ``torch.nn.Module``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.data import TokenText
from bispik.models.bispikclm.evaluate import bits_per_byte
from bispik.models.errors import BispikError
from bispik.models.files import read_text

# At these sequence lengths the plain attention is faster on a CPU than the fused one (measured: 1.25 x).
_ATTENTION = "eager"


def build_teacher(config: BiSpikCLMConfig, dropout: float) -> nn.Module:
    """Return an untrained OPT of the student's shape."""
    library = _transformers()
    # Byte-level tokenisers without special tokens: no id is padding.
    no_special_tokens = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    opt = library.OPTConfig(
        attn_implementation=_ATTENTION,
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        word_embed_proj_dim=config.hidden_size,
        ffn_dim=config.intermediate_size,
        num_attention_heads=config.num_heads,
        num_hidden_layers=config.num_layers,
        max_position_embeddings=config.max_positions,
        dropout=dropout,
        **no_special_tokens,
    )
    return cast("nn.Module", library.OPTForCausalLM(opt))


def save_teacher(teacher: nn.Module, folder: Path) -> None:
    """Write a teacher with ``save_pretrained``, so that the folder holds either all of it or what was there before.

    Raises:
        BispikError: if it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            cast("Any", teacher).save_pretrained(new)
            if folder.exists():
                folder.rename(old)
            shutil.move(new, folder)
    except Exception as error:  # safetensors reports a full disk with an exception of its own
        raise BispikError(f"{folder}: the teacher cannot be written: {error}") from error


def load_teacher(folder: Path, config: BiSpikCLMConfig) -> nn.Module:
    """Read a teacher from a ``save_pretrained`` folder and check that it speaks the student's tokens.

    Raises:
        BispikError: if the folder is no complete OPT checkpoint, or its shape does not match the student's.
    """
    sheet = folder / "config.json"
    if not sheet.is_file():  # else the library would take the name for one on its hub
        raise BispikError(f"{folder}: no teacher is there; train one with --stage teacher, or set teacher_folder")
    try:
        kind = json.loads(read_text(sheet, "teacher's configuration")).get("model_type")
    except (ValueError, AttributeError, RecursionError) as error:
        raise BispikError(f"{sheet}: not a model's configuration: {error}") from error
    if kind != "opt":
        raise BispikError(f"{folder}: a teacher of type {kind!r}; this version distils from 'opt' only")
    library = _transformers()
    try:
        teacher, loading = library.OPTForCausalLM.from_pretrained(
            folder, attn_implementation=_ATTENTION, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # the library raises nearly anything for a damaged folder
        raise BispikError(f"{folder}: not an OPT checkpoint folder: {error}") from error
    if missing := sorted(loading["missing_keys"]):
        raise BispikError(f"{folder}: the teacher lacks {len(missing)} tensors, the first is {missing[0]}")
    _check_shape(teacher.config, config, folder)
    return cast("nn.Module", teacher)


def _check_shape(found: Any, config: BiSpikCLMConfig, folder: Path) -> None:
    if found.vocab_size != config.vocab_size:
        raise BispikError(f"{folder}: teacher has {found.vocab_size} tokens, the student {config.vocab_size}")
    if found.max_position_embeddings < config.max_positions:
        raise BispikError(
            f"{folder}: teacher has {found.max_position_embeddings} positions, the student {config.max_positions}"
        )
    if found.word_embed_proj_dim != config.hidden_size:
        raise BispikError(
            f"{folder}: the teacher's embeddings have {found.word_embed_proj_dim} channels, the student's "
            f"{config.hidden_size}; the student starts from them"
        )


def teacher_embeddings(teacher: nn.Module, positions: int) -> tuple[Tensor, Tensor]:
    """Return the token table (vocabulary, channels) and the table of the first positions (positions, channels)."""
    decoder = cast("Any", teacher).model.decoder
    offset = decoder.embed_positions.offset
    return decoder.embed_tokens.weight, decoder.embed_positions.weight[offset : offset + positions]


def teacher_logits(teacher: nn.Module, token_ids: Tensor) -> Tensor:
    """Map token ids (batch, tokens) to logits (batch, tokens, vocabulary)."""
    logits: Tensor = teacher(input_ids=token_ids, use_cache=False).logits
    return logits


@torch.no_grad()
def teacher_bits_per_byte(teacher: nn.Module, text: TokenText, context: int) -> float:
    """Bits per byte of a teacher on a text, over windows of ``context`` tokens."""
    was_training = teacher.training
    teacher.eval()
    try:
        return bits_per_byte(lambda ids: teacher_logits(teacher, ids), text, context)
    finally:
        teacher.train(was_training)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise BispikError("a teacher needs the transformers library: pip install 'bispik[train]'") from error
    library: Any = transformers
    library.utils.logging.disable_progress_bar()  # what goes to stderr is the command line's to say
    return library
