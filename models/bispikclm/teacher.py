"""The ANN teacher: a causal language model of the OPT family (needs the ``train`` extra).

The only module that knows the transformers library; to all others a teacher is a ``torch.nn.Module``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from bispik.models.bispikclm.config import BiSpikCLMConfig
from bispik.models.bispikclm.data import TokenText, load_tokenizer, parse_tokenizer
from bispik.models.bispikclm.evaluate import bits_per_byte
from bispik.models.bispikclm.run_config import Losses, TrainingRun, is_hub_name
from bispik.models.bispikclm.spad import TeacherSignals
from bispik.models.errors import BispikError, first_line
from bispik.models.files import read_text

# At these sequence lengths the plain attention is faster on a CPU than the fused one (measured: 1.25 x).
_ATTENTION = "eager"
_TOKENIZER = "tokenizer.json"


def build_teacher(config: BiSpikCLMConfig, dropout: float, *, checkpoint_activations: bool = False) -> nn.Module:
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
    teacher = library.OPTForCausalLM(opt)
    if checkpoint_activations:
        # Its name before version 5.
        enable = getattr(teacher, "activation_checkpointing_enable", None) or teacher.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return cast("nn.Module", teacher)


def save_teacher(teacher: nn.Module, folder: Path, tokenizer: Path | None = None) -> None:
    """Write a teacher with ``save_pretrained``, so that the folder holds either all of it or what was there before.

    A copy of its tokeniser, if given, goes into the folder too.

    Raises:
        BispikError: if it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            cast("Any", teacher).save_pretrained(new)
            if tokenizer is not None:
                shutil.copyfile(tokenizer, new / _TOKENIZER)
            if folder.exists():
                folder.rename(old)
            shutil.move(new, folder)
    except Exception as error:  # safetensors reports a full disk with an exception of its own
        raise BispikError(f"{folder}: the teacher cannot be written: {error}") from error


def load_teacher(source: str) -> nn.Module:
    """Read an OPT from a ``save_pretrained`` folder, or by its name on the hub; frozen, in evaluation mode.

    Raises:
        BispikError: if it is not there, is no complete OPT checkpoint, or cannot be fetched.
    """
    if Path(source).exists() or not is_hub_name(source):
        _require_opt(Path(source))
        what, on_hub = "not an OPT checkpoint folder", False
    else:
        what, on_hub = "no such folder, and not to be had as an OPT from the hub", True
    library = _transformers()
    try:
        teacher, loading = library.OPTForCausalLM.from_pretrained(
            source, attn_implementation=_ATTENTION, local_files_only=not on_hub, output_loading_info=True
        )
    except Exception as error:  # the library raises nearly anything for a damaged folder
        raise BispikError(f"{source}: {what}: {first_line(error)}") from error
    if missing := sorted(loading["missing_keys"]):
        raise BispikError(f"{source}: the teacher lacks {len(missing)} tensors, the first is {missing[0]}")
    return cast("nn.Module", teacher).float().eval().requires_grad_(False)


def _require_opt(folder: Path) -> None:
    sheet = folder / "config.json"
    if not sheet.is_file():  # else the library would take the name for one on its hub
        raise BispikError(f"{folder}: no teacher is there; train one with --stage teacher, or name another one")
    try:
        kind = json.loads(read_text(sheet, "teacher's configuration")).get("model_type")
    except (ValueError, AttributeError, RecursionError) as error:
        raise BispikError(f"{sheet}: not a model's configuration: {error}") from error
    if kind != "opt":
        raise BispikError(f"{folder}: a teacher of type {kind!r}; this version distils from 'opt' only")


def teacher_tokenizer(source: str) -> Tokenizer | None:
    """Return the tokeniser in a teacher's folder, or of a name on the hub; None for a folder without one.

    Raises:
        BispikError: if it cannot be read or fetched.
    """
    folder = Path(source)
    if (folder / _TOKENIZER).is_file():
        return load_tokenizer(folder / _TOKENIZER)
    is_folder = folder.exists() or not is_hub_name(source)
    if is_folder and not (folder / "vocab.json").is_file():
        return None
    try:
        found = _transformers().AutoTokenizer.from_pretrained(source, local_files_only=is_folder)
        return parse_tokenizer(found.backend_tokenizer.to_str(), source)
    except Exception as error:  # the library raises nearly anything
        raise BispikError(f"{source}: the teacher's tokeniser cannot be read: {first_line(error)}") from error


def check_teacher(teacher: nn.Module, run: TrainingRun) -> None:
    """Check that a teacher can be distilled into the run's student.

    Raises:
        BispikError: naming the first size on which they differ and the loss that compares it.
    """
    config, losses, found = run.model, run.losses, cast("Any", teacher).config
    copied = run.start.embeddings == "teacher"
    aligned = "[losses] attention, features"
    demands = (
        ("tokens", found.vocab_size, config.vocab_size, "", True),
        ("layers", found.num_hidden_layers, config.num_layers, aligned, bool(losses.attention or losses.features)),
        ("heads", found.num_attention_heads, config.num_heads, "[losses] attention", bool(losses.attention)),
        ("channels", found.hidden_size, config.hidden_size, "[losses] embedding", bool(losses.embedding)),
        ("embedding channels", found.word_embed_proj_dim, config.hidden_size, '[start] embeddings = "teacher"', copied),
    )
    for what, theirs, ours, reason, matters in demands:
        if matters and theirs != ours:
            because = f"; {reason} needs them equal" if reason else ""
            raise BispikError(f"{run.teacher.source}: the teacher has {theirs} {what}, the student {ours}{because}")
    if found.max_position_embeddings < config.max_positions:
        raise BispikError(
            f"{run.teacher.source}: the teacher has {found.max_position_embeddings} positions, the student "
            f"{config.max_positions}; shorten max_positions"
        )


def teacher_vocabulary(teacher: nn.Module) -> int:
    """Return how many tokens a teacher knows."""
    return int(cast("Any", teacher).config.vocab_size)


def teacher_positions(teacher: nn.Module) -> int:
    """Return how many tokens a teacher has room for."""
    return int(cast("Any", teacher).config.max_position_embeddings)


def teacher_width(teacher: nn.Module) -> int:
    """Return the channels of a teacher's hidden states."""
    return int(cast("Any", teacher).config.hidden_size)


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
def teacher_signals(teacher: nn.Module, token_ids: Tensor, losses: Losses) -> TeacherSignals:
    """Return what the losses that are switched on need of a teacher, for token ids (batch, tokens)."""
    hidden, attentions = bool(losses.embedding or losses.features), bool(losses.attention)
    with _before_projection(teacher) as projected:
        output = teacher(
            input_ids=token_ids, use_cache=False, output_hidden_states=hidden, output_attentions=attentions
        )
    states: tuple[Tensor, ...] = output.hidden_states or ()
    if projected and states:
        states = (*states[:-1], projected[-1])
    return TeacherSignals(logits=output.logits, hidden=states, attentions=tuple(output.attentions or ()))


@contextmanager
def _before_projection(teacher: nn.Module) -> Generator[list[Tensor]]:
    """Inside the block, the list receives what a teacher projects down to narrower embeddings (OPT-350M).

    The library counts the projection as the last layer's hidden state, which would then be narrower than all others.
    """
    projection, states = cast("Any", teacher).model.decoder.project_out, list[Tensor]()
    if projection is None:
        yield states
        return
    handle = projection.register_forward_pre_hook(lambda _module, inputs: states.append(inputs[0]))
    try:
        yield states
    finally:
        handle.remove()


@torch.no_grad()
def teacher_bits_per_byte(teacher: nn.Module, text: TokenText, context: int) -> float:
    """Bits per byte of a teacher on a text, over windows of ``context`` tokens."""
    was_training = teacher.training
    teacher.eval()
    try:
        return bits_per_byte(lambda ids: teacher_logits(teacher, ids.to(cast("Any", teacher).device)), text, context)
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
