#!/usr/bin/env python3
"""Writes tiny random models of each family, with the logits and the greedy continuation that transformers gives for them.

usage: tools/make_golden.py FOLDER     (normally through `make goldens`, which loads the pinned packages first)

Each FOLDER/<family> is a whole Hugging Face folder: config.json, bf16 model.safetensors, a byte-level tokenizer, a chat template; and
golden.safetensors: ids int64 [t], logits float32 [t, vocab], greedy int64 [24], the continuation of the first 16 ids. The weights are what
bf16 holds, the arithmetic is float32. Sizes are ragged on purpose: no dimension of a matrix is a multiple of what a kernel likes.
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config
from transformers.utils.logging import disable_progress_bar

SPECIAL = ["<s>", "</s>", "<user>", "<assistant>"]  # ids 256 to 259, after the bytes
TEMPLATE = """{{ bos_token }}{% for m in messages %}{{ '<assistant>' if m['role'] == 'assistant' else '<user>' }}{{ m['content'] | trim }}\
{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""
N_IDS, N_PROMPT, N_GREEDY = 48, 16, 24
MIN_DIFFERENT = 12  # tokens among the greedy ones
MIN_GAP = 0.02  # between the two best logits at each greedy step: far above what float32 in another order gives

COMMON = dict(vocab_size=260, hidden_size=64, intermediate_size=104, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=512, bos_token_id=256, eos_token_id=257, pad_token_id=None, use_cache=True)
FAMILIES = {
    # Rope scaling with an original context so short that it matters within the golden's length.
    "llama31": LlamaConfig(**COMMON, tie_word_embeddings=False, rms_norm_eps=1e-5, rope_parameters=dict(
        rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=16)),
    # Heads wider than hidden / heads; a sliding window shorter than the golden.
    "mistral": MistralConfig(**COMMON, tie_word_embeddings=False, head_dim=24, sliding_window=20,
                             rope_parameters=dict(rope_type="default", rope_theta=10000.0)),
    # Biases on q, k and v; the head tied to the embedding.
    "qwen2": Qwen2Config(**COMMON, tie_word_embeddings=True, rms_norm_eps=1e-6,
                         rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
    # Norms on the heads of q and k.
    "qwen3": Qwen3Config(**COMMON, tie_word_embeddings=True, head_dim=32, rms_norm_eps=1e-6,
                         rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
}


def fill(model, generator):
    """Weights that make the model's parts matter: activations of about unit size, uneven norms with loud channels, real biases."""
    def normal(shape, std):
        return torch.randn(shape, generator=generator) * std

    for name, p in model.named_parameters():
        if name.endswith("norm.weight"):
            p.data = 1 + normal(p.shape, 0.1)
            p.data[torch.randperm(p.numel(), generator=generator)[:2]] *= 4
        elif p.dim() == 1:
            p.data = normal(p.shape, 0.3)
        elif "embed" in name:
            p.data = normal(p.shape, 0.1)  # small: through a tied head, a large one would repeat the token it stands for
        else:
            p.data = normal(p.shape, 1.2 * p.shape[1] ** -0.5)
        p.data = p.data.bfloat16().float()


def save_tokenizer(folder):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=512)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":")) + "\n")


@torch.no_grad()
def golden(folder, generator):
    """The tensors of golden.safetensors, computed from what was saved; None where greedy decoding comes close to a tie or repeats itself."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(0, 256, (N_IDS,), generator=generator)
    logits = model(ids[None], use_cache=False).logits[0]
    tokens = ids[:N_PROMPT]
    for _ in range(N_GREEDY):
        best = model(tokens[None], use_cache=False).logits[0, -1].topk(2)
        if best.values[0] - best.values[1] < MIN_GAP:
            return None
        tokens = torch.cat([tokens, best.indices[:1]])
    if len(set(tokens[N_PROMPT:].tolist())) < MIN_DIFFERENT:
        return None
    return dict(ids=ids, logits=logits.contiguous(), greedy=tokens[N_PROMPT:].contiguous())


def make(name, config, root):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    tensors, seed = None, 0
    while tensors is None:
        seed += 1
        generator = torch.Generator().manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        fill(model, generator)
        model.to(torch.bfloat16).save_pretrained(folder)
        tensors = golden(folder, generator)
    save_file(tensors, folder / "golden.safetensors")
    save_tokenizer(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    size = sum(p.stat().st_size for p in folder.iterdir())
    spread = tensors["logits"].std().item()
    print(f"{name}: seed {seed}, {size / 1000:.0f} kB, logits' standard deviation {spread:.2f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    disable_progress_bar()
    for family, family_config in FAMILIES.items():
        make(family, family_config, Path(sys.argv[1]))
